// What a stream received and its sink did not take yet: in order, as views where they pin little, as copies elsewhere. Only
// a stream that waits for its sink has one; an idle stream is to cost as little as can be.
import type { Pieces } from './pieces.ts'
import { Queue } from './queue.ts'

/** Bytes that wait, from `at` to `end` of a buffer. */
type Chunk = { readonly buf: Buffer; at: number; end: number }

/** A piece of fewer bytes is copied, whatever it is part of. */
const VIEW_MIN = 2048
/** Copies that follow each other share a buffer of at most so many bytes. */
const COPY_MAX = 16_384

export class Unread {
  /** How many wait. */
  bytes = 0
  readonly #chunks = new Queue<Chunk>()
  /** The last chunk while it is a copy, with room perhaps. */
  #tail: Chunk | null = null

  /** The first chunk; undefined when all is taken. */
  get first(): Chunk | undefined {
    return this.#chunks.peek()
  }

  /** What is left of `pieces` behind the first `taken` bytes; true when a view of it was kept. */
  keep(pieces: Pieces, taken: number): boolean {
    let skip = taken
    let kept = false
    for (let i = 0; i < pieces.count; i++) {
      const len = pieces.len[i]!
      if (skip < len && this.#add(pieces.buf, pieces.at[i]! + skip, len - skip)) kept = true
      skip = Math.max(0, skip - len)
    }
    return kept
  }

  /**
   * Adds a piece; true when a view of `buf` was kept. A view is kept when it is large and most of its chunk, so that it pins
   * little else. Everything smaller is copied, and copies share buffers: thousands of tiny pieces, each with a buffer of
   * its own, would take many times their bytes.
   */
  #add(buf: Buffer, at: number, len: number): boolean {
    const before = this.bytes
    this.bytes += len
    if (len >= VIEW_MIN && len * 2 >= buf.length) {
      this.#chunks.push({ buf, at, end: at + len })
      this.#tail = null
      return true
    }
    let tail = this.#tail
    if (tail !== null && tail.end < tail.buf.length) {
      const n = buf.copy(tail.buf, tail.end, at, Math.min(at + len, at + tail.buf.length - tail.end))
      tail.end += n
      at += n
      len -= n
    }
    if (len > 0) {
      const size = Math.max(len, Math.min(COPY_MAX, before))
      tail = { buf: Buffer.allocUnsafeSlow(size), at: 0, end: len }
      buf.copy(tail.buf, 0, at, at + len)
      this.#chunks.push(tail)
      this.#tail = tail
    }
    return false
  }

  /** So many bytes of the first chunk were taken. */
  taken(bytes: number): void {
    const chunk = this.#chunks.peek()!
    chunk.at += bytes
    this.bytes -= bytes
    if (chunk.at < chunk.end) return
    this.#chunks.shift()
    if (chunk === this.#tail) this.#tail = null
  }
}
