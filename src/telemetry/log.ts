// The log: one event, one line, nothing in it that a terminal would obey. Visitors, relays and agents choose some of the
// words in it (names, reasons, addresses), so every byte of theirs is escaped before it is written.

export type Level = 'debug' | 'info' | 'warn' | 'error'
export type Field = string | number | boolean | null
export type Fields = Record<string, Field>

export interface Log {
  debug(message: string, fields?: Fields): void
  info(message: string, fields?: Fields): void
  warn(message: string, fields?: Fields): void
  error(message: string, fields?: Fields): void
}

const RANK: Record<Level | 'silent', number> = { debug: 0, info: 1, warn: 2, error: 3, silent: 4 }

/**
 * What a terminal could obey or a reader could be misled by: control characters (C0, DEL, C1), invisible format characters
 * (bidi overrides, zero widths, tags), line and paragraph separators, and halves of surrogate pairs.
 */
export const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

/** Text from outside, made safe for a terminal and a log: each unsafe character becomes `\n`, `\x1b` or `\u{202e}`. */
export function escapeText(text: string): string {
  return text.replace(UNSAFE, character => {
    if (character === '\n') return '\\n'
    if (character === '\r') return '\\r'
    if (character === '\t') return '\\t'
    const code = character.codePointAt(0) ?? 0
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`
  })
}

function formatField(value: Field): string {
  if (typeof value !== 'string') return String(value)
  if (/^[^\s"\\=]+$/.test(value)) return escapeText(value)
  return `"${escapeText(value.replace(/["\\]/g, '\\$&'))}"`
}

/** `2026-11-20T23:00:00.000Z info session connected relay=relay.example.com:7000`, without a line end. */
export function formatLine(level: Level, message: string, fields: Fields, now: number): string {
  let line = `${new Date(now).toISOString()} ${level} ${escapeText(message)}`
  for (const name in fields) {
    const value = fields[name]
    if (value !== undefined) line += ` ${escapeText(name)}=${formatField(value)}`
  }
  return line
}

export function makeLog(level: Level | 'silent', write: (line: string) => void, now: () => number): Log {
  const at = (own: Level) =>
    RANK[own] < RANK[level]
      ? () => {}
      : (message: string, fields: Fields = {}) => write(formatLine(own, message, fields, now()))
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
