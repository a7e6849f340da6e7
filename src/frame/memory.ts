// What all sessions of a process share, so that their memory is bounded together: the blocks of the send rings, how far
// credit may grow, and how many bytes may wait for somebody who does not read.
import { RESET_CODE, TUNING } from './wire.ts'

/** A stream that holds bytes for a reader (or a credit) that does not come. */
export interface Stalled {
  giveUp(code: typeof RESET_CODE.BUSY): void
}

export type MemoryLimits = {
  /** Bytes of credit, above the first credit, that all streams together may have been given. */
  growth: number
  /** The same for one session. */
  sessionGrowth: number
  /** Bytes really buffered, over which the longest stalled streams are reset. */
  buffered: number
  /**
   * Bytes of blocks in all send rings, above which a session sends no bulk while its own has more than `sessionRing`; above
   * twice as many, nothing small either.
   */
  rings: number
  sessionRing: number
  /** Spare ring blocks kept for the next session, in blocks. */
  spareBlocks: number
}

export const MEMORY_LIMITS: MemoryLimits = {
  growth: 256 * 1024 * 1024,
  sessionGrowth: 64 * 1024 * 1024,
  buffered: 128 * 1024 * 1024,
  rings: 256 * 1024 * 1024,
  sessionRing: 1024 * 1024,
  spareBlocks: 32,
}

export class Memory {
  readonly limits: MemoryLimits
  /** Bytes waiting in all streams of the process. */
  buffered = 0
  /** Credit given beyond first credits, in bytes. */
  granted = 0
  /** Blocks that send rings have now, in bytes. */
  #rings = 0
  readonly #spare: Buffer[] = []
  /** Insertion order is the order of stalling: a stream that makes progress goes to the end. */
  readonly #stalled = new Set<Stalled>()

  constructor(limits: MemoryLimits = MEMORY_LIMITS) {
    this.limits = limits
  }

  /** How many bytes the send ring of one session may keep now before it sends no bulk. */
  get bulkRing(): number {
    return this.#rings <= this.limits.rings ? TUNING.windowMax : this.limits.sessionRing
  }

  /** And before it sends nothing small, and opens nothing: what others do not confirm is no reason for that. */
  get smallRing(): number {
    return this.#rings <= 2 * this.limits.rings ? TUNING.windowMax : this.limits.sessionRing
  }

  takeBlock(): Buffer {
    this.#rings += TUNING.block
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(TUNING.block)
  }

  giveBlock(block: Buffer): void {
    this.#rings -= TUNING.block
    if (this.#spare.length < this.limits.spareBlocks) this.#spare.push(block)
  }

  /**
   * Whether a new stream may come: from seven eighths of the limit on none may, and the longest stalled one gives up its
   * place for the next. Without that, those that nobody reads would keep everybody else out for as long as they like.
   */
  admit(): boolean {
    if (this.buffered <= (this.limits.buffered * 7) / 8) return true
    this.#giveUpOldest()
    return false
  }

  /** `owner` holds `bytes` more, and has just stalled or made progress. */
  hold(owner: Stalled, bytes: number): void {
    this.buffered += bytes
    this.#stalled.delete(owner)
    this.#stalled.add(owner)
    while (this.buffered > this.limits.buffered && this.#giveUpOldest());
  }

  /** `owner` holds `bytes` fewer; `rest` is what it still holds. */
  drop(owner: Stalled, bytes: number, rest: number): void {
    this.buffered -= bytes
    this.#stalled.delete(owner)
    if (rest > 0) this.#stalled.add(owner)
  }

  /** False: none is stalled. */
  #giveUpOldest(): boolean {
    const oldest = this.#stalled.values().next().value
    if (oldest === undefined) return false
    this.#stalled.delete(oldest)
    oldest.giveUp(RESET_CODE.BUSY)
    return true
  }
}
