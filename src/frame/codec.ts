// Bytes to frames and back. The six frequent frames have one fixed layout each, read and written by hand; everything
// else is collected whole, within its limit, and handed on for messages.ts to guard and unpack.
import { CREDIT, DATA, FIN, LIMIT, PING, PONG, PREFIX, RECEIPT, SESSION_CODE, type SessionCode, SIZE } from './wire.ts'

/** The peer broke a rule of the wire; the session ends with `code`, and the log says `message`. */
export class Violation extends Error {
  readonly code: SessionCode

  constructor(message: string, code: SessionCode = SESSION_CODE.PROTOCOL) {
    super(message)
    this.name = 'Violation'
    this.code = code
  }
}

/** What the decoder tells the session. Every method may throw a Violation. */
export interface Frames {
  /** A DATA frame of `length` bytes begins; its payload follows in pieces. */
  dataBegins(stream: number, length: number): void
  /** A piece of the payload. */
  dataPiece(buf: Buffer, at: number, len: number): void
  credit(stream: number, bytes: number): void
  fin(stream: number): void
  ping(opaque: number): void
  pong(opaque: number): void
  receipt(position: number): void
  /** Any other frame: its body, a whole msgpack array, valid during the call. */
  control(body: Buffer): void
}

const u32 = (b: Uint8Array, at: number): number =>
  ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0

/** A streaming decoder: hands on what is there without waiting for the rest of a frame. */
export class Decoder {
  readonly #frames: Frames
  /** Payload of the current DATA frame still to come. */
  #left = 0
  /** The first bytes of a frame that arrived in parts. */
  readonly #head = Buffer.allocUnsafeSlow(16)
  #headFill = 0
  /** A control frame's body that arrived in parts. */
  #body: Buffer | null = null
  #bodyFill = 0

  constructor(frames: Frames) {
    this.#frames = frames
  }

  /** Takes every byte of `buf`. */
  decode(buf: Buffer): void {
    const end = buf.length
    let at = 0
    while (at < end) {
      if (this.#left > 0) {
        const n = Math.min(this.#left, end - at)
        this.#left -= n
        this.#frames.dataPiece(buf, at, n)
        at += n
      } else if (this.#body !== null) {
        at += this.#fillBody(buf, at, end)
      } else if (this.#headFill === 0 && end - at >= 16) {
        at += this.#frame(buf, at, end)
      } else {
        at += this.#fillHead(buf, at, end)
      }
    }
  }

  /** One frame whose first 16 bytes (or all, if fewer) are at `at`; returns how many bytes of it were taken. */
  #frame(b: Buffer, at: number, end: number): number {
    const length = u32(b, at)
    switch (b[at + 5]) {
      case DATA: {
        if (b[at + 4] !== 0x93 || b[at + 6] !== 0xce || b[at + 11] !== 0xc6) throw new Violation('DATA: layout')
        const n = u32(b, at + 12)
        if (n === 0 || n > LIMIT.payload || length !== 12 + n) throw new Violation('DATA: length')
        this.#frames.dataBegins(u32(b, at + 7), n)
        this.#left = n
        return SIZE.DATA
      }
      case CREDIT:
        if (length !== 12 || b[at + 4] !== 0x93 || b[at + 6] !== 0xce || b[at + 11] !== 0xce)
          throw new Violation('CREDIT: layout')
        this.#frames.credit(u32(b, at + 7), u32(b, at + 12))
        return SIZE.CREDIT
      case FIN:
        if (length !== 7 || b[at + 4] !== 0x92 || b[at + 6] !== 0xce) throw new Violation('FIN: layout')
        this.#frames.fin(u32(b, at + 7))
        return SIZE.FIN
      case RECEIPT: {
        if (length !== 12 || b[at + 4] !== 0x93 || b[at + 6] !== 0x00 || b[at + 7] !== 0xcf)
          throw new Violation('RECEIPT: layout')
        const high = u32(b, at + 8)
        if (high > 0x1f_ffff) throw new Violation('RECEIPT: position')
        this.#frames.receipt(high * 0x1_0000_0000 + u32(b, at + 12))
        return SIZE.RECEIPT
      }
      case PING:
      case PONG: {
        if (length !== 8 || b[at + 4] !== 0x93 || b[at + 6] !== 0x00 || b[at + 7] !== 0xce)
          throw new Violation('PING: layout')
        const opaque = u32(b, at + 8)
        if (b[at + 5] === PING) this.#frames.ping(opaque)
        else this.#frames.pong(opaque)
        return SIZE.PING
      }
      default:
        return this.#control(b, at, end, length)
    }
  }

