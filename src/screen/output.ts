// One output stream of the process. Bun's process.stdout keeps everything that a slow reader does not take, loses what is
// left at exit, and throws when the reader is gone; here what waits is bounded, `flush` waits for it, and a closed pipe
// only means that nobody reads any more.
import type { Sink } from './sink.ts'

/** What may wait for a reader, in characters. Beyond it texts are dropped whole, and counted. */
const MOST_WAITING = 1 << 24

/** The reader is gone for good; any other error, like a full disk, may pass. */
const GONE: ReadonlySet<unknown> = new Set(['EPIPE', 'EIO', 'EBADF', 'ENXIO'])

export class Output {
  readonly #sink: Sink
  readonly #onDropped: (count: number) => void
  #waiting = 0
  #dropped = 0
  #flushing: Promise<void> | null = null
  #gone = false

  /** `onDropped` is told, once the reader takes something again, how many texts it missed. */
  constructor(sink: Sink, onDropped: (count: number) => void = () => {}) {
    this.#sink = sink
    this.#onDropped = onDropped
  }

  write(text: string): void {
    if (this.#gone) return
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
    try {
      const written = this.#sink.write(text)
      // A reader that went away meanwhile rejects this one, and nobody else would take it.
      if (written instanceof Promise) written.catch(this.#failed)
    } catch (error) {
      this.#failed(error)
      return
    }
    if (this.#flushing === null) this.#push()
  }

  line(text: string): void {
    this.write(`${text}\n`)
  }

  /** Nothing waits for the reader. */
  get idle(): boolean {
    return this.#flushing === null
  }

  /** Resolves when the reader took everything, or is gone. */
  async flush(): Promise<void> {
    while (this.#flushing !== null) await this.#flushing
  }

  #push(): void {
    const pushed = this.#waiting
    try {
      const flushed = this.#sink.flush()
      if (flushed instanceof Promise) this.#flushing = flushed.then(() => this.#took(pushed), this.#failed)
      else this.#waiting = 0
    } catch (error) {
      this.#failed(error)
    }
  }

  #took(count: number): void {
    this.#flushing = null
    this.#waiting -= count
    if (this.#waiting > 0) this.#push()
  }

  readonly #failed = (error: unknown): void => {
    this.#flushing = null
    this.#waiting = 0
    this.#gone = error instanceof Error && 'code' in error && GONE.has(error.code)
  }
}
