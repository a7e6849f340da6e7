// Lines made of pieces, so that a style never breaks a cut and a cut never breaks a style.
import { escapeText } from '../telemetry/log.ts'
import { fit } from './format.ts'

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

/** One line of at most `width` columns; every piece is escaped. */
export function paint(pieces: readonly Piece[], width: number, color: boolean): string {
  let line = ''
  let left = width
  for (const [style, text] of pieces) {
    const safe = escapeText(text)
    const cut = fit(safe, left)
    line += color && style !== 'plain' && cut !== '' ? ON[style] + cut + OFF : cut
    if (cut !== safe) break
    left -= Bun.stringWidth(cut)
  }
  return line.trimEnd()
}
