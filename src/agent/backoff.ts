// When to try again: 0.1 s, doubling to 10 s (2 s after a goodbye), each with full jitter, so that a thousand agents of one
// relay do not come back in step.

const FIRST_MS = 100
const MOST_MS = 10_000
/** A relay that said goodbye is most likely being restarted, and everybody waits for it. */
const GOODBYE_MOST_MS = 2_000
/** A session that lasted so long was a success: the next wait is the first again. */
const GOOD_MS = 1_000

export class Backoff {
  readonly #random: () => number
  #ceiling = FIRST_MS
  #most = MOST_MS

  /** `random` as Math.random. */
  constructor(random: () => number) {
    this.#random = random
  }

  /** How long to wait now, in ms. */
  next(): number {
    const wait = Math.round(this.#random() * this.#ceiling)
    this.#ceiling = Math.min(this.#most, this.#ceiling * 2)
    return wait
  }

  sessionLasted(ms: number): void {
    if (ms >= GOOD_MS) this.#startOver(MOST_MS)
  }

  /** The relay said so. */
  goodbye(): void {
    this.#startOver(GOODBYE_MOST_MS)
  }

  #startOver(most: number): void {
    this.#ceiling = FIRST_MS
    this.#most = most
  }
}
