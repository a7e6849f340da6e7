// Amounts for people: bytes, rates, spans of time. Short and of a steady width, so that a live line does not jump.

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** `0 B`, `999 B`, `1.2 kB`, `34 MB`: two or three digits, decimal units as transfer tools show them. */
export function formatBytes(count: number): string {
  let value = count
  let unit = 0
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`
}

export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`
}

/** `0.4 ms`, `12 ms`, `1.5 s`, `42 s`, `3 min`, `2 h`, `5 d`. */
export function formatSpan(ms: number): string {
  if (ms < 9.95) return `${ms.toFixed(1)} ms`
  if (ms < 999.5) return `${Math.round(ms)} ms`
  const seconds = ms / 1000
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86_400)} d`
}

const graphemes = new Intl.Segmenter()

/** At most `width` columns of a text, the last one being `…`. Plain text: no escape sequences. */
export function cut(text: string, width: number): string {
  let kept = ''
  let columns = 1
  for (const { segment } of graphemes.segment(text)) {
    columns += Bun.stringWidth(segment)
    if (columns > width) break
    kept += segment
  }
  return width < 1 ? '' : `${kept}…`
}
