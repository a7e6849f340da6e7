// The multiplexer: everything between the bytes of one connection and its streams. It has no socket and no clock:
// link/carrier.ts feeds it `receive`, calls `transmit` when it asks by `wake`, and `tick` when a deadline has come.
import { Decoder, type Frames, putPing, Violation } from './codec.ts'
import { Liveness } from './liveness.ts'
import type { Memory } from './memory.ts'
import { type Control, readControl, type TunnelAnswer, type TunnelAsked } from './messages.ts'
import { Pieces } from './pieces.ts'
import { Receipts } from './receipts.ts'
import type { Write } from './ring.ts'
import { type Sink, Stream } from './stream.ts'
import { Streams } from './streams.ts'
import { type Opening, Turns } from './turns.ts'
import {
  BIND,
  BOUND,
  DATA_INIT,
  GOAWAY,
  LIMIT,
  PING,
  PONG,
  RESET,
  RESET_CODE,
  type ResetCode,
  SESSION_CODE,
  TUNING,
  UNBIND,
} from './wire.ts'

/** How a session ended: RESET on stream 0 from the peer, a rule that the peer broke, our own word, silence, or a broken connection. */
export type Over = { by: 'peer' | 'violation' | 'self' | 'silence' | 'lost'; code: number; text: string }

export interface SessionEvents {
  /** The peer opened `stream`. Set its sink before returning, or abort it. */
  opened(stream: Stream, opening: Opening): void
  /** There is something to send: call transmit() soon. Once until then. */
  wake(): void
  /** Call push() now: a block is full, or many bytes want a receipt. It calls nobody back. */
  full?(): void
  /** Once, last; every stream that had not ended by FIN both ways has been reset. */
  over(how: Over): void
  /** The peer drains: it takes no new streams. */
  goaway?(code: number, text: string): void
  bind?(tunnel: TunnelAsked): void
  bound?(answer: TunnelAnswer): void
  unbind?(tunnel: number): void
  /** A round trip was measured, in ms. */
  roundTrip?(ms: number): void
  /** Nothing was heard for the limit: detach, or give it up by lost(). Without this the session is over. */
  silent?(): void
}

export type SessionOptions = {
  /** True for the side that opens streams (the relay towards an agent); the other only accepts. */
  opener: boolean
  /** Credit that the peer gives new streams, from INIT or ACK; in DATA_INIT for the side that accepts. */
  peerFirstCredit: number
  /** Silent for so many ms: dead. */
  deadAfter: number
  memory: Memory
  events: SessionEvents
}

/** So many times a round trip, or one of this length, the system is asked what has arrived; not more often than this. */
const ASKS = 16
const ASK_WITHIN_MS = 320
const ASK_MIN_MS = 2

const NO_SINK: Sink = { data: () => 0, free() {}, end() {}, reset() {} }

export class Session implements Frames {
  readonly memory: Memory
  /** Who sends next; its streams call it for themselves. */
  readonly turns: Turns
  readonly #events: SessionEvents
  readonly #opener: boolean
  readonly #peerFirstCredit: number
  readonly #deadAfter: number
  readonly #liveness: Liveness
  readonly #receipts = new Receipts()
  readonly #decoder = new Decoder(this)

  readonly #streams: Streams
  /** The highest id that the peer announced. */
  #accepted = 0
  #lastId = 0
  #peerDrains = false
  /** The edge that was named last: thousands of streams came in by the same one, and share the text. */
  #edge = ''

  #goaway: { code: number; text: string } | null = null
  #awake = false
  #blocked = false

  /** The stream of the DATA frame being received; null: its bytes are dropped. */
  #current: Stream | null = null
  /** What of the chunk being received is for it, and not delivered yet. */
  readonly #pieces = new Pieces()
  /** A view of that chunk was kept. */
  #kept = false

  /** What was received when the PING was asked for that measures the path. */
  #measuredFrom = 0
  /** A receipt of the peer's arrived in this receive(). */
  #receiptMoved = false
  /** When the system is asked next what has arrived; Infinity where it is never. */
  #askAt = Number.POSITIVE_INFINITY
  #pongDue = false
  #pongOpaque = 0

  #over: Over | null = null
  #overSent = false

  constructor(options: SessionOptions, now: number) {
    this.memory = options.memory
    this.#streams = new Streams(options.memory)
    this.#events = options.events
    this.#opener = options.opener
    this.#peerFirstCredit = options.peerFirstCredit
    this.#deadAfter = options.deadAfter
    this.#liveness = new Liveness(options.deadAfter, now)
    this.turns = new Turns(
      options.memory,
      () => this.#wake(),
      () => this.#events.full?.(),
      stream => this.#forgetIfDone(stream),
    )
    this.#wake()
  }

