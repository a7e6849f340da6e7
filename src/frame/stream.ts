// One stream: what one visitor's connection is inside a session. Two directions, each with its own credit and its own end.
// Its state is here; who sends next, and everything that touches the wire, is session.ts.
import type { Stalled } from './memory.ts'
import { Queue } from './queue.ts'
import type { Session } from './session.ts'
import { RESET_CODE, type ResetCode, TUNING } from './wire.ts'

/** The other end of a stream's bytes: the outer connection, as link/splice.ts wires it up. */
export interface Sink {
  /** Bytes for the outer connection. Returns how many it took now; the rest is kept, and offered again by flush(). */
  data(buf: Buffer, at: number, len: number): number
  /** An offered chunk is done: nobody looks at it any more, and the source may go on. */
  free(buf: Buffer): void
  /** The peer's FIN, after its last byte was taken. */
  end(): void
  /** The stream is gone, both ways, and did not end by FIN. */
  reset(code: ResetCode): void
}

type Chunk = { readonly buf: Buffer; at: number; readonly end: number }

/** Which of the session's lists of senders a stream stands in. */
export enum Listed {
  no,
  small,
  bulk,
}

export class Stream implements Stalled {
  readonly id: number
  sink: Sink
  /** Over: reset, or ended by FIN both ways. Nothing more is sent or received. */
  gone = false

  // Sending. `pending` is the chunk being sent, from `pendingAt` on; `more` what came although the source was paused.
  pending: Buffer | null = null
  pendingAt = 0
  more: Buffer[] | null = null
  /** Bytes of DATA that the peer takes. */
  sendCredit: number
  /** False until DATA_INIT is encoded: nothing of this stream may go out before it. */
  announced: boolean
  listed: Listed = Listed.no
  finishing = false
  finSent = false
  resetCode: ResetCode = RESET_CODE.ABORTED

  // Receiving.
  /** Bytes of DATA that the peer may still send. */
  receiveCredit: number
  /** Credit that the peer has while nothing is in flight: receiveCredit + owed + what is queued. */
  window: number
  /** Consumed and not yet given back. */
  owed = 0
  creditDue = false
  finReceived = false
  readonly #session: Session
  readonly #queue = new Queue<Chunk>()
  #queued = 0
  #ended = false
  /** Reset or aborted: the sink hears no more. */
  #discarded = false
  #flushing = false

  constructor(session: Session, id: number, sink: Sink, announced: boolean, sendCredit: number) {
    this.#session = session
    this.id = id
    this.sink = sink
    this.announced = announced
    this.sendCredit = sendCredit
    this.receiveCredit = TUNING.firstCredit
    this.window = TUNING.firstCredit
  }

  /** Bytes offered and not yet encoded. */
  get backlog(): number {
    if (this.pending === null) return 0
    let bytes = this.pending.length - this.pendingAt
    if (this.more !== null) for (const buf of this.more) bytes += buf.length
    return bytes
  }

  /** Bytes received and not yet taken by the sink. */
  get queued(): number {
    return this.#queued
  }

  /**
   * Hands over a chunk from the outer connection; its ownership passes. True: all of it is copied, the caller may free it.
   * False: pause the source; `sink.free` says when it is done.
   */
  offer(buf: Buffer): boolean {
    if (this.gone || this.finishing) return true
    return this.#session.offer(this, buf)
  }

  /** No more bytes will be offered: FIN follows what was. */
  finish(): void {
    if (this.gone || this.finishing) return
    this.finishing = true
    this.#session.finish(this)
  }

  /** Ends both directions at once. The sink is not told: it is the caller's. */
  abort(code: ResetCode): void {
    if (!this.gone) this.#session.abort(this, code)
    // Ended by FIN both ways, and perhaps not all taken: only what is queued here is given up.
    else this.discard()
  }

  giveUp(code: ResetCode): void {
    this.abort(code)
    this.sink.reset(code)
  }

  /** The sink has room again. Works on after the session is over: what arrived whole is delivered whole. */
  flush(): void {
    // A sink that flushes from within data() would be given the same bytes twice.
    if (this.#flushing) return
    this.#flushing = true
    this.#drain()
    this.#flushing = false
    this.#endIfDrained()
  }

  #drain(): void {
    for (let chunk = this.#queue.peek(); chunk !== undefined; chunk = this.#queue.peek()) {
      const len = chunk.end - chunk.at
      const taken = this.sink.data(chunk.buf, chunk.at, len)
      // The sink may have aborted the stream meanwhile: then nothing is queued any more.
      if (this.#discarded) return
      if (taken > 0) this.#taken(chunk, taken)
      if (taken < len) return
    }
  }

  /** A piece of DATA. True when a view of `buf` was kept. */
  deliver(buf: Buffer, at: number, len: number): boolean {
    if (this.#queued === 0) {
      const taken = this.sink.data(buf, at, len)
      if (taken > 0) this.#session.consumed(this, taken)
      if (taken === len) return false
      at += taken
      len -= taken
    }
    if (this.gone) return false
    // A short view would pin its whole chunk, so it is copied.
    const keep = len * 2 >= buf.length
    const chunk = keep ? { buf, at, end: at + len } : { buf: Buffer.from(buf.subarray(at, at + len)), at: 0, end: len }
    this.#queue.push(chunk)
    this.#queued += len
    this.#session.memory.hold(this, len)
    return keep && !this.gone
  }

  fin(): void {
    this.finReceived = true
    this.#endIfDrained()
  }

  /** Forgets what is queued and pending: the stream was reset. */
  discard(): void {
    const held = this.#queued + this.backlog
    this.#discarded = true
    this.#queue.clear()
    this.#queued = 0
    this.pending = null
    this.more = null
    if (held > 0) this.#session.memory.drop(this, held, 0)
  }

  #taken(chunk: Chunk, taken: number): void {
    chunk.at += taken
    if (chunk.at === chunk.end) this.#queue.shift()
    this.#queued -= taken
    this.#session.memory.drop(this, taken, this.#queued)
    this.#session.consumed(this, taken)
  }

  #endIfDrained(): void {
    if (!this.finReceived || this.#ended || this.#discarded || this.#queued > 0) return
    this.#ended = true
    this.sink.end()
  }
}
