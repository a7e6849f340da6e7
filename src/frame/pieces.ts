// What one chunk of the connection brings for one stream. Its frames lie there one behind the other, with headers between
// them; a sink that is given all of them at once needs one call of the system for them, and wakes its reader once.

const NOTHING = Buffer.alloc(0)

/** As many as one call of the system is given at most. */
export const PIECES_MAX = 16

export class Pieces {
  /** What all of them are parts of. */
  buf: Buffer = NOTHING
  count = 0
  /** Of all together. */
  bytes = 0
  /** Where each begins in `buf`, and its length; what lies behind `count` is old. */
  readonly at: number[] = []
  readonly len: number[] = []

  get full(): boolean {
    return this.count === PIECES_MAX
  }

  /** Behind those that are there, which are of the same buffer. */
  add(buf: Buffer, at: number, len: number): void {
    this.buf = buf
    this.at[this.count] = at
    this.len[this.count] = len
    this.count++
    this.bytes += len
  }

  clear(): void {
    // A chunk may be freed, and is not to be kept from here.
    this.buf = NOTHING
    this.count = 0
    this.bytes = 0
  }
}
