// The live region, on a terminal that is only as much of one as it needs: rows of text, a cursor, and the sequences that
// the region uses. Whatever it was told to show stands there, and what stood above it is as it was.
import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { Region } from '../../src/screen/region.ts'

const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))

class Paper {
  rows: string[] = ['']
  row = 0
  column = 0

  write(text: string): void {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of them
    for (const [token] of text.matchAll(/\x1b\[[0-9]*[A-Za-z]|\n|\r|[^\x1b\n\r]+/g)) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
      const [, count = '', what = ''] = /^\x1b\[([0-9]*)([A-Za-z])$/.exec(token) ?? []
      if (token === '\n') {
        this.row++
        this.column = 0
        if (this.row === this.rows.length) this.rows.push('')
      } else if (token === '\r') this.column = 0
      else if (what === 'A') this.move(-Number(count))
      else if (what === 'B') this.move(Number(count))
      else if (what === 'K') this.cut()
      else if (what === 'J') {
        this.cut()
        this.rows.length = this.row + 1
      } else if (what !== '') throw new Error(`the paper does not know ${JSON.stringify(token)}`)
      else {
        const line = this.rows[this.row] ?? ''
        this.rows[this.row] = line.slice(0, this.column) + token + line.slice(this.column + token.length)
        this.column += token.length
      }
    }
  }

  move(rows: number): void {
    this.row += rows
    if (this.row < 0 || this.row >= this.rows.length) throw new Error('the cursor left the screen')
  }

  cut(): void {
    this.rows[this.row] = (this.rows[this.row] ?? '').slice(0, this.column)
  }
}

const line = fc.stringMatching(/^[a-c]{0,6}$/)
const frames = fc.array(
  fc.oneof(
    fc.record({ frame: fc.array(line, { maxLength: 6 }) }),
    fc.record({ above: fc.array(line, { minLength: 1, maxLength: 3 }) }),
  ),
  { maxLength: 12 },
)

test('any frames and lines above them', () => {
  console.log(`SEED=${SEED}`)
  fc.assert(
    fc.property(frames, steps => {
      const paper = new Paper()
      const region = new Region()
      const above = ['$ warren']
      let shown: string[] = []
      paper.write('$ warren\n')
      for (const step of steps) {
        if ('frame' in step) {
          shown = step.frame
          paper.write(region.update(shown))
        } else {
          above.push(...step.above)
          paper.write(region.above(step.above.map(one => `${one}\n`).join('')))
        }
        expect(paper.rows).toEqual([...above, ...shown, ''])
        expect([paper.row, paper.column]).toEqual([above.length + shown.length, 0])
      }
    }),
    { seed: SEED, numRuns: 2000 },
  )
})

describe('what is written', () => {
  test('nothing, when nothing changed', () => {
    const region = new Region()
    region.update(['one', 'two'])
    expect(region.update(['one', 'two'])).toBe('')
  })

  test('only the line that changed', () => {
    const region = new Region()
    region.update(['one', 'two', 'three'])
    expect(region.update(['one', '2', 'three'])).toBe('\x1b[2A2\x1b[K\n\x1b[1B')
  })

  test('after a resize, as many rows as the terminal may have made of it', () => {
    const region = new Region()
    region.update(['x'.repeat(25), '', 'y'.repeat(10)])
    expect(region.erase(10)).toBe('\x1b[5A\r\x1b[J')
    expect(region.erase(10)).toBe('')
    expect(region.update(['a'])).toBe('a\n')
  })
})
