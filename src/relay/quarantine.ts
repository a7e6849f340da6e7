// The clock that quarantine is measured on, and that never goes back. A machine whose clock is set back, and put right
// later, would otherwise see a quarantine pass in a moment. It follows the wall clock, and goes on at the same pace while
// that is behind; who keeps it remembers it over a restart.

/** A longer step of the wall clock, while it is behind, is taken as its being put right and not as time that passed. */
const STEP_MS = 2 * 60_000

export class QuarantineClock {
  #time = 0
  /** How much later than `#time` it may be: after a restart with a wall clock that is behind. */
  #doubt = 0
  /** The wall clock when last looked at. */
  #wall = Number.POSITIVE_INFINITY
  readonly #now: () => number

  /** `now`: the wall clock in ms. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** In ms, as of the last look. A quarantine ends by it. */
  get time(): number {
    return this.#time
  }

  /** What begins now begins by this: never early, never short. */
  get latest(): number {
    return this.#time + this.#doubt
  }

  look(): void {
    const wall = Math.floor(this.#now())
    const step = wall - this.#wall
    this.#wall = wall
    this.#time = Math.max(this.#time + (step > 0 && step <= STEP_MS ? step : 0), wall)
    if (this.#time === wall) this.#doubt = 0
  }

  /** It was at `saved` when it was last saved, which is at most `lateMs` ago in its own time. */
  restore(saved: number, lateMs: number): void {
    if (saved <= this.#time) return
    this.#time = saved
    this.#doubt = lateMs
  }
}
