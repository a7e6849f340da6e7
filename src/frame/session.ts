// The multiplexer: everything between the bytes of one connection and its streams. It has no socket and no clock:
// link/carrier.ts feeds it `receive`, calls `transmit` when it asks by `wake`, and `tick` when a deadline has come.
import { Decoder, type Frames, putCredit, putDataHeader, putFin, putPing, putReceipt, Violation } from './codec.ts'
import type { Memory } from './memory.ts'
import { type Control, controlFrame, readControl, type TunnelAnswer, type TunnelAsked } from './messages.ts'
import { Queue } from './queue.ts'
import { Ring, type Write } from './ring.ts'
import { Listed, type Sink, Stream } from './stream.ts'
import { Window } from './window.ts'
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
  SIZE,
  TUNING,
  UNBIND,
} from './wire.ts'

/** What an opened stream is for, as DATA_INIT says it. */
export type Opening = { tunnel: number; visitor: string; edge: string }

/** How a session ended: RESET on stream 0 from the peer, a rule that the peer broke, our own word, silence, or a broken connection. */
export type Over = { by: 'peer' | 'violation' | 'self' | 'silence' | 'lost'; code: number; text: string }

export interface SessionEvents {
  /** The peer opened `stream`. Set its sink before returning, or abort it. */
  opened(stream: Stream, opening: Opening): void
  /** There is something to send: call transmit() soon. Once until then. */
  wake(): void
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

/** PINGs that may be unanswered at once and still be matched to their PONG. */
const PINGS = 8
const STARTING_PINGS = 3
const UNRECEIPTED_PING_MS = 1000
/** A PONG takes a receipt along when at least so much is unreceipted, so that idle rings empty. */
const RECEIPT_WITH_PONG = 1024
/**
 * A silent peer is asked after this part of the limit. What it may be held up for without being given up is the rest, less
 * a round trip: four fifths of the limit, 4 s of 5.
 */
const QUIET = 8
/** A second tick that is late by this part of the limit does not count. */
const LATE = 10
/** Streams that wait for room to be announced; one more is refused. */
const OPENS_WAITING = 1024

const HARD_ROOM = TUNING.windowMax + TUNING.smallRoom + TUNING.controlRoom

const NO_SINK: Sink = { data: () => 0, free() {}, end() {}, reset() {} }

export class Session implements Frames {
  readonly memory: Memory
  readonly window = new Window()
  readonly #events: SessionEvents
  readonly #opener: boolean
  readonly #peerFirstCredit: number
  readonly #deadAfter: number
  readonly #ring: Ring
  readonly #decoder = new Decoder(this)
  readonly #scratch = Buffer.allocUnsafeSlow(16)

  readonly #streams = new Map<number, Stream>()
  /** The highest id that was announced (by us or by the peer). */
  #highest = 0
  #lastId = 0
  #granted = 0
  #peerDrains = false

  // Who has something to say. A stream stands in each at most once; one that is gone is skipped when its turn comes.
  readonly #opens = new Queue<{ stream: Stream; opening: Opening }>()
  readonly #small = new Queue<Stream>()
  readonly #bulk = new Queue<Stream>()
  readonly #credits = new Queue<Stream>()
  readonly #fins = new Queue<Stream>()
  readonly #resets = new Queue<Stream>()
  readonly #messages = new Queue<Control>()
  #goaway: { code: number; text: string } | null = null
  #awake = false
  #blocked = false
  /** What small streams may still send in this turn while bulk waits. */
  #smallLeft: number = TUNING.smallTurn

  // The stream of the DATA frame being received; null: its bytes are dropped.
  #current: Stream | null = null

  #received = 0
  #receipted = 0
  /** Something other than RECEIPT, PING and PONG arrived in this receive(). */
  #countable = false
  #receiptAt = Number.POSITIVE_INFINITY
  #receiptDue = false
  #receiptMoved = false
  /** Where our last frame other than RECEIPT, PING and PONG ends. */
  #countableHead = 0

