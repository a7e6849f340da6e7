// The live region: some lines at the end of a terminal's normal buffer that are kept up to date in place. Only lines that
// changed are written, all in one write, and the cursor always rests in the first column below the last line.

const CSI = '\x1b['
export const HIDE_CURSOR = `${CSI}?25l`
export const SHOW_CURSOR = `${CSI}?25h`

export class Region {
  #lines: readonly string[] = []

  /** What to write so that `lines` stand there instead of what stood there before; '' when nothing changed. */
  update(lines: readonly string[]): string {
    const before = this.#lines
    this.#lines = lines
    let out = ''
    let at = before.length
    for (let index = 0; index < lines.length; index++) {
      const line = lines[index] ?? ''
      if (index < before.length && line === before[index]) continue
      out += `${move(at, index)}${line}${index < before.length ? `${CSI}K` : ''}\n`
      at = index + 1
    }
    if (lines.length < before.length) return `${out}${move(at, lines.length)}${CSI}J`
    return out + move(at, lines.length)
  }

  /** What to write so that `text`, whole lines, scrolls by above the region. */
  above(text: string): string {
    const lines = this.#lines
    return `${this.erase(Number.POSITIVE_INFINITY)}${text}${this.update(lines)}`
  }

  /** What to write so that nothing of it is left. At `columns` the terminal may have wrapped lines that were wider. */
  erase(columns: number): string {
    const rows = this.#lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(Bun.stringWidth(line) / columns)), 0)
    this.#lines = []
    return rows === 0 ? '' : `${CSI}${rows}A\r${CSI}J`
  }

  /** Forgets what stood there: the next update writes everything below it. */
  leave(): void {
    this.#lines = []
  }
}

/** From the first column of one line to the first column of another. */
function move(from: number, to: number): string {
  if (to < from) return `${CSI}${from - to}A`
  return to > from ? `${CSI}${to - from}B` : ''
}
