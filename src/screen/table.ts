// A table of texts for a terminal or a pipe: columns padded, everything escaped, no lines drawn.
import { escapeText } from '../telemetry/log.ts'

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const safe = [head, ...rows].map(row => row.map(escapeText))
  const widths = head.map((_, column) => Math.max(...safe.map(row => Bun.stringWidth(row[column] ?? ''))))
  return safe
    .map(row =>
      row
        .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - Bun.stringWidth(cell)))
        .join('   ')
        .trimEnd(),
    )
    .join('\n')
}