  /** Streams open now. */
  get streams(): number {
    return this.#streams.size
  }

  /** No stream is open, and the peer has all that was sent: to end the session now cuts nothing off. */
  get quiet(): boolean {
    return this.#over !== null || (this.#streams.size === 0 && !this.turns.waiting && !this.#unreceipted)
  }

  get isOver(): boolean {
    return this.#over !== null
  }

  /** Whether a connection carries it now. */
  get attached(): boolean {
    return this.turns.attached
  }

  /** Bytes kept for a replay and for streams that wait: what holding this session costs. */
  get held(): number {
    let bytes = this.turns.ring.inFlight
    for (const stream of this.#streams.all()) bytes += stream.backlog + stream.queued
    return bytes
  }

  /** Bytes received since registration: the position that a receipt names. */
  position(): number {
    return this.#receipts.received
  }

  // ---- What the carrier calls.

  /** Bytes of the connection. True when no view of `buf` was kept, so that it may be freed. */
  receive(buf: Buffer, now: number): boolean {
    if (this.#over !== null || !this.turns.attached) return true
    this.#liveness.heard(now)
    const receipts = this.#receipts
    receipts.begin(buf.length)
    this.#receiptMoved = false
    this.#kept = false
    try {
      this.#decoder.decode(buf)
      this.#deliver()
      if (receipts.received > LIMIT.position) throw new Violation('more bytes than positions')
    } catch (e) {
      if (!(e instanceof Violation)) throw e
      // What came before the violation, perhaps for a stream that ends whole all the same.
      this.#deliver()
      this.#end({ by: 'violation', code: e.code, text: e.message })
      return !this.#kept
    }
    if (this.#receiptMoved) {
      const { ring, window } = this.turns
      window.arrive(ring.tail, ring.head, this.turns.backlogged, now)
      this.#measurePath(now)
      if (this.#waiting()) this.#wake()
    }
    receipts.end(now)
    if (receipts.urgent) this.#events.full?.()
    if (receipts.due) this.#wake()
    return !this.#kept
  }

  /** Encodes what may go now and writes it. False when the connection is blocked: call again when it drains. */
  transmit(write: Write, now: number): boolean {
    if (!this.turns.attached) return true
    // What callbacks add while this runs is encoded in the next round of it: no wake-up for that.
    this.#awake = true
    this.#blocked = !this.#send(write, now)
    this.#awake = false
    if (this.#blocked) return false
    // Nothing but PING, PONG and RECEIPT is on its way, and none of those is receipted soon: no block waits for that.
    if (!this.#unreceipted) this.turns.ring.compact()
    return true
  }

  /**
   * Writes what need not wait for the end of this turn: whole blocks, and with a receipt all there is. What is written
   * at once is still in the cache, and the peer goes on while this side reads more. False when the connection is blocked.
   */
  push(write: Write, now: number): boolean {
    if (this.#blocked || this.#over !== null || !this.turns.attached) return !this.#blocked
    const { ring, window } = this.turns
    const receipt = this.#receipts.due
    if (receipt) this.#encodeSessionControl(now)
    window.sent(ring.head, now)
    this.#blocked = !(receipt ? ring.write(write) : ring.writeBlocks(write))
    return !this.#blocked
  }

  #send(write: Write, now: number): boolean {
    // While the connection is blocked all control stays flags and sums: behind bytes that cannot go it would only grow,
    // and what is encoded later has its turn by what waits then.
    if (this.#blocked && !this.turns.ring.write(write)) return false
    this.#blocked = false
    for (;;) {
      const { ring, window } = this.turns
      if (this.turns.smallSeen) {
        this.turns.smallSeen = false
        window.small(now)
      }
      const before = ring.head
      this.#encode(now)
      window.sent(ring.head, now)
      if (!ring.write(write)) return false
      if (ring.head === before) return true
    }
  }

  /**
   * The time of the next deadline has come (or has not: calling it early is harmless). Returns the next one, in the same
   * clock. A tick that comes late says that this process was held up, not that the peer was silent.
   */
  tick(now: number): number {
    if (this.#over !== null || !this.turns.attached) return Number.POSITIVE_INFINITY
    switch (this.#liveness.check(now)) {
      case 'dead':
        if (this.#events.silent) this.#events.silent()
        else this.#end({ by: 'silence', code: SESSION_CODE.DEAD, text: `silent for ${this.#deadAfter} ms` })
        return Number.POSITIVE_INFINITY
      case 'suspect':
        return this.#liveness.promised
      case 'alive':
    }
    if (this.#receipts.check(now)) this.#wake()
    if (now >= this.#liveness.nextPing(this.#unreceipted)) {
      this.#liveness.ask(now)
      this.#wake()
      this.turns.ring.compact()
    }
    return this.deadline()
  }

  /** When tick() is due, in the clock of `now`. */
  deadline(): number {
    if (this.#over !== null || !this.turns.attached) return Number.POSITIVE_INFINITY
    const liveness = this.#liveness
    if (liveness.suspect) return liveness.promised
    const ask = this.#mayAsk ? this.#askAt : Number.POSITIVE_INFINITY
    liveness.promised = Math.min(liveness.deadline, this.#receipts.at, liveness.nextPing(this.#unreceipted))
    // Not promised: after a while without a backlog it lies long ago, which is no lateness of this process.
    return Math.min(liveness.promised, ask)
  }

  // ---- What only the system knows (docs/protocol.md, "The window in flight").

  /** The carrier is to ask the system, before receive() and tick(), what has arrived, and tell confirm(). */
  asks(now: number): boolean {
    return now >= this.#askAt && this.#mayAsk
  }

  /**
   * Of the bytes written to the connection, the peer's system has all but `missing`; Infinity when nothing is missing
   * there and receipts say it all, -1 when there is nobody to ask. A carrier that never calls this is not asked.
   */
  confirm(missing: number, now: number): void {
    if (missing < 0) return
    const { ring, window } = this.turns
    this.#askAt = now + Math.max(ASK_MIN_MS, Math.min(window.rtt, ASK_WITHIN_MS) / ASKS)
    if (ring.sent - missing <= window.arrived) return
    window.arrive(ring.sent - missing, ring.head, this.turns.backlogged, now)
    this.#measurePath(now)
    this.#wake()
  }

  /** While bulk waits for that, and the path is empty. */
  #measurePath(now: number): void {
    if (!this.turns.window.takePing()) return
    this.#measuredFrom = this.#receipts.received
    this.#liveness.ask(now)
  }

  /** Near by, a lost packet is sent again before anybody notices. */
  get #mayAsk(): boolean {
    return this.turns.backlogged && !this.turns.window.near && this.turns.window.rtt < Number.POSITIVE_INFINITY
  }

  /** The connection is gone for good: every stream that had not ended is reset. */
  lost(text = 'the connection broke'): void {
    this.#overSent = true
    this.#end({ by: 'lost', code: RESET_CODE.ABORTED, text })
    this.turns.ring.clear()
  }

  // ---- Between two connections (docs/protocol.md, "Resume").

  /** The connection is mute. Every source is paused in this call; what arrived before goes on to the sinks. */
  detach(): void {
    if (!this.turns.attached || this.#over !== null) return
    this.turns.attached = false
    this.#liveness.rest()
    for (const stream of this.#streams.all()) stream.sink.hold?.()
  }

  /** Whether the ring still has everything from the peer's position on. */
  resumable(peerPosition: number): boolean {
    return this.#over === null && peerPosition >= this.turns.ring.tail && peerPosition <= this.turns.ring.sent
  }

  /**
   * A new connection carries the session on from `peerPosition`, which is resumable; the caller has told the peer
   * position(). Returns how many bytes are replayed.
   */
  attach(peerPosition: number, now: number): number {
    const { ring, window } = this.turns
    const replayed = ring.sent - peerPosition
    if (peerPosition > ring.tail) ring.receipt(peerPosition)
    ring.rewind(peerPosition)
    // The positions exchanged are receipts both ways.
    this.#receipts.restart()
    this.#askAt = Number.POSITIVE_INFINITY
    window.reset(peerPosition)
    this.#liveness.restart(now)
    this.#blocked = false
    this.turns.attached = true
    this.#awake = false
    for (const stream of this.#streams.all()) stream.sink.go?.()
    this.#wake()
    return replayed
  }

  // ---- What the owner of the session calls.

  /** Opens a stream, or null when the session takes no more for now. DATA may be offered at once. */
  open(opening: Opening, sink: Sink): Stream | null {
    if (this.#over !== null || !this.#opener || this.#peerDrains || this.#goaway !== null) return null
    if (!this.turns.attached) return null
    if (!this.#streams.admit()) return null
    if (this.#lastId === LIMIT.streamId) {
      this.close(SESSION_CODE.SHUTDOWN, 'no stream id is left')
      return null
    }
    const stream = new Stream(this, ++this.#lastId, sink, false, this.#peerFirstCredit)
    this.#streams.add(stream)
    this.turns.open(stream, opening)
    return stream
  }

  /** Asks for a tunnel, answers that, or takes one back. */
  send(message: Extract<Control, { type: typeof BIND | typeof BOUND | typeof UNBIND }>): void {
    if (this.#over !== null) return
    if (this.turns.messagesWaiting >= LIMIT.tunnels * 2) {
      this.#end({ by: 'violation', code: SESSION_CODE.PROTOCOL, text: 'too many tunnel messages' })
      return
    }
    this.turns.message(message)
  }

  /** It opens no stream any more, and takes none. */
  get saidGoaway(): boolean {
    return this.#goaway !== null
  }

  /** Says that this side drains: no new streams; the open ones go on. Without any, and without a connection, it is over. */
  goaway(code: number, text: string): void {
    if (this.#over !== null || this.#goaway !== null) return
    if (!this.turns.attached && this.quiet) return this.close(code, text)
    this.#goaway = { code, text }
    this.turns.message({ type: GOAWAY, code, text, last: this.#highest })
  }

  /** Ends the session with RESET on stream 0; the carrier still transmits that. */
  close(code: number, text: string): void {
    this.#end({ by: 'self', code, text })
  }

  // ---- What streams call.

  abort(stream: Stream, code: ResetCode): void {
    this.#forget(stream)
    stream.discard()
    if (!stream.announced) return
    this.#sendReset(stream.id, code)
  }

  /** `bytes` of `stream` reached the outer connection: they become credit again. */
  consumed(stream: Stream, bytes: number): void {
    stream.taken += bytes
    if (stream.gone || stream.finReceived) return
    stream.owed += bytes
    if (stream.creditDue || stream.owed * 2 < stream.window) return
    if (stream.queued === 0) this.#streams.grow(stream, this.turns.window.near)
    this.turns.credit(stream)
  }

  // ---- What the decoder calls.

  dataBegins(id: number, length: number): void {
    this.#receipts.countable = true
    if (this.#current?.id !== id) this.#deliver()
    const stream = this.#find(id)
    this.#current = stream
    if (stream === null) return
    if (stream.finReceived) throw new Violation('DATA after FIN')
    if (length > stream.receiveCredit) throw new Violation('DATA beyond the credit')
    stream.receiveCredit -= length
  }

  dataPiece(buf: Buffer, at: number, len: number): void {
    this.#receipts.countable = true
    if (this.#current === null) return
    if (this.#pieces.full) this.#deliver()
    this.#pieces.add(buf, at, len)
  }

  /** Hands over what was gathered: at the end of a chunk, and before anything else is told to a stream. */
  #deliver(): void {
    const pieces = this.#pieces
    if (pieces.count === 0) return
    const stream = this.#current
    if (stream !== null && !stream.gone && stream.deliver(pieces)) this.#kept = true
    pieces.clear()
  }

  credit(id: number, bytes: number): void {
    this.#receipts.countable = true
    if (bytes === 0) throw new Violation('CREDIT of nothing')
    const stream = this.#find(id)
    if (stream === null) return
    stream.sendCredit += bytes
    if (stream.sendCredit > LIMIT.credit) throw new Violation('CREDIT over the limit')
    if (stream.pending !== null || stream.pulls) this.turns.list(stream)
  }

  fin(id: number): void {
    this.#receipts.countable = true
    this.#deliver()
    const stream = this.#find(id)
    if (stream === null) return
    if (stream.finReceived) throw new Violation('FIN after FIN')
    stream.fin()
    this.#forgetIfDone(stream)
  }

  ping(opaque: number): void {
    this.#pongDue = true
    this.#pongOpaque = opaque
    this.#wake()
  }

  pong(opaque: number): void {
    const ms = this.#liveness.pong(opaque)
    if (ms === null) return
    const { countableHead, window } = this.turns
    const crowded = this.#receipts.received - this.#measuredFrom > TUNING.small
    window.roundTrip(ms, countableHead, this.#liveness.heardAt, crowded)
    this.#measurePath(this.#liveness.heardAt)
    if (this.#waiting()) this.#wake()
    this.#events.roundTrip?.(ms)
  }

  receipt(position: number): void {
    if (position > this.turns.ring.sent) throw new Violation('RECEIPT beyond what was sent')
    if (position <= this.turns.ring.tail) return
    this.turns.ring.receipt(position)
    this.#receiptMoved = true
  }

  control(body: Buffer): void {
    this.#deliver()
    // RESET on stream 0 came earlier in the same chunk, or a sink that was just told ended the session.
    if (this.#over !== null) return
    this.#receipts.countable = true
    const m = readControl(body)
    switch (m.type) {
      case DATA_INIT:
        return this.#accept(m)
      case RESET: {
        if (m.stream === 0) return this.#end({ by: 'peer', code: m.code, text: m.text })
        const stream = this.#find(m.stream)
        if (stream === null) return
        this.#forget(stream)
        stream.discard()
        stream.sink.reset(m.code as ResetCode)
        return
      }
      case GOAWAY:
        this.#peerDrains = true
        this.#events.goaway?.(m.code, m.text)
        return
      case BIND:
        if (!this.#events.bind) throw new Violation('BIND to the wrong side')
        return this.#events.bind(m.tunnel)
      case BOUND:
        if (!this.#events.bound) throw new Violation('BOUND to the wrong side')
        return this.#events.bound(m.answer)
      case UNBIND:
        if (!this.#events.unbind) throw new Violation('UNBIND to the wrong side')
        return this.#events.unbind(m.tunnel)
    }
  }

  // ---- Streams.

  #accept(m: Extract<Control, { type: typeof DATA_INIT }>): void {
    if (this.#opener) throw new Violation('DATA_INIT to the side that opens')
    if (m.stream <= this.#accepted) throw new Violation('DATA_INIT of an id that was used')
    this.#accepted = m.stream
    if (this.#goaway !== null || !this.#streams.admit()) return this.#sendReset(m.stream, RESET_CODE.BUSY)
    const stream = new Stream(this, m.stream, NO_SINK, true, m.credit)
    this.#streams.add(stream)
    if (m.edge !== this.#edge) this.#edge = m.edge
    this.#events.opened(stream, { tunnel: m.tunnel, visitor: m.visitor, edge: this.#edge })
  }

  /** The open stream `id`; null when it is over, and frames still on their way to it are to be dropped. */
  #find(id: number): Stream | null {
    const stream = this.#streams.get(id)
    if (stream?.announced) return stream
    if (id > this.#highest || id === 0) throw new Violation('a stream that was never opened')
    return null
  }

  /** The highest id that may be known to both. */
  get #highest(): number {
    return this.#opener ? this.turns.announced : this.#accepted
  }

  #sendReset(id: number, code: ResetCode): void {
    this.turns.reset(id, code)
    if (this.turns.resetsWaiting > LIMIT.streams)
      this.#end({ by: 'violation', code: SESSION_CODE.PROTOCOL, text: 'resets that the peer does not read' })
  }

  #forgetIfDone(stream: Stream): void {
    if (stream.finReceived && stream.finSent && !stream.gone) this.#forget(stream)
  }

  // ---- Sending.

  #wake(): void {
    if (this.#awake || !this.turns.attached) return
    this.#awake = true
    this.#events.wake()
  }

  /** Frames are on their way that the peer will receipt by and by. */
  get #unreceipted(): boolean {
    return this.turns.ring.tail < this.turns.countableHead
  }

  #waiting(): boolean {
    return this.turns.waiting || this.#receipts.due || this.#pongDue || this.#liveness.pingDue
  }

  #encode(now: number): void {
    if (this.#over !== null) {
      if (this.#overSent) return
      this.#overSent = true
      this.turns.putMessage({ type: RESET, stream: 0, code: this.#over.code, text: this.#over.text })
      return
    }
    this.#encodeSessionControl(now)
    this.turns.encode()
  }

  #encodeSessionControl(now: number): void {
    const { turns } = this
    if (!turns.receiptRoom) return
    if (this.#pongDue) {
      this.#pongDue = false
      turns.put(putPing(turns.scratch, PONG, this.#pongOpaque))
      this.#receipts.withPong()
    }
    if (this.#receipts.due) turns.put(this.#receipts.put(turns.scratch))
    if (this.#liveness.pingDue) turns.put(putPing(turns.scratch, PING, this.#liveness.takePing(now)))
  }

  #forget(stream: Stream): void {
    this.#streams.forget(stream)
    this.turns.ended()
  }

  #end(how: Over): void {
    if (this.#over !== null) return
    this.#over = how
    // After RESET from the peer and in silence nothing is worth sending; without a connection nobody would hear it.
    if (how.by === 'peer' || how.by === 'silence' || !this.turns.attached) this.#overSent = true
    const open = [...this.#streams.all()]
    for (const stream of open) {
      // A sink that was just told may have aborted others.
      if (stream.gone) continue
      this.#forget(stream)
      stream.discard()
      stream.sink.reset(RESET_CODE.ABORTED)
    }
    if (this.#overSent) this.turns.ring.clear()
    this.#wake()
    this.#events.over(how)
  }
}
