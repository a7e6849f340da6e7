// Who sends next, and how much: stream control, then what opens, then small streams, then bulk in turn, each within its room
// of the window in flight (docs/protocol.md, "Turns"). All that a session sends is encoded here, into its ring.
import { putCredit, putDataHeader, putFin } from './codec.ts'
import type { Memory } from './memory.ts'
import { type Control, controlFrame } from './messages.ts'
import { Queue } from './queue.ts'
import { Ring } from './ring.ts'
import { Listed, type Stream } from './stream.ts'
import { Window } from './window.ts'
import { DATA_INIT, LIMIT, RESET, type ResetCode, SIZE, TUNING } from './wire.ts'

/** What an opened stream is for, as DATA_INIT says it. */
export type Opening = { tunnel: number; visitor: string; edge: string }

/** So many streams may be gone and still stand in a list, before those are looked through. */
const MOST_GONE = 4_096
/** All that may be in flight: the largest window, and the rooms above it. */
const HARD_ROOM = TUNING.windowMax + TUNING.smallRoom + TUNING.controlRoom

/** Rather more a little later than so little now. */
const crumb = (want: number, room: number): boolean => room < want && room < TUNING.crumb

export class Turns {
  readonly ring: Ring
  readonly window = new Window()
  /** The highest id of a stream that this side has announced. */
  announced = 0
  /** Where the last frame other than RECEIPT, PING and PONG ends. */
  countableHead = 0
  /** False between connections: nothing is encoded. */
  attached = true
  /** For one small frame at a time; what is written here is taken by put(). */
  readonly scratch = Buffer.allocUnsafeSlow(16)
  readonly #memory: Memory
  readonly #onWake: () => void
  readonly #onFull: () => void
  readonly #onFinSent: (stream: Stream) => void

  // Who has something to say. A stream stands in each at most once; one that is gone is skipped when its turn comes.
  readonly #opens = new Queue<{ stream: Stream; opening: Opening }>()
  readonly #small = new Queue<Stream>()
  readonly #bulk = new Queue<Stream>()
  readonly #credits = new Queue<Stream>()
  readonly #fins = new Queue<Stream>()
  readonly #resets = new Queue<{ id: number; code: ResetCode }>()
  readonly #messages = new Queue<Control>()
  /** Streams that are gone since the lists were looked through. */
  #gone = 0
  #encoding = false
  /** A stream that is not bulk had something to say since the session last looked. */
  smallSeen = false
  /** What small streams may still send in this turn while bulk waits. */
  #smallLeft: number = TUNING.smallTurn

  /** `onWake`: there is something to send. `onFull`: a block of it. `onFinSent`: a stream said its last. */
  constructor(memory: Memory, onWake: () => void, onFull: () => void, onFinSent: (stream: Stream) => void) {
    this.ring = new Ring(memory)
    this.#memory = memory
    this.#onWake = onWake
    this.#onFull = onFull
    this.#onFinSent = onFinSent
  }

  /** More than the window takes waits to be sent. */
  get backlogged(): boolean {
    return this.#bulk.size > 0
  }

  /** Something waits for room in the ring. */
  get waiting(): boolean {
    return (
      this.#bulk.size > 0 ||
      this.#small.size > 0 ||
      this.#opens.size > 0 ||
      this.#messages.size > 0 ||
      this.#credits.size > 0 ||
      this.#fins.size > 0 ||
      this.#resets.size > 0
    )
  }

  get resetsWaiting(): number {
    return this.#resets.size
  }

  get messagesWaiting(): number {
    return this.#messages.size
  }

  /** Room for RECEIPT, PING and PONG, which have the last part of it to themselves: two full rings would deadlock. */
  get receiptRoom(): boolean {
    return this.ring.inFlight + 3 * SIZE.DATA <= HARD_ROOM
  }

  // ---- What has something to say.

