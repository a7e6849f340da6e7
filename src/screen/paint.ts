// Lines made of pieces, so that a style never breaks a cut and a cut never breaks a style.
import { escapeText } from '../telemetry/log.ts'
import { cut } from './format.ts'

export type Style = 'plain' | 'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan'
export type Piece = readonly [style: Style, text: string]

const ON: Record<Style, string> = {
  plain: '',
  bold: '\x1b[1m',
  dim: '\x1b[2m',
  green: '\x1b[32m',
  yellow: '\x1b[33m',
  red: '\x1b[31m',
  cyan: '\x1b[36m',
}
const OFF = '\x1b[0m'

/** One line of at most `width` columns, with `…` where it was cut; every piece is escaped. */
export function paint(pieces: readonly Piece[], width: number, color: boolean): string {
  const safe = pieces.map(([style, text]) => [style, escapeText(text)] as const)
  const whole = safe.reduce((sum, [, text]) => sum + Bun.stringWidth(text), 0) <= width
  let line = ''
  // A line that is cut keeps one column for the sign of it.
  let left = whole ? width : width - 1
  for (const [style, text] of safe) {
    const columns = Bun.stringWidth(text)
    const shown = columns <= left ? text : cut(text, left + 1)
    line += color && style !== 'plain' && shown !== '' ? ON[style] + shown + OFF : shown
    if (columns > left) break
    left -= columns
  }
  return line.trimEnd()
}
