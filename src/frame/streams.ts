// The open streams of a session by their ids, and how far their windows may grow together.
import type { Memory } from './memory.ts'
import type { Stream } from './stream.ts'
import { LIMIT, TUNING } from './wire.ts'

export class Streams {
  readonly #memory: Memory
  readonly #open = new Map<number, Stream>()
  /** Credit given beyond first credits, in bytes. */
  #granted = 0

  constructor(memory: Memory) {
    this.#memory = memory
  }

  get size(): number {
    return this.#open.size
  }

  /** Whether one more may come. */
  admit(): boolean {
    return this.#open.size < LIMIT.streams && this.#memory.admit()
  }

  all(): IterableIterator<Stream> {
    return this.#open.values()
  }

  get(id: number): Stream | undefined {
    return this.#open.get(id)
  }

  add(stream: Stream): void {
    this.#open.set(stream.id, stream)
  }

  /** It is over: its id is free of it, and what its window had grown by is free for others. */
  forget(stream: Stream): void {
    stream.gone = true
    this.#open.delete(stream.id)
    const grown = stream.window - TUNING.firstCredit
    this.#granted -= grown
    this.#memory.granted -= grown
  }

  /**
   * Doubles a stream's window within the caps of session and process; the growth is owed like consumed bytes. What a
   * visitor that never reads seems to take, at first, only fills the buffers before it. Far away a window that waited for
   * the proof would cost round trips, near by it costs nothing.
   */
  grow(stream: Stream, near: boolean): void {
    const most = near && stream.taken < TUNING.proof ? TUNING.unprovenCredit : LIMIT.credit
    const growth = Math.min(stream.window, most - stream.window)
    const { limits } = this.#memory
    if (growth <= 0) return
    if (this.#granted + growth > limits.sessionGrowth || this.#memory.granted + growth > limits.growth) return
    this.#granted += growth
    this.#memory.granted += growth
    stream.window += growth
    stream.owed += growth
  }
}
