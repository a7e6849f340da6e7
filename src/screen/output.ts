// One output stream of the process. Bun's process.stdout keeps everything that a slow reader does not take, loses what is
// left at exit, and throws when the reader is gone; here what waits is bounded, `flush` waits for it, and a closed pipe
// only means that nobody reads any more.

/** What may wait for a reader, in characters. Beyond it texts are dropped whole, and counted. */
const MOST_WAITING = 1 << 20

export type Sink = { write(text: string): unknown; flush(): number | Promise<number> }

export class Output {
  readonly #sink: Sink
  readonly #onDropped: (count: number) => void
  #waiting = 0
  #dropped = 0
  #flushing: Promise<void> | null = null
  #closed = false

  /** `onDropped` is told, once the reader takes something again, how many texts it missed. */
  constructor(sink: Sink, onDropped: (count: number) => void = () => {}) {
    this.#sink = sink
    this.#onDropped = onDropped
  }

  write(text: string): void {
    if (this.#closed) return
    if (this.#waiting + text.length > MOST_WAITING) {
      this.#dropped++
      return
    }
    if (this.#dropped > 0) {
      const count = this.#dropped
      this.#dropped = 0
      this.#onDropped(count)
    }
    this.#waiting += text.length
    this.#try(() => {
      const written = this.#sink.write(text)
      // A terminal that is gone rejects this one, too (EIO), and nobody else would take it.
      if (written instanceof Promise) written.catch(this.#close)
      if (this.#flushing === null) this.#push()
    })
  }

  line(text: string): void {
    this.write(`${text}\n`)
  }

  /** Resolves when the reader took everything, or is gone. */
  async flush(): Promise<void> {
    while (this.#flushing !== null) await this.#flushing
  }

  #push(): void {
    const pushed = this.#waiting
    const flushed = this.#sink.flush()
    if (!(flushed instanceof Promise)) {
      this.#waiting = 0
      return
    }
    this.#flushing = flushed.then(
      () => {
        this.#flushing = null
        this.#waiting -= pushed
        if (this.#waiting > 0) this.#try(() => this.#push())
      },
      () => {
        this.#flushing = null
        this.#close()
      },
    )
  }

  readonly #close = (): void => {
    this.#closed = true
  }

  /** The sink throws EPIPE where it stands when the reader is gone. */
  #try(act: () => void): void {
    try {
      act()
    } catch {
      this.#close()
    }
  }
}
