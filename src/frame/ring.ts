// The send ring of a session: what was encoded, from the last receipted byte on. Frames are copied in once, written from
// here, and freed by a receipt, so a broken connection can be replayed from the byte that the peer names.
// Positions are absolute: bytes of the session since its registration (docs/protocol.md, "Positions").
import type { Memory } from './memory.ts'
import { TUNING } from './wire.ts'

const BLOCK = TUNING.block
/** Two blocks: a peer that is woken for each costs more than it gains. */
const FULL = 2 * BLOCK
/** A remainder of at most so many bytes is moved out of its block when the session falls idle. */
const STUB = 4096

/** What may be asked for bytes, when it says so. */
export interface Source {
  readonly takes?: boolean
  /** Reads up to `len` bytes into `into`, from `at` of its piece `first` on. Fewer: it has no more now. */
  take?(into: readonly Buffer[], first: number, at: number, len: number): number
}

/** Writes `len` bytes of `from` from `at` on; returns how many were taken. */
export type Write = (from: Buffer, at: number, len: number) => number

export class Ring {
  /** Everything below was receipted by the peer. */
  tail = 0
  /** Everything below was written to the connection. */
  sent = 0
  /** Everything below is encoded. */
  head = 0
  readonly #memory: Memory
  /** Full-sized blocks, in order; the first begins at `#base`. */
  readonly #blocks: Buffer[] = []
  #base = 0
  /** The bytes from `#stubAt` to `#base`, kept without a block while the session is idle. */
  #stub: Buffer | null = null
  #stubAt = 0

  constructor(memory: Memory) {
    this.#memory = memory
  }

  /** Encoded and not yet receipted, in bytes. */
  get inFlight(): number {
    return this.head - this.tail
  }

  append(from: Uint8Array, at: number, len: number): void {
    const end = at + len
    while (at < end) {
      const to = this.head - this.#base
      const offset = to % BLOCK
      let block = this.#blocks[(to - offset) / BLOCK]
      if (block === undefined) {
        block = this.#memory.takeBlock()
        this.#blocks.push(block)
      }
      const n = Math.min(end - at, BLOCK - offset)
      ;(from as Buffer).copy(block, offset, at, at + n)
      at += n
      this.head += n
    }
  }

  /**
   * Takes up to `len` bytes from `source` to where they belong behind a header of `gap` bytes; returns how many. If any,
   * commit() comes next: only with the header they are a part of what is encoded.
   */
  take(source: Source, gap: number, len: number): number {
    const from = this.head - this.#base
    while (this.#blocks.length * BLOCK < from + gap + len) this.#blocks.push(this.#memory.takeBlock())
    const at = from + gap
    const taken = source.take!(this.#blocks, Math.floor(at / BLOCK), at % BLOCK, len)
    if (taken === 0) this.#trim()
    return taken
  }

  /** Puts the header before the `len` bytes that were taken. */
  commit(header: Uint8Array, gap: number, len: number): void {
    this.append(header, 0, gap)
    this.head += len
    this.#trim()
  }

  /** Gives back what was prepared for more than there was. */
  #trim(): void {
    const needed = Math.ceil((this.head - this.#base) / BLOCK)
    while (this.#blocks.length > needed) this.#memory.giveBlock(this.#blocks.pop()!)
  }

  /** So much is not written yet that it need not wait for more. */
  get full(): boolean {
    return this.head - this.sent >= FULL
  }

  /** Writes what is encoded and not yet written. False when the connection took less than it was given. */
  write(write: Write): boolean {
    return this.#writeUpTo(this.head, write)
  }

  /** The same, but for the last block, which still fills: two writes of it would be two system calls. */
  writeBlocks(write: Write): boolean {
    return this.#writeUpTo(this.head - ((this.head - this.#base) % BLOCK), write)
  }

  #writeUpTo(end: number, write: Write): boolean {
    while (this.sent < end) {
      let taken: number
      let len: number
      if (this.sent < this.#base) {
        len = this.#base - this.sent
        taken = write(this.#stub!, this.sent - this.#stubAt, len)
      } else {
        const from = this.sent - this.#base
        const offset = from % BLOCK
        len = Math.min(BLOCK - offset, end - this.sent)
        taken = write(this.#blocks[(from - offset) / BLOCK]!, offset, len)
      }
      this.sent += taken
      if (taken < len) return false
    }
    return true
  }

  /** The peer has everything below `position`. The caller has checked that it is between `tail` and `sent`. */
  receipt(position: number): void {
    this.tail = position
    if (position >= this.#base) this.#stub = null
    if (position === this.head) {
      this.#releaseAll()
      return
    }
    while (position >= this.#base + BLOCK) {
      this.#memory.giveBlock(this.#blocks.shift()!)
      this.#base += BLOCK
    }
  }

  /** Goes on writing from `position`, which lies between `tail` and `head`: the peer's position at a resume. */
  rewind(position: number): void {
    this.sent = position
  }

  /** Called when the session is idle: gives the block back even if a few bytes of it are not receipted yet. */
  compact(): void {
    const rest = this.head - this.tail
    if (this.#blocks.length === 0 || this.sent !== this.head || rest > STUB) return
    const stub = Buffer.allocUnsafeSlow(rest)
    let filled = 0
    if (this.#stub !== null && this.tail < this.#base) {
      filled = this.#stub.copy(stub, 0, this.tail - this.#stubAt)
    }
    while (filled < rest) {
      const from = this.tail + filled - this.#base
      const offset = from % BLOCK
      filled += this.#blocks[(from - offset) / BLOCK]!.copy(
        stub,
        filled,
        offset,
        Math.min(BLOCK, offset + rest - filled),
      )
    }
    this.#stubAt = this.tail
    this.#releaseAll()
    this.#stub = rest > 0 ? stub : null
  }

  /** Gives every block back: the session is over, and nothing of it is to be written any more. */
  clear(): void {
    this.#stub = null
    this.sent = this.head
    this.tail = this.head
    this.#releaseAll()
  }

  #releaseAll(): void {
    for (const block of this.#blocks) this.#memory.giveBlock(block)
    this.#blocks.length = 0
    this.#base = this.head
  }
}
