// One session and a peer made by hand: the tests write the peer's frames byte by byte from the layouts of
// docs/protocol.md, without the code that they test, and read what the session answers with any msgpack library.
import { Unpackr } from 'msgpackr/unpack'
import {
  Memory,
  type Opening,
  type Over,
  type Pieces,
  Session,
  type SessionEvents,
  type Sink,
  type Stream,
} from '../../src/frame/index.ts'

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

/** A frame around the msgpack body that is given as hex, and as bytes for what may be long; blanks are for the reader. */
export function frameOf(hex: string, rest: Uint8Array = Buffer.alloc(0)): Buffer {
  const body = Buffer.from(hex.replaceAll(' ', ''), 'hex')
  const head = Buffer.alloc(4)
  head.writeUInt32BE(body.length + rest.length)
  return Buffer.concat([head, body, rest])
}

export const u32 = (n: number): string => n.toString(16).padStart(8, '0')
const text = (s: string): string => {
  const bytes = Buffer.from(s)
  return `da ${bytes.length.toString(16).padStart(4, '0')} ${bytes.toString('hex')}`
}

export const raw = {
  dataInit: (stream: number, tunnel = 1, credit = 65_536, visitor = '192.0.2.1:5', edge = '192.0.2.2:6') =>
    frameOf(`96 02 ce${u32(stream)} ce${u32(tunnel)} ${text(visitor)} ${text(edge)} ce${u32(credit)}`),
  data: (stream: number, payload: string | Uint8Array) => {
    const bytes = Buffer.from(payload as string)
    return frameOf(`93 03 ce${u32(stream)} c6${u32(bytes.length)}`, bytes)
  },
  credit: (stream: number, bytes: number) => frameOf(`93 04 ce${u32(stream)} ce${u32(bytes)}`),
  fin: (stream: number) => frameOf(`92 05 ce${u32(stream)}`),
  reset: (stream: number, code: number, why = '') => frameOf(`94 06 ce${u32(stream)} ce${u32(code)} ${text(why)}`),
  ping: (opaque: number) => frameOf(`93 07 00 ce${u32(opaque)}`),
  pong: (opaque: number) => frameOf(`93 08 00 ce${u32(opaque)}`),
  goaway: (code: number, why = '', last = 0) => frameOf(`95 09 00 ce${u32(code)} ${text(why)} ce${u32(last)}`),
  receipt: (position: number) => frameOf(`93 0d 00 cf${u32(Math.floor(position / 2 ** 32))}${u32(position % 2 ** 32)}`),
}

/** A frame as any msgpack library reads it: [type, stream, ...fields]. */
export type Read = readonly [type: number, stream: number, ...fields: unknown[]]

/** Splits whole frames; throws when something is left over. */
export function readFrames(bytes: Buffer): Read[] {
  const frames: Read[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt32BE(at)
    if (end > bytes.length) throw new Error('half a frame')
    frames.push(unpackr.unpack(Buffer.from(bytes.subarray(at + 4, end))) as Read)
    at = end
  }
  return frames
}

/** A sink that keeps what it is given, takes as much as `appetite` says at a time, and calls what the test sets. */
export class Collect implements Sink {
  readonly parts: Buffer[] = []
  /** How many pieces it was given at a time. */
  readonly counts: number[] = []
  readonly freed: Buffer[] = []
  ended = 0
  readonly resets: number[] = []
  appetite = Number.POSITIVE_INFINITY
  onData: () => void = () => {}
  onFree: () => void = () => {}
  onEnd: () => void = () => {}
  onReset: () => void = () => {}

  get bytes(): Buffer {
    return Buffer.concat(this.parts)
  }
  get length(): number {
    let n = 0
    for (const part of this.parts) n += part.length
    return n
  }
  data(pieces: Pieces): number {
    const all = Math.min(pieces.bytes, this.appetite)
    let left = all
    this.counts.push(pieces.count)
    for (let i = 0; left > 0; i++) {
      const at = pieces.at[i]!
      const n = Math.min(left, pieces.len[i]!)
      this.parts.push(Buffer.from(pieces.buf.subarray(at, at + n)))
      left -= n
    }
    this.onData()
    return all
  }
  free(buf: Buffer): void {
    this.freed.push(buf)
    this.onFree()
  }
  end(): void {
    this.ended++
    this.onEnd()
  }
  reset(code: number): void {
    this.resets.push(code)
    this.onReset()
  }
}

export type PeerOptions = {
  opener?: boolean
  memory?: Memory
  deadAfter?: number
  peerFirstCredit?: number
  events?: Partial<SessionEvents>
}

/** The session under test, with the peer's hands on its bytes and its clock. */
export class Peer {
  now = 0
  readonly memory: Memory
  readonly session: Session
  readonly accepted: { stream: Stream; opening: Opening; sink: Collect }[] = []
  readonly over: Over[] = []
  wakes = 0
  /** Bytes that the connection still takes. */
  room = Number.POSITIVE_INFINITY
  written = 0

  constructor(options: PeerOptions = {}) {
    this.memory = options.memory ?? new Memory()
    this.session = new Session(
      {
        opener: options.opener ?? false,
        peerFirstCredit: options.peerFirstCredit ?? 65_536,
        deadAfter: options.deadAfter ?? 5000,
        memory: this.memory,
        events: {
          opened: (stream, opening) => {
            const sink = new Collect()
            stream.sink = sink
            this.accepted.push({ stream, opening, sink })
          },
          wake: () => this.wakes++,
          over: how => this.over.push(how),
          ...options.events,
        },
      },
      this.now,
    )
  }

  /** Gives the session these bytes as one chunk. */
  send(...frames: Buffer[]): boolean {
    return this.session.receive(Buffer.concat(frames), this.now)
  }

  /** The bytes that the session writes now. */
  bytes(): Buffer {
    const parts: Buffer[] = []
    this.session.transmit((b, at, len) => {
      const n = Math.min(len, this.room)
      parts.push(Buffer.from(b.subarray(at, at + n)))
      this.room -= n
      this.written += n
      return n
    }, this.now)
    return Buffer.concat(parts)
  }

  /** The frames that the session writes now. */
  frames(): Read[] {
    return readFrames(this.bytes())
  }

  /** Opens a stream from the session's side. */
  open(sink: Sink = new Collect()): Stream {
    const stream = this.session.open({ tunnel: 1, visitor: '192.0.2.1:5', edge: '192.0.2.2:6' }, sink)
    if (stream === null) throw new Error('the session opens no stream')
    return stream
  }

  /** Accepts stream `id` on the session's side. */
  accept(id: number, credit = 65_536): { stream: Stream; sink: Collect } {
    this.send(raw.dataInit(id, 1, credit))
    const last = this.accepted[this.accepted.length - 1]
    if (last === undefined || last.stream.id !== id) throw new Error('the session accepted no stream')
    return last
  }
}

/** Frames of one type, without the PINGs that every session sends. */
export const ofType = (frames: readonly Read[], type: number): Read[] => frames.filter(f => f[0] === type)
