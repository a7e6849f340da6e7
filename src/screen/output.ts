// One output stream of the process. Bun's process.stdout keeps everything that a slow reader does not take, loses what is
// left at exit, and throws when the reader is gone; here what waits is bounded, `flush` waits for it, and a closed pipe
// only means that nobody reads any more.
import type { Sink } from './sink.ts'

/** What may wait for a reader, in characters. Beyond it texts are dropped whole, and counted. */
const MOST_WAITING = 1 << 24

/**
 * Between one push and the next, in ms. Each costs wake-ups of a thread and of the event loop; one for every line was more
 * than half of what a short connection took.
 */
const GATHER_MS = 10

/** While more is written, what was dropped is told no more than once in so many ms: a disk may stay full. */
const TELL_MS = 1000

/** The reader is gone for good; any other error, like a full disk, may pass. */
const GONE: ReadonlySet<unknown> = new Set(['EPIPE', 'EIO', 'EBADF', 'ENXIO'])

export class Output {
  readonly #sink: Sink
  readonly #onDropped: (count: number) => void
  /** Waits to be pushed together with what follows. */
  #text = ''
  /** Of how many texts that is. */
  #texts = 0
  /** What the reader has yet to take, in characters: `#text`, and what was pushed. */
  #waiting = 0
  #dropped = 0
  #toldAt = Number.NEGATIVE_INFINITY
  #flushing: Promise<void> | null = null
  #timer: ReturnType<typeof setTimeout> | undefined
  #pushedAt = Number.NEGATIVE_INFINITY
  #gone = false
  #lost = false

  /** `onDropped` is told, with the next text after that or by `flush`, how many texts the reader missed. */
  constructor(sink: Sink, onDropped: (count: number) => void = () => {}) {
    this.#sink = sink
    this.#onDropped = onDropped
  }

  write(text: string): void {
    if (this.#gone) return
    if (this.#waiting + text.length > MOST_WAITING) {
      this.#dropped++
      this.#lost = true
      return
    }
    if (this.#dropped > 0 && performance.now() - this.#toldAt >= TELL_MS) this.#tell()
    this.#waiting += text.length
    this.#text += text
    // With the first of them; behind a push, what follows is gathered when that is done.
    if (this.#texts++ === 0 && this.#flushing === null) this.#gather()
  }

  line(text: string): void {
    this.write(`${text}\n`)
  }

  /** Nothing waits for the reader. */
  get idle(): boolean {
    return this.#waiting === 0
  }

  /** A reader that is there missed something. One that left, as `head` does, has what it wanted. */
  get lost(): boolean {
    return this.#lost
  }

  /** Resolves when the reader took everything, or is gone. */
  async flush(): Promise<void> {
    while (!this.idle) {
      if (this.#flushing === null) this.#push()
      else await this.#flushing
    }
    if (this.#dropped > 0 && !this.#gone) this.#tell()
  }

  #tell(): void {
    const count = this.#dropped
    this.#dropped = 0
    this.#toldAt = performance.now()
    this.#onDropped(count)
  }

  /** After a pause, what is written in one go is pushed right behind it. */
  #gather(): void {
    const wait = this.#pushedAt + GATHER_MS - performance.now()
    if (wait > 0) this.#timer = setTimeout(this.#push, wait)
    else queueMicrotask(this.#push)
  }

  readonly #push = (): void => {
    // Pushed before its time by a flush.
    if (this.#texts === 0 || this.#flushing !== null) return
    clearTimeout(this.#timer)
    this.#pushedAt = performance.now()
    const text = this.#text
    const texts = this.#texts
    this.#text = ''
    this.#texts = 0
    try {
      const flushed = this.#sink.push(text)
      if (flushed instanceof Promise)
        this.#flushing = flushed.then(
          () => this.#took(text.length),
          error => this.#failed(error, texts),
        )
      else this.#waiting = 0
    } catch (error) {
      this.#failed(error, texts)
    }
  }

  #took(count: number): void {
    this.#flushing = null
    this.#waiting -= count
    if (this.#texts > 0) this.#gather()
  }

  #failed(error: unknown, texts: number): void {
    this.#flushing = null
    this.#gone = error instanceof Error && 'code' in error && GONE.has(error.code)
    if (this.#gone) {
      this.#text = ''
      this.#texts = 0
    } else this.#lost = true
    this.#dropped += texts
    this.#waiting = this.#text.length
    if (this.#texts > 0) this.#gather()
  }
}
