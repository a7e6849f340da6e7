// How far a run is: a bar on a terminal, a line a scenario and round elsewhere.
import type { Contender } from './contenders/index.ts'
import type { Failure, Watcher } from './run.ts'
import type { Scenario } from './scenarios/index.ts'

const BAR = 30
const MINUTE = 60

export class Progress implements Watcher {
  readonly #total: number
  readonly #began = performance.now()
  readonly #live = process.stderr.isTTY === true
  #done = 0
  #last = ''

  constructor(total: number) {
    this.#total = total
  }

  step(scenario: Scenario, contender: Contender, round: number): void {
    const part = this.#done++ / this.#total
    const where = `${scenario.id}, ${round < 0 ? 'warm-up' : `round ${round + 1}`}`
    if (this.#live) {
      const full = Math.round(part * BAR)
      const bar = '█'.repeat(full) + '░'.repeat(BAR - full)
      const line = `${bar} ${Math.round(part * 100)} %  ${where}: ${contender.label}${this.#left(part)}`
      // A line that wraps is not overwritten by the next.
      process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns || line.length + 1) - 1)}`)
    } else if (where !== this.#last) console.error(`${Math.round(part * 100)} %  ${where}`)
    this.#last = where
  }

  #left(part: number): string {
    if (part < 0.02) return ''
    const seconds = ((performance.now() - this.#began) / 1000) * (1 / part - 1)
    return seconds > MINUTE ? `, ${Math.ceil(seconds / MINUTE)} min left` : `, ${Math.ceil(seconds)} s left`
  }

  failed({ scenario, contender, message }: Failure): void {
    if (this.#live) process.stderr.write('\r\x1b[K')
    console.error(`${scenario}: ${contender} failed: ${message}`)
  }

  end(): void {
    if (this.#live) process.stderr.write('\r\x1b[K')
  }
}