  /** Announces a stream, at once when there is room. */
  open(stream: Stream, opening: Opening): void {
    if (this.#opens.size === 0 && this.#openRoom()) this.#announce(stream, opening)
    else this.#opens.push({ stream, opening })
    this.#onWake()
  }

  /** A chunk of a stream. True: all of it is copied; false: what is left is pending. */
  offer(stream: Stream, buf: Buffer): boolean {
    const small = buf.length <= TUNING.small
    // The last chunk of a bulk stream is small too.
    if (small && !stream.bulk) this.smallSeen = true
    stream.bulk = !small
    let at = 0
    if (stream.pending === null && stream.announced && this.attached) {
      at = this.#encodeNow(stream, buf)
      if (at > 0) this.#onWake()
      if (at === buf.length) return true
    }
    if (stream.pending === null) {
      stream.pending = buf
      stream.pendingAt = at
    } else {
      stream.more ??= new Queue()
      stream.more.push(buf)
    }
    stream.backlog += buf.length - at
    this.#memory.hold(stream, buf.length - at)
    this.list(stream)
    return false
  }

  /** Behind a chunk that was copied whole: takes more while there is room. True: there may be more than that. */
  takeMore(stream: Stream): boolean {
    if (stream.pending !== null || !stream.announced || !stream.sink.takes) return false
    this.#onWake()
    for (;;) {
      const want = stream.sendCredit
      const room = this.#bulkRoom()
      const waits = !this.attached || this.#bulk.size > 0 || this.#small.size > 0 || this.window.draining
      if (waits || want === 0 || crumb(want, room)) {
        stream.pulls = true
        this.list(stream)
        return true
      }
      if (!this.#take(stream, Math.min(want, room, LIMIT.payload))) return false
      if (stream.gone) return false
    }
  }

  finish(stream: Stream): void {
    if (stream.pending !== null || stream.pulls || !stream.announced) return
    this.#fins.push(stream)
    this.#onWake()
  }

  credit(stream: Stream): void {
    stream.creditDue = true
    this.#credits.push(stream)
    this.#onWake()
  }

  reset(id: number, code: ResetCode): void {
    this.#resets.push({ id, code })
    this.#onWake()
  }

  message(m: Control): void {
    this.#messages.push(m)
    this.#onWake()
  }

  /** Puts a stream with bytes and credit where its turn comes. */
  list(stream: Stream): void {
    if (stream.listed !== Listed.no || stream.sendCredit === 0 || !stream.announced || stream.gone) return
    if (stream.backlog <= TUNING.small && !stream.pulls) {
      stream.listed = Listed.small
      this.#small.push(stream)
    } else {
      stream.listed = Listed.bulk
      this.#bulk.push(stream)
    }
    this.#onWake()
  }

  /**
   * One more stream is gone. Where the peer takes nothing, or receipts nothing, no turn comes in which it would be skipped,
   * and no limit of streams counts it any more.
   */
  ended(): void {
    this.#gone += 1
    // Within a turn, somebody may be looking at the first of a list.
    if (this.#gone < MOST_GONE || this.#encoding) return
    this.#gone = 0
    for (const list of [this.#small, this.#bulk, this.#credits, this.#fins]) list.keep(stream => !stream.gone)
    this.#opens.keep(({ stream }) => !stream.gone)
  }

  // ---- Encoding.

  /** One turn of everything but the session's own frames, which come before it. */
  encode(): void {
    this.#encoding = true
    this.#encodeStreamControl()
    this.#encodeOpens()
    this.#smallLeft = TUNING.smallTurn
    this.#encodeSmall()
    this.#encodeBulk()
    // A source that was found at its end brought no bytes, after which this would come again.
    if (this.#fins.size > 0) this.#encodeStreamControl()
    this.#encoding = false
  }

  /** A control message, whatever the room. */
  putMessage(m: Control): void {
    const bytes = controlFrame(m)
    this.ring.append(bytes, 0, bytes.length)
    this.countableHead = this.ring.head
  }

  /** A frame of `size` bytes in `scratch` that is no reason for a receipt. */
  put(size: number): void {
    this.ring.append(this.scratch, 0, size)
  }

  #encodeStreamControl(): void {
    while (this.#resets.size > 0 && this.#controlRoom()) {
      const { id, code } = this.#resets.shift()!
      this.putMessage({ type: RESET, stream: id, code, text: '' })
    }
    while (this.#credits.size > 0 && this.#controlRoom()) {
      const stream = this.#credits.shift()!
      stream.creditDue = false
      if (stream.gone || stream.finReceived) continue
      stream.receiveCredit += stream.owed
      this.#putCountable(putCredit(this.scratch, stream.id, stream.owed))
      stream.owed = 0
    }
    while (this.#fins.size > 0 && this.#controlRoom()) {
      const stream = this.#fins.shift()!
      if (stream.gone) continue
      stream.finSent = true
      this.#putCountable(putFin(this.scratch, stream.id))
      this.#onFinSent(stream)
    }
    while (this.#messages.size > 0 && this.#openRoom()) this.putMessage(this.#messages.shift()!)
  }

  #encodeOpens(): void {
    while (this.#opens.size > 0 && this.#openRoom()) {
      const { stream, opening } = this.#opens.shift()!
      if (stream.gone) continue
      this.#announce(stream, opening)
      if (stream.pending !== null) this.list(stream)
      else if (stream.finishing) this.#fins.push(stream)
    }
  }

  #announce(stream: Stream, opening: Opening): void {
    stream.announced = true
    this.announced = stream.id
    this.putMessage({ type: DATA_INIT, stream: stream.id, ...opening, credit: stream.receiveCredit })
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
      this.#relist(stream)
    }
  }

  /** Its turn is over; it has another if there is more. */
  #relist(stream: Stream): void {
    stream.listed = Listed.no
    if ((stream.pending !== null || stream.pulls) && !stream.gone) this.list(stream)
  }

  #encodeBulk(): void {
    while (this.#bulk.size > 0 && !this.window.draining && this.attached) {
      const share = Math.floor(this.window.size / this.#bulk.size)
      const quantum = Math.min(TUNING.quantumMax, Math.max(TUNING.quantumMin, share))
      const stream = this.#bulk.peek()!
      if ((stream.pending !== null || stream.pulls) && !stream.gone) {
        const most = stream.pending === null ? quantum : Math.min(stream.backlog, quantum)
        const want = Math.min(most, stream.sendCredit)
        const room = this.#bulkRoom()
        if (crumb(want, room)) return
        const bytes = Math.min(want, room)
        if (stream.pending !== null) this.#sendPending(stream, bytes)
        else if (!this.#take(stream, bytes)) this.#takeNoMore(stream)
      }
      this.#bulk.shift()
      this.#relist(stream)
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
      if (this.#bulk.size > 0 || this.#small.size > 0 || this.window.draining) return 0
      room = this.#bulkRoom()
      if (crumb(want, room)) return 0
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
        stream.pending = stream.more?.shift() ?? null
        stream.pendingAt = 0
      }
      this.#memory.drop(stream, n, stream.backlog + stream.queued)
      if (!done) continue
      if (stream.pending === null) {
        stream.pulls = !stream.finishing && stream.bulk && stream.sink.takes === true
        if (stream.finishing) this.#fins.push(stream)
      }
      stream.sink.free(buf)
    }
  }

  #putData(stream: Stream, buf: Buffer, at: number, n: number): void {
    stream.sendCredit -= n
    if (this.#bulk.size > 0) this.#smallLeft -= n
    this.ring.append(this.scratch, 0, putDataHeader(this.scratch, stream.id, n))
    this.ring.append(buf, at, n)
    this.countableHead = this.ring.head
    if (this.ring.full) this.#onFull()
  }

  /** One frame of up to `bytes` from the source of a stream. False: it had fewer. */
  #take(stream: Stream, bytes: number): boolean {
    const n = this.ring.take(stream.sink, SIZE.DATA, bytes)
    if (n === 0) return false
    stream.sendCredit -= n
    if (this.#bulk.size > 0) this.#smallLeft -= n
    this.ring.commit(this.scratch, putDataHeader(this.scratch, stream.id, n), n)
    this.countableHead = this.ring.head
    if (this.ring.full) this.#onFull()
    return n === bytes
  }

  #takeNoMore(stream: Stream): void {
    stream.pulls = false
    if (stream.finishing) this.#fins.push(stream)
    stream.sink.more!()
  }

  #putCountable(size: number): void {
    this.put(size)
    this.countableHead = this.ring.head
  }

  /** The ring keeps what a receipt has not confirmed, also where more is known to have arrived. */
  #bulkRoom(): number {
    return this.#room(this.#memory.bulkRing)
  }

  #room(ring: number): number {
    return Math.min(this.window.room(this.ring.head), ring - this.ring.inFlight) - SIZE.DATA
  }

  #smallRoom(): number {
    const room = this.#room(this.#memory.smallRing) + TUNING.smallRoom
    return this.#bulk.size > 0 ? Math.min(room, this.#smallLeft) : room
  }

  #controlRoom(): boolean {
    return this.ring.inFlight < HARD_ROOM - TUNING.receiptRoom - LIMIT.text * 2
  }

  #openRoom(): boolean {
    return this.#room(this.#memory.smallRing) + TUNING.smallRoom + SIZE.DATA > 0
  }
}
