// One stream: what one visitor's connection is inside a session. Two directions, each with its own credit and its own end.
// Its state is here; who sends next is turns.ts, the rest of the wire session.ts.
import type { Stalled } from './memory.ts'
import { Pieces } from './pieces.ts'
import type { Queue } from './queue.ts'
import type { Source } from './ring.ts'
import type { Session } from './session.ts'
import { Unread } from './unread.ts'
import { type ResetCode, TUNING } from './wire.ts'

/**
 * The other end of a stream's bytes: the outer connection, as link/splice.ts wires it up. It is taken from while it is
 * paused, and behind a chunk that it just offered.
 */
export interface Sink extends Source {
  /**
   * Bytes for the outer connection, to be looked at in this call only. Returns how many it took now; the rest is kept,
   * and offered again by flush().
   */
  data(pieces: Pieces): number
  /** An offered chunk is done: nobody looks at it any more, and the source may go on. */
  free(buf: Buffer): void
  /** The peer's FIN came, and bytes before it were not taken yet. */
  ending?(): void
  /** The peer's FIN, after its last byte was taken. */
  end(): void
  /** The stream is gone, both ways, and did not end by FIN. */
  reset(code: ResetCode): void
  /** The source, which was paused to be taken from, is to go on by itself. */
  more?(): void
  /** The session has no connection: read no more from the source, whatever offer() returned. */
  hold?(): void
  /** It has one again. */
  go?(): void
}

/** Which of the session's lists of senders a stream stands in. */
export enum Listed {
  no,
  small,
  bulk,
}

/** What waited, on its way to a sink again. */
const again = new Pieces()

export class Stream implements Stalled {
  readonly id: number
  sink: Sink
  /** Over: reset, or ended by FIN both ways. Nothing more is sent or received. */
  gone = false

  // Sending. `pending` is the chunk being sent, from `pendingAt` on; `more` what came although the source was paused.
  pending: Buffer | null = null
  pendingAt = 0
  more: Queue<Buffer> | null = null
  /** Bytes offered and not yet encoded. */
  backlog = 0
  /** The source is paused, and taken from when it is this stream's turn. */
  pulls = false
  /** The last chunk was not a small one. */
  bulk = false
  /** Bytes of DATA that the peer takes. */
  sendCredit: number
  /** False until DATA_INIT is encoded: nothing of this stream may go out before it. */
  announced: boolean
  listed: Listed = Listed.no
  finishing = false
  finSent = false

  // Receiving.
  /** Bytes of DATA that the peer may still send. */
  receiveCredit: number
  /** Credit that the peer has while nothing is in flight: receiveCredit + owed + what is queued. */
  window: number
  /** Bytes that the sink took, all in all. */
  taken = 0
  /** Consumed and not yet given back. */
  owed = 0
  creditDue = false
  finReceived = false
  readonly #session: Session
  /** What its sink did not take yet; null: it took all. */
  #unread: Unread | null = null
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

  /** The sink was told of the peer's FIN. */
  get delivered(): boolean {
    return this.#ended
  }

  /** Its session is over. */
  get orphaned(): boolean {
    return this.#session.isOver
  }

  /** Bytes received and not yet taken by the sink. */
  get queued(): number {
    return this.#unread?.bytes ?? 0
  }

  /**
   * Hands over a chunk from the outer connection; its ownership passes. True: all of it is copied, the caller may free it.
   * False: pause the source; `sink.free` says when it is done.
   */
  offer(buf: Buffer): boolean {
    if (this.gone || this.finishing || buf.length === 0) return true
    return this.#session.turns.offer(this, buf)
  }

  /** Takes what the source has behind the chunk just offered. True: pause it; it is taken from as its turn comes. */
  takeMore(): boolean {
    return !this.gone && !this.finishing && this.#session.turns.takeMore(this)
  }

  /** No more bytes will be offered: FIN follows what was. */
  finish(): void {
    if (this.gone || this.finishing) return
    this.finishing = true
    this.#session.turns.finish(this)
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
    // The sink may abort the stream meanwhile: then nothing is left.
    for (let unread = this.#unread; unread !== null; unread = this.#unread) {
      const { buf, at, end } = unread.first!
      again.clear()
      again.add(buf, at, end - at)
      const taken = this.sink.data(again)
      again.clear()
      if (this.#unread === null) return
      if (taken > 0) this.#taken(unread, taken)
      if (taken < end - at) return
    }
  }

  /** Pieces of DATA. True when a view of what they are parts of was kept. */
  deliver(pieces: Pieces): boolean {
    let taken = 0
    if (this.#unread === null) {
      taken = this.sink.data(pieces)
      if (taken === pieces.bytes) {
        this.#session.consumed(this, taken)
        return false
      }
    }
    if (this.gone) return false
    this.#unread ??= new Unread()
    const kept = this.#unread.keep(pieces, taken)
    this.#session.memory.hold(this, pieces.bytes - taken)
    // After the rest is kept: a window grows only for a sink that keeps up.
    if (taken > 0) this.#session.consumed(this, taken)
    return kept && !this.gone
  }

  fin(): void {
    this.finReceived = true
    if (this.#unread === null) this.#endIfDrained()
    else this.sink.ending?.()
  }

  /** Forgets what waits, either way: the stream was reset. */
  discard(): void {
    const held = this.queued + this.backlog
    this.#discarded = true
    this.#unread = null
    this.pending = null
    this.more = null
    this.backlog = 0
    this.pulls = false
    if (held > 0) this.#session.memory.drop(this, held, 0)
  }

  #taken(unread: Unread, bytes: number): void {
    unread.taken(bytes)
    if (unread.bytes === 0) this.#unread = null
    this.#session.memory.drop(this, bytes, unread.bytes + this.backlog)
    this.#session.consumed(this, bytes)
  }

  #endIfDrained(): void {
    if (!this.finReceived || this.#ended || this.#discarded || this.#unread !== null) return
    this.#ended = true
    this.sink.end()
  }
}