  #heardAt: number
  #suspect = false
  #promised = Number.POSITIVE_INFINITY
  #pingAt: number
  #pingDue = true
  #startingPings = STARTING_PINGS - 1
  #pingCount = 0
  readonly #pingSentAt = new Float64Array(PINGS).fill(-1)
  #pongDue = false
  #pongOpaque = 0

  /** False between connections: nothing is encoded, only flags and sums change. */
  #attached = true
  #over: Over | null = null
  #overSent = false

  constructor(options: SessionOptions, now: number) {
    this.memory = options.memory
    this.#events = options.events
    this.#opener = options.opener
    this.#peerFirstCredit = options.peerFirstCredit
    this.#deadAfter = options.deadAfter
    this.#ring = new Ring(options.memory)
    this.#heardAt = now
    this.#pingAt = now
    this.#wake()
  }

  /** Streams open now. */
  get streams(): number {
    return this.#streams.size
  }

  get isOver(): boolean {
    return this.#over !== null
  }

  /** Whether a connection carries it now. */
  get attached(): boolean {
    return this.#attached
  }

  /** Bytes kept for a replay and for streams that wait: what holding this session costs. */
  get held(): number {
    let bytes = this.#ring.inFlight
    for (const stream of this.#streams.values()) bytes += stream.backlog + stream.queued
    return bytes
  }

  /** Bytes received since registration: the position that a receipt names. */
  position(): number {
    return this.#received
  }

  // ---- What the carrier calls.

  /** Bytes of the connection. True when no view of `buf` was kept, so that it may be freed. */
  receive(buf: Buffer, now: number): boolean {
    if (this.#over !== null || !this.#attached) return true
    this.#heardAt = now
    this.#suspect = false
    this.#received += buf.length
    this.#countable = false
    this.#receiptMoved = false
    let kept = false
    try {
      kept = this.#decoder.decode(buf)
      if (this.#received > LIMIT.position) throw new Violation('more bytes than positions')
    } catch (e) {
      if (!(e instanceof Violation)) throw e
      this.#end({ by: 'violation', code: e.code, text: e.message })
      // A piece may have been queued before the violation, in a stream that ends whole all the same.
      return false
    }
    if (this.#receiptMoved) {
      this.window.receipted(this.#ring.tail, this.#ring.head, this.#bulk.size > 0, now)
      if (this.#waiting()) this.#wake()
    }
    if (this.#received - this.#receipted >= TUNING.receiptBytes) {
      this.#receiptDue = true
      this.#wake()
    } else if (this.#countable && this.#receiptAt === Number.POSITIVE_INFINITY) {
      this.#receiptAt = now + TUNING.receiptDelay
    }
    return !kept
  }

  /** Encodes what may go now and writes it. False when the connection is blocked: call again when it drains. */
  transmit(write: Write, now: number): boolean {
    if (!this.#attached) return true
    // What callbacks add while this runs is encoded in the next round of it: no wake-up for that.
    this.#awake = true
    this.#blocked = !this.#send(write, now)
    this.#awake = false
    if (this.#blocked) return false
    // Nothing but PING, PONG and RECEIPT is on its way, and none of those is receipted soon: no block waits for that.
    if (this.#ring.tail >= this.#countableHead) this.#ring.compact()
    return true
  }

  #send(write: Write, now: number): boolean {
    // While the connection is blocked all control stays flags and sums: behind bytes that cannot go it would only grow,
    // and what is encoded later has its turn by what waits then.
    if (this.#blocked && !this.#ring.write(write)) return false
    for (;;) {
      const before = this.#ring.head
      this.#encode(now)
      if (!this.#ring.write(write)) return false
      if (this.#ring.head === before) return true
    }
  }

  /**
   * The time of the next deadline has come (or has not: calling it early is harmless). Returns the next one, in the same
   * clock. A tick that comes late says that this process was held up, not that the peer was silent.
   */
  tick(now: number): number {
    if (this.#over !== null || !this.#attached) return Number.POSITIVE_INFINITY
    const late = now - this.#promised
    if (late > 0) this.#heardAt = Math.min(now, this.#heardAt + late)
    if (now - this.#heardAt >= this.#deadAfter) {
      // One more poll: what arrived meanwhile lies in the socket, unread. Timers run before that poll when the loop was
      // held up, so a second tick that is itself late proves nothing.
      if (this.#suspect && late < this.#deadAfter / LATE) {
        if (this.#events.silent) this.#events.silent()
        else this.#end({ by: 'silence', code: SESSION_CODE.DEAD, text: `silent for ${this.#deadAfter} ms` })
        return Number.POSITIVE_INFINITY
      }
      this.#suspect = true
      this.#promised = now + 1
      return this.#promised
    }
    this.#suspect = false
    if (now >= this.#receiptAt) {
      this.#receiptDue = true
      this.#wake()
    }
    if (now >= this.#nextPing()) {
      this.#pingAt = now
      this.#pingDue = true
      this.#wake()
      this.#ring.compact()
    }
    return this.deadline()
  }

  /** When tick() is due, in the clock of `now`. */
  deadline(): number {
    if (this.#over !== null || !this.#attached) return Number.POSITIVE_INFINITY
    // While the peer is suspected, the poll between two ticks is what is waited for.
    if (this.#suspect) return this.#promised
    const receipt = this.#receiptDue ? Number.POSITIVE_INFINITY : this.#receiptAt
    this.#promised = Math.min(this.#heardAt + this.#deadAfter, receipt, this.#nextPing())
    return this.#promised
  }

  /** The connection is gone for good: every stream that had not ended is reset. */
  lost(text = 'the connection broke'): void {
    this.#overSent = true
    this.#end({ by: 'lost', code: RESET_CODE.ABORTED, text })
    this.#ring.clear()
  }

  // ---- Between two connections (docs/protocol.md, "Resume").

  /** The connection is mute. Every source is paused in this call; what arrived before goes on to the sinks. */
  detach(): void {
    if (!this.#attached || this.#over !== null) return
    this.#attached = false
    this.#suspect = false
    for (const stream of this.#streams.values()) stream.sink.hold?.()
  }

  /** Whether the ring still has everything from the peer's position on. */
  resumable(peerPosition: number): boolean {
    return this.#over === null && peerPosition >= this.#ring.tail && peerPosition <= this.#ring.sent
  }

  /**
   * A new connection carries the session on from `peerPosition`, which is resumable; the caller has told the peer
   * position(). Returns how many bytes are replayed.
   */
  attach(peerPosition: number, now: number): number {
    const replayed = this.#ring.sent - peerPosition
    if (peerPosition > this.#ring.tail) this.#ring.receipt(peerPosition)
    this.#ring.rewind(peerPosition)
    // The positions exchanged are receipts both ways.
    this.#receipted = this.#received
    this.#receiptDue = false
    this.#receiptAt = Number.POSITIVE_INFINITY
    this.window.reset()
    this.#pingSentAt.fill(-1)
    this.#startingPings = STARTING_PINGS - 1
    this.#pingAt = now
    this.#pingDue = true
    this.#heardAt = now
    this.#suspect = false
    this.#promised = Number.POSITIVE_INFINITY
    this.#blocked = false
    this.#attached = true
    this.#awake = false
    for (const stream of this.#streams.values()) stream.sink.go?.()
    this.#wake()
    return replayed
  }

  // ---- What the owner of the session calls.

  /** Opens a stream, or null when the session takes no more for now. DATA may be offered at once. */
  open(opening: Opening, sink: Sink): Stream | null {
    if (this.#over !== null || !this.#opener || this.#peerDrains || this.#goaway !== null) return null
    if (!this.#attached) return null
    if (this.#streams.size >= LIMIT.streams || this.#opens.size >= OPENS_WAITING || this.memory.full) return null
    if (this.#lastId === LIMIT.streamId) return null
    const stream = new Stream(this, ++this.#lastId, sink, false, this.#peerFirstCredit)
    this.#streams.set(stream.id, stream)
    if (this.#opens.size === 0 && this.#openRoom()) this.#announce(stream, opening)
    else this.#opens.push({ stream, opening })
    this.#wake()
    return stream
  }

  /** Asks for a tunnel, answers that, or takes one back. */
  send(message: Extract<Control, { type: typeof BIND | typeof BOUND | typeof UNBIND }>): void {
    if (this.#over !== null) return
    if (this.#messages.size >= LIMIT.tunnels * 2) {
      this.#end({ by: 'violation', code: SESSION_CODE.PROTOCOL, text: 'too many tunnel messages' })
      return
    }
    this.#messages.push(message)
    this.#wake()
  }

  /** Says that this side drains: no new streams; the open ones go on. */
  goaway(code: number, text: string): void {
    if (this.#over !== null || this.#goaway !== null) return
    this.#goaway = { code, text }
    this.#messages.push({ type: GOAWAY, code, text, last: this.#highest })
    this.#wake()
  }

  /** Ends the session with RESET on stream 0; the carrier still transmits that. */
  close(code: number, text: string): void {
    this.#end({ by: 'self', code, text })
  }

  // ---- What streams call.

  offer(stream: Stream, buf: Buffer): boolean {
    let at = 0
    if (stream.pending === null && stream.announced && this.#attached) {
      at = this.#encodeNow(stream, buf)
      if (at > 0) this.#wake()
      if (at === buf.length) return true
    }
    if (stream.pending === null) {
      stream.pending = buf
      stream.pendingAt = at
    } else {
      stream.more.push(buf)
    }
    stream.backlog += buf.length - at
    this.memory.hold(stream, buf.length - at)
    this.#list(stream)
    return false
  }

  finish(stream: Stream): void {
    if (stream.pending !== null || !stream.announced) return
    this.#fins.push(stream)
    this.#wake()
  }

  abort(stream: Stream, code: ResetCode): void {
    this.#forget(stream)
    stream.discard()
    if (!stream.announced) return
    this.#sendReset(stream, code)
  }

  /** `bytes` of `stream` reached the outer connection: they become credit again. */
  consumed(stream: Stream, bytes: number): void {
    if (stream.gone || stream.finReceived) return
    stream.owed += bytes
    if (stream.creditDue || stream.owed * 2 < stream.window) return
    if (stream.queued === 0) this.#grow(stream)
    stream.creditDue = true
    this.#credits.push(stream)
    this.#wake()
  }

  // ---- What the decoder calls.

  dataBegins(id: number, length: number): void {
    this.#countable = true
    const stream = this.#find(id)
    this.#current = stream
    if (stream === null) return
    if (stream.finReceived) throw new Violation('DATA after FIN')
    if (length > stream.receiveCredit) throw new Violation('DATA beyond the credit')
    stream.receiveCredit -= length
  }

  dataPiece(buf: Buffer, at: number, len: number): boolean {
    this.#countable = true
    const stream = this.#current
    return stream !== null && !stream.gone && stream.deliver(buf, at, len)
  }

  credit(id: number, bytes: number): void {
    this.#countable = true
    if (bytes === 0) throw new Violation('CREDIT of nothing')
    const stream = this.#find(id)
    if (stream === null) return
    stream.sendCredit += bytes
    if (stream.sendCredit > LIMIT.credit) throw new Violation('CREDIT over the limit')
    if (stream.pending !== null) this.#list(stream)
  }

  fin(id: number): void {
    this.#countable = true
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
    const age = this.#pingCount - opaque
    if (age < 0 || age >= PINGS) return
    const sentAt = this.#pingSentAt[opaque % PINGS]!
    if (sentAt < 0) return
    this.#pingSentAt[opaque % PINGS] = -1
    const ms = Math.max(0, this.#heardAt - sentAt)
    this.window.roundTrip(ms)
    if (this.#startingPings > 0) {
      this.#startingPings--
      this.#pingAt = this.#heardAt
      this.#pingDue = true
      this.#wake()
    }
    this.#events.roundTrip?.(ms)
  }

  receipt(position: number): void {
    if (position > this.#ring.sent) throw new Violation('RECEIPT beyond what was sent')
    if (position <= this.#ring.tail) return
    this.#ring.receipt(position)
    this.#receiptMoved = true
  }

  control(body: Buffer): void {
    // RESET on stream 0 may have come earlier in the same chunk.
    if (this.#over !== null) return
    this.#countable = true
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
    if (m.stream <= this.#highest) throw new Violation('DATA_INIT of an id that was used')
    this.#highest = m.stream
    const stream = new Stream(this, m.stream, NO_SINK, true, m.credit)
    if (this.#streams.size >= LIMIT.streams || this.memory.full || this.#goaway !== null) {
      stream.gone = true
      this.#sendReset(stream, RESET_CODE.BUSY)
      return
    }
    this.#streams.set(stream.id, stream)
    this.#events.opened(stream, { tunnel: m.tunnel, visitor: m.visitor, edge: m.edge })
  }

  /** The open stream `id`; null when it is over, and frames still on their way to it are to be dropped. */
  #find(id: number): Stream | null {
    const stream = this.#streams.get(id)
    if (stream?.announced) return stream
    if (id > this.#highest || id === 0) throw new Violation('a stream that was never opened')
    return null
  }

  #sendReset(stream: Stream, code: ResetCode): void {
    stream.resetCode = code
    this.#resets.push(stream)
    if (this.#resets.size > LIMIT.streams)
      this.#end({ by: 'violation', code: SESSION_CODE.PROTOCOL, text: 'resets that the peer does not read' })
    else this.#wake()
  }

  #forget(stream: Stream): void {
    stream.gone = true
    this.#streams.delete(stream.id)
    const grown = stream.window - TUNING.firstCredit
    this.#granted -= grown
    this.memory.granted -= grown
  }

  #forgetIfDone(stream: Stream): void {
    if (stream.finReceived && stream.finSent && !stream.gone) this.#forget(stream)
  }

  /** Doubles a stream's window within the caps of session and process; the growth is owed like consumed bytes. */
  #grow(stream: Stream): void {
    const growth = Math.min(stream.window, LIMIT.credit - stream.window)
    const { limits } = this.memory
    if (growth === 0) return
    if (this.#granted + growth > limits.sessionGrowth || this.memory.granted + growth > limits.growth) return
    this.#granted += growth
    this.memory.granted += growth
    stream.window += growth
    stream.owed += growth
  }

  // ---- Who sends next.

  #wake(): void {
    if (this.#awake || !this.#attached) return
    this.#awake = true
    this.#events.wake()
  }

  /** Something waits for room in the ring. */
  #waiting(): boolean {
    return (
      this.#bulk.size > 0 ||
      this.#small.size > 0 ||
      this.#opens.size > 0 ||
      this.#messages.size > 0 ||
      this.#credits.size > 0 ||
      this.#fins.size > 0 ||
      this.#resets.size > 0 ||
      this.#receiptDue ||
      this.#pongDue ||
      this.#pingDue
    )
  }

  /** Puts a stream with bytes and credit where its turn comes. */
  #list(stream: Stream): void {
    if (stream.listed !== Listed.no || stream.sendCredit === 0 || !stream.announced || stream.gone) return
    if (stream.backlog <= TUNING.small) {
      stream.listed = Listed.small
      this.#small.push(stream)
    } else {
      stream.listed = Listed.bulk
      this.#bulk.push(stream)
    }
    this.#wake()
  }

  #encode(now: number): void {
    if (this.#over !== null) {
      if (this.#overSent) return
      this.#overSent = true
      this.#putMessage({ type: RESET, stream: 0, code: this.#over.code, text: this.#over.text })
      return
    }
    this.#encodeSessionControl(now)
    this.#encodeStreamControl()
    this.#encodeOpens()
    this.#smallLeft = TUNING.smallTurn
    this.#encodeSmall()
    this.#encodeBulk()
  }

  #encodeSessionControl(now: number): void {
    if (this.#ring.inFlight + 3 * SIZE.DATA > HARD_ROOM) return
    if (this.#pongDue) {
      this.#pongDue = false
      this.#append(putPing(this.#scratch, PONG, this.#pongOpaque))
      if (this.#received - this.#receipted >= RECEIPT_WITH_PONG) this.#receiptDue = true
    }
    if (this.#receiptDue) {
      this.#receiptDue = false
      this.#receiptAt = Number.POSITIVE_INFINITY
      this.#receipted = this.#received
      this.#append(putReceipt(this.#scratch, this.#received))
    }
    if (this.#pingDue) {
      this.#pingDue = false
      this.#pingCount = (this.#pingCount + 1) % LIMIT.streamId
      this.#pingSentAt[this.#pingCount % PINGS] = now
      this.#append(putPing(this.#scratch, PING, this.#pingCount))
    }
  }

  #encodeStreamControl(): void {
    while (this.#resets.size > 0 && this.#controlRoom()) {
      const stream = this.#resets.shift()!
      this.#putMessage({ type: RESET, stream: stream.id, code: stream.resetCode, text: '' })
    }
    while (this.#credits.size > 0 && this.#controlRoom()) {
      const stream = this.#credits.shift()!
      stream.creditDue = false
      if (stream.gone || stream.finReceived) continue
      stream.receiveCredit += stream.owed
      this.#appendCountable(putCredit(this.#scratch, stream.id, stream.owed))
      stream.owed = 0
    }
    while (this.#fins.size > 0 && this.#controlRoom()) {
      const stream = this.#fins.shift()!
      if (stream.gone) continue
      stream.finSent = true
      this.#appendCountable(putFin(this.#scratch, stream.id))
      this.#forgetIfDone(stream)
    }
    while (this.#messages.size > 0 && this.#openRoom()) this.#putMessage(this.#messages.shift()!)
  }

  #encodeOpens(): void {
    while (this.#opens.size > 0 && this.#openRoom()) {
      const { stream, opening } = this.#opens.shift()!
      if (stream.gone) continue
      this.#announce(stream, opening)
      if (stream.pending !== null) this.#list(stream)
      else if (stream.finishing) this.#fins.push(stream)
    }
  }

  #announce(stream: Stream, opening: Opening): void {
    stream.announced = true
    this.#highest = stream.id
    this.#putMessage({ type: DATA_INIT, stream: stream.id, ...opening, credit: stream.receiveCredit })
  }

  #encodeSmall(): void {
    while (this.#small.size > 0) {
      const stream = this.#small.peek()!
      if (stream.pending !== null && !stream.gone && stream.backlog <= TUNING.small) {
        const room = this.#smallRoom()
        const want = Math.min(stream.backlog, stream.sendCredit)
        if (room < want) return
        this.#sendPending(stream, want)
      }
      this.#small.shift()
      stream.listed = Listed.no
      if (stream.pending !== null && !stream.gone) this.#list(stream)
    }
  }

  #encodeBulk(): void {
    while (this.#bulk.size > 0) {
      const share = Math.floor(this.window.size / this.#bulk.size)
      const quantum = Math.min(TUNING.quantumMax, Math.max(TUNING.quantumMin, share))
      const stream = this.#bulk.peek()!
      if (stream.pending !== null && !stream.gone) {
        const want = Math.min(stream.backlog, stream.sendCredit, quantum)
        const room = this.window.size - this.#ring.inFlight - SIZE.DATA
        // Rather a whole quantum a little later than a crumb now; a window smaller than that still moves.
        if (room < want && room < TUNING.quantumMin) return
        this.#sendPending(stream, Math.min(want, room))
      }
      this.#bulk.shift()
      stream.listed = Listed.no
      if (stream.pending !== null && !stream.gone) this.#list(stream)
    }
  }

  /** What of a fresh chunk may go at once, past the queues; returns how many bytes did. */
  #encodeNow(stream: Stream, buf: Buffer): number {
    const want = Math.min(buf.length, stream.sendCredit)
    if (want === 0) return 0
    let room: number
    if (buf.length <= TUNING.small) {
      room = this.#smallRoom()
      if (room < want) return 0
    } else {
      if (this.#bulk.size > 0 || this.#small.size > 0) return 0
      room = this.window.size - this.#ring.inFlight - SIZE.DATA
      if (room < want && room < TUNING.quantumMin) return 0
    }
    let at = 0
    const end = Math.min(want, room)
    while (at < end) {
      const n = Math.min(end - at, LIMIT.payload)
      this.#putData(stream, buf, at, n)
      at += n
    }
    return at
  }

  /** Sends up to `bytes` of a stream's backlog, which does not exceed its credit. */
  #sendPending(stream: Stream, bytes: number): void {
    let left = bytes
    while (left > 0 && stream.pending !== null) {
      const buf = stream.pending
      const n = Math.min(left, buf.length - stream.pendingAt, LIMIT.payload)
      this.#putData(stream, buf, stream.pendingAt, n)
      stream.pendingAt += n
      stream.backlog -= n
      left -= n
      const done = stream.pendingAt === buf.length
      if (done) {
        stream.pending = stream.more.shift() ?? null
        stream.pendingAt = 0
      }
      this.memory.drop(stream, n, stream.backlog + stream.queued)
      if (!done) continue
      if (stream.pending === null && stream.finishing) this.#fins.push(stream)
      stream.sink.free(buf)
    }
  }

  #putData(stream: Stream, buf: Buffer, at: number, n: number): void {
    stream.sendCredit -= n
    if (this.#bulk.size > 0) this.#smallLeft -= n
    this.#ring.append(this.#scratch, 0, putDataHeader(this.#scratch, stream.id, n))
    this.#ring.append(buf, at, n)
    this.#countableHead = this.#ring.head
  }

  #putMessage(m: Control): void {
    const bytes = controlFrame(m)
    this.#ring.append(bytes, 0, bytes.length)
    this.#countableHead = this.#ring.head
  }

  #appendCountable(size: number): void {
    this.#append(size)
    this.#countableHead = this.#ring.head
  }

  #append(size: number): void {
    this.#ring.append(this.#scratch, 0, size)
  }

  #smallRoom(): number {
    const room = this.window.size + TUNING.smallRoom - this.#ring.inFlight - SIZE.DATA
    return this.#bulk.size > 0 ? Math.min(room, this.#smallLeft) : room
  }

  #controlRoom(): boolean {
    return this.#ring.inFlight < HARD_ROOM - TUNING.receiptRoom - LIMIT.text * 2
  }

  #openRoom(): boolean {
    return this.#ring.inFlight < this.window.size + TUNING.smallRoom
  }

  // ---- Time and end.

  #nextPing(): number {
    const quiet = this.#deadAfter / QUIET
    const silence = Math.max(this.#heardAt, this.#pingAt) + quiet
    if (this.#ring.tail >= this.#countableHead) return silence
    return Math.min(silence, this.#pingAt + UNRECEIPTED_PING_MS)
  }

  #end(how: Over): void {
    if (this.#over !== null) return
    this.#over = how
    // After RESET from the peer and in silence nothing is worth sending; without a connection nobody would hear it.
    if (how.by === 'peer' || how.by === 'silence' || !this.#attached) this.#overSent = true
    const open = [...this.#streams.values()]
    for (const stream of open) {
      // A sink that was just told may have aborted others.
      if (stream.gone) continue
      this.#forget(stream)
      stream.discard()
      stream.sink.reset(RESET_CODE.ABORTED)
    }
    if (this.#overSent) this.#ring.clear()
    this.#wake()
    this.#events.over(how)
  }
}
