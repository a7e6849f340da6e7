// Counts what a flood can make happen thousands of times a second, so that a log tells of it in one line a second.

const TELL_MS = 1_000

export class Tally {
  #count = 0
  readonly #tell: (count: number) => void

  /** `tell` is called a second after the first of some, with how many there were until then. */
  constructor(tell: (count: number) => void) {
    this.#tell = tell
  }

  /** One more; the how manyth of its second. */
  add(): number {
    if (this.#count === 0) setTimeout(this.#onSecond, TELL_MS).unref()
    this.#count += 1
    return this.#count
  }

  readonly #onSecond = (): void => {
    const count = this.#count
    this.#count = 0
    this.#tell(count)
  }
}