  #control(b: Buffer, at: number, end: number, length: number): number {
    if (length < 2 || length > LIMIT.control) throw new Violation('frame length out of bounds')
    if (end - at >= PREFIX + length) {
      this.#frames.control(b.subarray(at + PREFIX, at + PREFIX + length))
      return PREFIX + length
    }
    this.#body = Buffer.allocUnsafeSlow(length)
    this.#bodyFill = b.copy(this.#body, 0, at + PREFIX, end)
    return end - at
  }

  #fillBody(buf: Buffer, at: number, end: number): number {
    const body = this.#body!
    const n = buf.copy(body, this.#bodyFill, at, Math.min(end, at + body.length - this.#bodyFill))
    this.#bodyFill += n
    if (this.#bodyFill === body.length) {
      this.#body = null
      this.#frames.control(body)
    }
    return n
  }

  /** Collects a header that is cut: as far as the type first, then as far as that type's layout goes. */
  #fillHead(buf: Buffer, at: number, end: number): number {
    const head = this.#head
    let taken = 0
    for (;;) {
      const need = headSize(head, this.#headFill)
      if (this.#headFill === need) {
        const size = this.#headFill
        this.#headFill = 0
        this.#frame(head, 0, size)
        return taken
      }
      if (at + taken === end) return taken
      const n = buf.copy(head, this.#headFill, at + taken, Math.min(end, at + taken + need - this.#headFill))
      this.#headFill += n
      taken += n
    }
  }
}

/** How many bytes of a frame have to be there before it can be read, given the `fill` that are. */
function headSize(head: Buffer, fill: number): number {
  if (fill < PREFIX + 2) {
    // A frame without even a type: refused as soon as its length is known, before anything waits for more.
    if (fill >= PREFIX && u32(head, 0) < 2) throw new Violation('frame too short')
    return fill < PREFIX ? PREFIX : PREFIX + 2
  }
  switch (head[5]) {
    case DATA:
      return SIZE.DATA
    case CREDIT:
      return SIZE.CREDIT
    case FIN:
      return SIZE.FIN
    case RECEIPT:
      return SIZE.RECEIPT
    case PING:
    case PONG:
      return SIZE.PING
    default:
      return PREFIX + 2
  }
}

// Encoding: each writes one frame into `into` from 0 on and returns its size (for DATA: of its header).

function put32(into: Buffer, at: number, value: number): void {
  into[at] = value >>> 24
  into[at + 1] = value >>> 16
  into[at + 2] = value >>> 8
  into[at + 3] = value
}

export function putDataHeader(into: Buffer, stream: number, payload: number): number {
  put32(into, 0, 12 + payload)
  into[4] = 0x93
  into[5] = DATA
  into[6] = 0xce
  put32(into, 7, stream)
  into[11] = 0xc6
  put32(into, 12, payload)
  return SIZE.DATA
}

export function putCredit(into: Buffer, stream: number, bytes: number): number {
  put32(into, 0, 12)
  into[4] = 0x93
  into[5] = CREDIT
  into[6] = 0xce
  put32(into, 7, stream)
  into[11] = 0xce
  put32(into, 12, bytes)
  return SIZE.CREDIT
}

export function putFin(into: Buffer, stream: number): number {
  put32(into, 0, 7)
  into[4] = 0x92
  into[5] = FIN
  into[6] = 0xce
  put32(into, 7, stream)
  return SIZE.FIN
}

export function putReceipt(into: Buffer, position: number): number {
  put32(into, 0, 12)
  into[4] = 0x93
  into[5] = RECEIPT
  into[6] = 0x00
  into[7] = 0xcf
  put32(into, 8, Math.floor(position / 0x1_0000_0000))
  put32(into, 12, position >>> 0)
  return SIZE.RECEIPT
}

export function putPing(into: Buffer, type: typeof PING | typeof PONG, opaque: number): number {
  put32(into, 0, 8)
  into[4] = 0x93
  into[5] = type
  into[6] = 0x00
  into[7] = 0xce
  put32(into, 8, opaque)
  return SIZE.PING
}

/** A frame around a packed body. */
export function frame(body: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(PREFIX + body.length)
  put32(out, 0, body.length)
  out.set(body, PREFIX)
  return out
}

/** Reads exactly one frame from the start of a connection (INIT, ACK, RESUME, RESUMED); the rest is for the session. */
export class FirstFrame {
  readonly #limit: number
  #have: Buffer = Buffer.alloc(0)

  /** `limit`: bytes of the body that are taken at most. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Null while it is not whole. `body` and `rest` may be views of `buf`. */
  push(buf: Buffer): { body: Buffer; rest: Buffer } | null {
    const have = this.#have.length === 0 ? buf : Buffer.concat([this.#have, buf])
    if (have.length >= PREFIX) {
      const length = u32(have, 0)
      if (length < 2 || length > this.#limit) throw new Violation('first frame over the limit')
      if (have.length >= PREFIX + length)
        return { body: have.subarray(PREFIX, PREFIX + length), rest: have.subarray(PREFIX + length) }
    }
    // A copy: a short view would pin its whole chunk.
    this.#have = have === buf ? Buffer.from(buf) : have
    return null
  }
}
