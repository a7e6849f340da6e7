// Two sessions back to back under a clock and a scheduler that a seed makes, beside a model that knows what each stream
// must have received. The byte streams are cut anywhere, writes are partial or refused, sinks take a part or nothing, and
// every callback may call back in. A buffer that somebody gave up is overwritten at once, as transfer(0) would free it.
// With cuts, the connection breaks under them, each side notices in its own time, and they resume over another one; old
// bytes still arrive at a side that is mute, attempts to resume break off half-way, and nothing of that may show in what
// the streams receive. `bun run prove` runs many more of these than the suite does.
import {
  MEMORY_LIMITS,
  Memory,
  type Pieces,
  RESET_CODE,
  type ResetCode,
  Session,
  type Sink,
  type Stream,
} from '../../src/frame/index.ts'
import { Random } from '../oracle/random.ts'

/** What one schedule did, added up by the callers to see that the schedules reach what they should. */
export type Tally = {
  schedules: number
  streams: number
  bytes: number
  fins: number
  resets: number
  refused: number
  sessionsEnded: number
  blockedWrites: number
  pushes: number
  /** Reads from a source for the ring that brought bytes, and chunks behind which a source was paused for it. */
  takes: number
  pulls: number
  /** Sinks that were given several pieces at once. */
  gathered: number
  reentries: number
  /** Connections broken, attempts to resume that came to nothing, and bytes that were sent again. */
  cuts: number
  brokenOff: number
  replayed: number
  /** Bytes of an old connection that came to a mute side. */
  late: number
  /** Sessions that ended between two connections. */
  endedHeld: number
}

const PATTERN_LENGTH = 1 << 20
/** Incompressible and twice over, so that any slice of a period is one slice of it. */
const PATTERN = (() => {
  const words = new Uint32Array(PATTERN_LENGTH / 4)
  new Random(1).fill(words)
  const once = Buffer.from(words.buffer)
  return Buffer.concat([once, once])
})()

/** Gives out the blocks that it counts, and notices one that is given back twice. */
class CountedMemory extends Memory {
  readonly out = new Set<Buffer>()
  override takeBlock(): Buffer {
    const block = super.takeBlock()
    this.out.add(block)
    return block
  }
  override giveBlock(block: Buffer): void {
    if (!this.out.delete(block)) throw new Error('a ring block was given back twice')
    super.giveBlock(block)
  }
}

/** One direction of the connection: takes bytes while it has room, and hands them on after a delay. */
class Pipe {
  readonly #chunks: { bytes: Buffer; due: number }[] = []
  room = Number.POSITIVE_INFINITY
  waiting = 0
  /** The writer was refused and waits for a drain. */
  refused = false
  partial = false
  delay = 0
  now = 0

  constructor(readonly random: Random) {}

  /** Neither slow nor narrow any more. */
  open(): void {
    this.room = Number.POSITIVE_INFINITY
    this.partial = false
    this.delay = 0
  }

  /** The same of another connection: as slow and as narrow, and empty. */
  another(): Pipe {
    const pipe = new Pipe(this.random)
    pipe.room = this.room
    pipe.partial = this.partial
    pipe.delay = this.delay
    return pipe
  }

  readonly write = (from: Buffer, at: number, len: number): number => {
    let n = Math.min(len, this.room - this.waiting)
    if (this.partial && n > 0 && this.random.chance(30)) n = this.random.between(0, n)
    n = Math.max(0, n)
    if (n > 0) {
      this.#chunks.push({ bytes: Buffer.from(from.subarray(at, at + n)), due: this.now + this.delay })
      this.waiting += n
    }
    if (n < len) this.refused = true
    return n
  }

  get nextDue(): number {
    return this.#chunks[0]?.due ?? Number.POSITIVE_INFINITY
  }

  /** Up to `most` bytes that have arrived, in a buffer of their own. */
  take(most: number): Buffer | null {
    const parts: Buffer[] = []
    let left = most
    while (left > 0) {
      const first = this.#chunks[0]
      if (first === undefined || first.due > this.now) break
      if (first.bytes.length > left) {
        parts.push(first.bytes.subarray(0, left))
        first.bytes = first.bytes.subarray(left)
        left = 0
      } else {
        parts.push(first.bytes)
        left -= first.bytes.length
        this.#chunks.shift()
      }
    }
    this.waiting -= most - left
    return parts.length === 0 ? null : Buffer.concat(parts)
  }
}

/** What a session has sent, by position: a byte that is sent again has to be the byte that it was. */
class Sent {
  #bytes = Buffer.allocUnsafe(65_536)
  #end = 0
  /** The position of the byte that is written next. */
  at = 0

  /** Returns what of this was never sent before. */
  add(bytes: Buffer): Buffer {
    const again = Math.min(bytes.length, this.#end - this.at)
    if (this.#bytes.compare(bytes, 0, again, this.at, this.at + again) !== 0)
      throw new Error(`other bytes are sent again than were sent before, near ${this.at}`)
    const fresh = bytes.subarray(again)
    while (this.#end + fresh.length > this.#bytes.length)
      this.#bytes = Buffer.concat([this.#bytes, Buffer.allocUnsafe(this.#bytes.length)])
    fresh.copy(this.#bytes, this.#end)
    this.#end += fresh.length
    this.at += bytes.length
    return fresh
  }
}

/** Reads what a session sends by the layouts of docs/protocol.md, and checks the order of a stream's frames. */
class Tap {
  #have = Buffer.alloc(0)
  #skip = 0
  readonly #state = new Map<number, 'open' | 'finished' | 'over'>()

  constructor(readonly opens: boolean) {}

  feed(bytes: Buffer): void {
    let have = this.#have.length === 0 ? bytes : Buffer.concat([this.#have, bytes])
    for (;;) {
      if (this.#skip > 0) {
        const n = Math.min(this.#skip, have.length)
        this.#skip -= n
        have = have.subarray(n)
      }
      if (this.#skip > 0 || have.length < 16) break
      const length = have.readUInt32BE(0)
      const type = have[5]!
      if (type !== 3 && have.length < 4 + length) break
      if (type >= 3 && type <= 5) this.#frame(type, have.readUInt32BE(7))
      else if (type === 2 || type === 6) this.#frame(type, uint(have, 6))
      if (type === 3) this.#skip = have.readUInt32BE(12)
      have = have.subarray(type === 3 ? 16 : 4 + length)
    }
    // The shortest frames have fewer than 16 bytes: they are read once more has come.
    this.#have = Buffer.from(have)
  }

  #frame(type: number, id: number): void {
    const state = this.#state.get(id)
    if (type === 2) {
      if (state !== undefined) throw new Error(`stream ${id} opened twice`)
      this.#state.set(id, 'open')
      return
    }
    if (id === 0) return
    if (this.opens && state === undefined) throw new Error(`a frame of type ${type} before DATA_INIT of ${id}`)
    if (state === 'over') throw new Error(`a frame of type ${type} after RESET of ${id}`)
    if (state === 'finished' && (type === 3 || type === 5)) throw new Error(`type ${type} after FIN of ${id}`)
    if (type === 5) this.#state.set(id, 'finished')
    if (type === 6) this.#state.set(id, 'over')
  }
}

/** A msgpack unsigned integer of at most 32 bits. */
function uint(b: Buffer, at: number): number {
  const lead = b[at]!
  if (lead < 0x80) return lead
  if (lead === 0xcc) return b.readUInt8(at + 1)
  if (lead === 0xcd) return b.readUInt16BE(at + 1)
  if (lead === 0xce) return b.readUInt32BE(at + 1)
  throw new Error(`not an integer: ${lead}`)
}

/** One side of one stream: what it offered, what it was given, and how it ended. */
class End implements Sink {
  stream: Stream | null = null
  other: End | null = null
  offered = 0
  finished = false
  aborted = false
  /** The stream was over by FIN both ways when it was aborted: the other side does not hear of it. */
  abortedLate = false
  received = 0
  ended = false
  resetBy: ResetCode | null = null
  /** 0: takes nothing, 100: all. */
  appetite = 100
  /** Offered and not freed. */
  readonly held = new Set<Buffer>()
  taken = 0
  /** The session has no connection, and said so. */
  paused = false
  readonly takes: boolean
  /** Paused, to be taken from. */
  pulled = false

  constructor(
    readonly world: World,
    readonly key: number,
  ) {
    this.takes = world.random.chance(50)
  }

  get silent(): boolean {
    return this.aborted || this.resetBy !== null
  }

  /** The opener's ends are made first. */
  get side(): Side {
    return this.key % 2 === 0 ? this.world.relay : this.world.agent
  }

  get canOffer(): boolean {
    if (this.stream === null || this.finished || this.silent || this.held.size > 0) return false
    // What was read before the pause took hold.
    return (!this.paused && !this.pulled) || this.world.random.chance(20)
  }

  hold(): void {
    this.paused = true
    this.world.reenter(this)
  }

  go(): void {
    this.paused = false
    this.world.reenter(this)
  }

  data(pieces: Pieces): number {
    if (this.silent) throw new Error(`stream ${this.key}: data after its end`)
    if (this.ended) throw new Error(`stream ${this.key}: data after FIN`)
    const { random, tally } = this.world
    const { bytes } = pieces
    const n = this.appetite >= 100 ? bytes : this.appetite === 0 ? 0 : random.between(0, bytes)
    if (this.received + n > this.other!.offered) throw new Error(`stream ${this.key}: more than was offered`)
    let left = n
    for (let i = 0; i < pieces.count; i++) {
      const len = pieces.len[i]!
      if (len === 0) throw new Error(`stream ${this.key}: data of nothing`)
      const part = Math.min(left, len)
      this.#check(pieces.buf, pieces.at[i]!, part)
      left -= part
    }
    tally.bytes += n
    if (pieces.count > 1) tally.gathered++
    this.world.reenter(this)
    return n
  }

  /** What it takes of a piece is what comes next. */
  #check(buf: Buffer, at: number, n: number): void {
    const source = this.other!
    for (let done = 0; done < n; ) {
      const from = (this.received + done + source.key) % PATTERN_LENGTH
      const piece = Math.min(n - done, PATTERN_LENGTH)
      if (PATTERN.compare(buf, at + done, at + done + piece, from, from + piece) !== 0)
        throw new Error(`stream ${this.key}: other bytes than were offered, near ${this.received + done}`)
      done += piece
    }
    this.received += n
  }

  free(buf: Buffer): void {
    if (!this.held.delete(buf)) throw new Error(`stream ${this.key}: a chunk freed that is not held`)
    if (this.silent) throw new Error(`stream ${this.key}: a chunk freed after the end`)
    buf.fill(0xee)
    this.pulled = this.stream!.pulls
    this.world.reenter(this)
  }

  take(into: readonly Buffer[], first: number, at: number, len: number): number {
    const { random, draining } = this.world
    if (this.silent) throw new Error(`stream ${this.key}: taken from after its end`)
    if (!this.side.session.attached) throw new Error(`stream ${this.key}: taken from between two connections`)
    if (this.held.size > 0) throw new Error(`stream ${this.key}: taken from before what it had offered`)
    if (this.finished || draining) return 0
    const n = Math.min(this.world.budget - 1, random.pick([0, 1, random.between(0, len), len]))
    for (let done = 0, piece = first, to = at; done < n; piece++, to = 0) {
      const from = (this.offered + done + this.key) % PATTERN_LENGTH
      done += PATTERN.copy(into[piece]!, to, from, from + n - done)
    }
    this.world.budget -= n
    this.offered += n
    if (n > 0) this.world.tally.takes++
    return n
  }

  more(): void {
    if (this.stream!.pulls) throw new Error(`stream ${this.key}: let go while it is taken from`)
    this.pulled = false
    this.world.reenter(this)
  }

  end(): void {
    if (this.ended) throw new Error(`stream ${this.key}: FIN twice`)
    if (this.silent) throw new Error(`stream ${this.key}: FIN after reset or abort`)
    const source = this.other!
    if (!source.finished) throw new Error(`stream ${this.key}: FIN that nobody sent`)
    if (this.received !== source.offered)
      throw new Error(`stream ${this.key}: FIN after ${this.received} of ${source.offered} bytes`)
    this.ended = true
    this.world.tally.fins++
    this.world.reenter(this)
  }

  reset(code: ResetCode): void {
    if (this.resetBy !== null) throw new Error(`stream ${this.key}: reset twice`)
    if (this.aborted) throw new Error(`stream ${this.key}: reset after its own abort`)
    this.resetBy = code
    this.world.tally.resets++
    this.world.reenter(this)
  }

  offer(): void {
    if (!this.canOffer) return
    const { random } = this.world
    const most = random.pick([1, 20, 4096, 5000, 70_000, 400_000])
    const length = random.between(this.world.emptyChunks ? 0 : 1, Math.min(most, this.world.budget))
    const from = (this.offered + this.key) % PATTERN_LENGTH
    const chunk = Buffer.from(PATTERN.subarray(from, from + length))
    this.world.budget = Math.max(1, this.world.budget - length)
    this.offered += length
    this.held.add(chunk)
    if (this.stream!.offer(chunk)) {
      this.held.delete(chunk)
      chunk.fill(0xee)
      if (this.takes && random.chance(70) && this.stream!.takeMore()) this.pulled = true
    }
    if (this.stream!.pulls) this.world.tally.pulls++
  }

  finish(): void {
    if (this.stream === null || this.finished || this.silent) return
    this.finished = true
    this.stream.finish()
  }

  abort(): void {
    if (this.stream === null || this.silent) return
    this.aborted = true
    this.abortedLate = this.stream.gone
    this.stream.abort(this.world.random.pick(Object.values(RESET_CODE)))
  }

  /** Nothing more will happen here, seen from this side. */
  get closed(): boolean {
    return this.silent || (this.ended && this.finished)
  }
}

class Side {
  readonly memory: CountedMemory
  readonly session: Session
  readonly ends: End[] = []
  readonly tap: Tap
  readonly sent = new Sent()
  awake = false
  over = 0

  constructor(
    readonly world: World,
    readonly opener: boolean,
    /** The connection's two directions, as this side has them. */
    public into: Pipe,
    public out: Pipe,
    memory: CountedMemory,
    deadAfter: number,
  ) {
    this.memory = memory
    this.tap = new Tap(opener)
    this.session = new Session(
      {
        opener,
        peerFirstCredit: 65_536,
        deadAfter,
        memory,
        events: {
          opened: (stream, opening) => this.#opened(stream, opening.tunnel),
          wake: () => {
            if (this.awake) throw new Error('woken twice without a transmit between')
            this.awake = true
          },
          full: () => this.#push(),
          over: how => {
            this.over++
            if (!this.session.attached) world.tally.endedHeld++
            if (how.by === 'violation' || how.by === 'silence') throw new Error(`session over: ${how.by}, ${how.text}`)
          },
        },
      },
      world.now,
    )
  }

  open(): void {
    const { world } = this
    const [mine, theirs] = world.newEnds()
    const stream = this.session.open({ tunnel: mine.key >>> 1, visitor: '192.0.2.1:5', edge: '[2001:db8::1]:6' }, mine)
    if (stream === null) {
      world.tally.refused++
      return
    }
    world.tally.streams++
    mine.stream = stream
    this.ends.push(mine)
    world.expected.set(mine.key >>> 1, theirs)
  }

  #opened(stream: Stream, tunnel: number): void {
    const { world } = this
    const end = world.expected.get(tunnel)
    if (end === undefined) throw new Error(`stream ${stream.id} was never asked for`)
    world.expected.delete(tunnel)
    end.stream = stream
    stream.sink = end
    this.ends.push(end)
    if (world.random.chance(5)) end.abort()
    else world.reenter(end)
  }

  readonly #write = (b: Buffer, at: number, len: number): number => {
    // A part was refused, and a moment later all of it is taken.
    this.out.refused = false
    const n = this.out.write(b, at, len)
    const fresh = this.sent.add(b.subarray(at, at + n))
    if (fresh.length > 0) this.tap.feed(fresh)
    return n
  }

  transmit(): void {
    this.awake = false
    this.out.refused = false
    this.out.now = this.world.now
    const blocked = !this.session.transmit(this.#write, this.world.now)
    if (blocked !== this.out.refused) throw new Error('transmit says something else than write did')
    if (blocked) this.world.tally.blockedWrites++
  }

  /** As a carrier does, unless the connection is blocked; and now and then it has no time for it. */
  #push(): void {
    if (this.out.refused || this.world.random.chance(8)) return
    this.out.now = this.world.now
    const blocked = !this.session.push(this.#write, this.world.now)
    if (blocked !== this.out.refused) throw new Error('push says something else than write did')
    this.world.tally.pushes++
    if (blocked) this.world.tally.blockedWrites++
  }

  /** The connection is mute from here on. */
  detach(): void {
    this.session.detach()
    if (this.over > 0) return
    for (const end of this.ends)
      if (!end.stream!.gone && !end.paused) throw new Error(`stream ${end.key}: not paused without a connection`)
  }

  /** The connection's other end is at `position`. */
  attach(position: number, into: Pipe, out: Pipe): void {
    if (!this.session.resumable(position)) throw new Error(`${position} is not a position to resume from`)
    this.awake = false
    this.into = into
    this.out = out
    const again = this.sent.at - position
    this.sent.at = position
    this.world.tally.replayed += again
    if (this.session.attach(position, this.world.now) !== again)
      throw new Error('another number of bytes is said to be sent again')
    for (const end of this.ends)
      if (!end.stream!.gone && end.paused) throw new Error(`stream ${end.key}: paused with a connection`)
  }

  /** Takes up to `most` bytes from the other side. */
  receive(most: number): boolean {
    this.into.now = this.world.now
    const bytes = this.into.take(most)
    if (bytes === null) return false
    const { attached } = this.session
    const before = this.session.position()
    if (this.session.receive(bytes, this.world.now)) bytes.fill(0xdd)
    else if (!attached) throw new Error('something of an old connection was kept')
    if (!attached) {
      this.world.tally.late += bytes.length
      if (this.session.position() !== before) throw new Error('a mute side went on counting')
    }
    for (const end of this.ends) {
      const s = end.stream!
      if (s.queued > s.window) throw new Error(`stream ${end.key}: more queued than its window`)
    }
    return true
  }
}

class World {
  now = 0
  budget: number
  readonly emptyChunks: boolean
  readonly relay: Side
  readonly agent: Side
  readonly expected = new Map<number, End>()
  #lastKey = 0
  #reentry: number
  #depth = 0
  /** Sessions may be ended, also from inside callbacks. */
  #endings: number
  /** How often the connection may still break. */
  #cuts: number
  /** The way back: RESUME was sent over these pipes from that position, and perhaps answered with another one. */
  #resume: { toAgent: Pipe; toRelay: Pipe; agentAt: number; relayAt: number | null } | null = null
  draining = false

  constructor(
    readonly random: Random,
    readonly tally: Tally,
    cuts: number,
  ) {
    this.#cuts = cuts === 0 ? 0 : random.between(1, cuts)
    this.budget = random.pick([20_000, 200_000, 1_000_000])
    this.emptyChunks = random.chance(20)
    this.#reentry = random.pick([0, 0, 5, 30])
    this.#endings = random.chance(10) ? 1 : 0
    const limits = random.chance(80)
      ? MEMORY_LIMITS
      : {
          growth: random.between(0, 400_000),
          sessionGrowth: random.between(0, 300_000),
          buffered: random.between(50_000, 800_000),
          rings: random.between(0, 1_000_000),
          sessionRing: random.between(20_000, 300_000),
          spareBlocks: random.between(0, 3),
        }
    const memory = new CountedMemory(limits)
    const other = random.chance(50) ? memory : new CountedMemory(limits)
    const toAgent = new Pipe(random)
    const toRelay = new Pipe(random)
    this.relay = new Side(this, true, toRelay, toAgent, memory, 600_000)
    this.agent = new Side(this, false, toAgent, toRelay, other, 600_000)
    if (random.chance(30)) {
      for (const side of [this.relay, this.agent]) side.session.turns.window.size = random.between(9_000, 200_000)
    }
  }

  newEnds(): [End, End] {
    const mine = new End(this, this.#lastKey++)
    const theirs = new End(this, this.#lastKey++)
    mine.other = theirs
    theirs.other = mine
    mine.appetite = this.random.pick([0, 50, 100, 100])
    theirs.appetite = this.random.pick([0, 50, 100, 100])
    return [mine, theirs]
  }

  /** What a callback may do before it returns. */
  reenter(end: End): void {
    if (this.#depth > 3 || !this.random.chance(this.#reentry)) return
    this.#depth++
    this.tally.reentries++
    this.act(end)
    if (this.random.chance(20)) {
      const side = this.random.chance(50) ? this.relay : this.agent
      const some = side.ends[this.random.between(0, Math.max(0, side.ends.length - 1))]
      if (some !== undefined) this.act(some)
    }
    this.#depth--
  }

  act(end: End): void {
    const { random } = this
    switch (random.between(0, 11)) {
      case 0:
      case 1:
      case 2:
      case 3:
        if (!this.draining) end.offer()
        return
      case 4:
      case 5:
        end.appetite = random.pick([0, 50, 100])
        if (this.draining) end.appetite = 100
        end.stream?.flush()
        return
      case 6:
      case 7:
        end.stream?.flush()
        return
      case 8:
        end.finish()
        return
      case 9:
        if (random.chance(40)) end.abort()
        return
      case 10:
        if (!this.draining && this.relay.ends.length < 40) this.relay.open()
        return
      default:
        if (this.#endings > 0 && random.chance(3)) this.endSession()
    }
  }

  endSession(): void {
    this.#endings--
    const side = this.random.chance(50) ? this.relay : this.agent
    this.tally.sessionsEnded++
    if (this.random.chance(50)) side.session.close(7, 'enough')
    else side.session.lost()
  }

  /** Not both sides have the same connection. */
  get #broken(): boolean {
    return !this.relay.session.attached || !this.agent.session.attached || this.#resume !== null
  }

  /** The connection breaks; who notices first is left to chance. */
  #cut(): void {
    if (this.#broken || this.relay.over + this.agent.over > 0) return
    this.#cuts--
    this.tally.cuts++
    if (this.random.chance(50)) this.relay.detach()
    else this.agent.detach()
  }

  /** One step of the way back. */
  #goBack(): void {
    const { relay, agent, random } = this
    if (relay.over + agent.over > 0) {
      // The relay answers UNKNOWN, or nobody comes before the hold has passed.
      this.#resume = null
      relay.session.lost()
      agent.session.lost()
      return
    }
    if (agent.session.attached) {
      agent.detach()
    } else if (this.#resume === null) {
      const [toAgent, toRelay] = [relay.out.another(), agent.out.another()]
      this.#resume = { toAgent, toRelay, agentAt: agent.session.position(), relayAt: null }
    } else if (random.chance(15) && !this.draining) {
      // The relay has perhaps taken it for good: what it sends there is lost.
      this.#resume = null
      this.tally.brokenOff++
    } else if (this.#resume.relayAt === null) {
      const { toAgent, toRelay, agentAt } = this.#resume
      if (relay.session.attached) relay.detach()
      // What detaching called may have ended it.
      if (relay.over > 0) return
      const relayAt = relay.session.position()
      this.#resume.relayAt = relayAt
      relay.attach(agentAt, toRelay, toAgent)
    } else {
      const { toAgent, toRelay, relayAt } = this.#resume
      this.#resume = null
      agent.attach(relayAt, toAgent, toRelay)
    }
  }

  run(): void {
    const { random, relay, agent } = this
    const cut = random.pick([1, 3, 40, 5_000, 600_000])
    const steps = random.between(50, 500)
    for (const pipe of [relay.out, agent.out]) {
      pipe.delay = random.pick([0, 0, 0.3, 20])
      pipe.partial = random.chance(50)
    }
    const roomOf = () => random.pick([0, 1, 100, 20_000, 300_000, Number.POSITIVE_INFINITY])
    relay.open()
    for (let step = 0; step < steps; step++) {
      this.now += random.chance(10) ? random.between(0, 30) : random.between(0, 100) / 1000
      const side = random.chance(50) ? relay : agent
      if (this.#cuts > 0 && random.chance(3)) this.#cut()
      if (this.#broken && random.chance(10)) this.#goBack()
      if (this.#broken && this.#endings > 0 && random.chance(5)) this.endSession()
      switch (random.between(0, 9)) {
        case 0:
          if (!this.draining && relay.ends.length < 40) relay.open()
          break
        case 1:
        case 2:
        case 3: {
          const end = side.ends[random.between(0, Math.max(0, side.ends.length - 1))]
          if (end !== undefined) this.act(end)
          break
        }
        case 4:
          if (random.chance(30)) side.out.room = roomOf()
          break
        case 5:
          this.#tick(side)
          break
        case 6:
          if (side.awake || (side.out.refused && side.out.waiting < side.out.room)) side.transmit()
          break
        default:
          // A cut of a few bytes is tried often, so that bytes move at all.
          for (let i = cut < 100 ? 20 : 1; i > 0; i--) if (!side.receive(random.between(1, cut))) break
      }
    }
    this.#drain()
    this.#verdict()
  }

  #tick(side: Side): void {
    if (side.session.deadline() <= this.now) side.session.tick(this.now)
  }

  /** Lets everything run to its end: what then still stands was forgotten by somebody. */
  #drain(): void {
    const { relay, agent, random } = this
    this.draining = true
    this.#reentry = Math.min(this.#reentry, 5)
    for (const pipe of [relay.out, agent.out, this.#resume?.toAgent, this.#resume?.toRelay]) pipe?.open()
    const cut = random.pick([7_000, 100_000, 600_000])
    for (let rounds = 0; ; rounds++) {
      if (rounds > 200_000) throw new Error('it does not come to an end')
      let moved = false
      if (this.#cuts > 0 && random.chance(5)) this.#cut()
      while (this.#broken && relay.over + agent.over < 2) this.#goBack()
      for (const [side, peer] of [
        [relay, agent],
        [agent, relay],
      ] as const) {
        for (let i = 0; i < side.ends.length; i++) {
          const end = side.ends[i]!
          end.appetite = 100
          end.stream!.flush()
          end.finish()
        }
        if (side.awake || side.out.refused) {
          side.transmit()
          moved = true
        }
        while (side.receive(random.between(1, cut))) moved = true
        if (side.over > 0 && peer.over === 0 && side.out.waiting === 0 && !side.awake) {
          // RESET on stream 0 has been read or was never sent: what is left is the connection's end.
          peer.session.lost()
          moved = true
        }
      }
      if (moved) continue
      if (relay.session.streams === 0 && agent.session.streams === 0) return
      const due = Math.min(relay.out.nextDue, agent.out.nextDue)
      const next = Math.min(due, relay.session.deadline(), agent.session.deadline())
      // Receipts come after 25 ms; a PING that is what sets things going again hides a wake-up that was lost.
      if (next > this.now + 30) {
        const open = [...relay.ends, ...agent.ends].filter(e => !e.closed).map(e => e.key)
        throw new Error(`stuck with streams ${open.join(' ')}; the next deadline is ${next - this.now} ms away`)
      }
      this.now = Math.max(this.now, next)
      this.#tick(relay)
      this.#tick(agent)
    }
  }

  #verdict(): void {
    const { relay, agent } = this
    const ended = relay.over + agent.over > 0
    for (const side of [relay, agent]) {
      for (const end of side.ends) {
        end.appetite = 100
        end.stream!.flush()
      }
    }
    for (const side of [relay, agent]) {
      for (const end of side.ends) {
        const { key, other } = end
        if (!end.closed) throw new Error(`stream ${key}: neither ended nor reset`)
        // The other side may never have met it: aborted before it was announced, or refused as BUSY.
        if (other!.stream === null && !end.silent && !ended) throw new Error(`stream ${key}: never accepted`)
        if (end.resetBy !== null && !ended && side.memory.limits === MEMORY_LIMITS) {
          if (!other!.aborted || other!.abortedLate) throw new Error(`stream ${key}: reset by nobody`)
        }
        if (!end.silent && end.received !== other!.offered) throw new Error(`stream ${key}: not all bytes`)
      }
    }
    // Falling idle: after the PINGs of a few seconds no block is held, and all that was granted is back.
    if (!ended) {
      for (let i = 0; i < 8; i++) {
        this.now = Math.min(relay.session.deadline(), agent.session.deadline())
        for (const [side, peer] of [
          [relay, agent],
          [agent, relay],
        ] as const) {
          this.#tick(side)
          while (side.awake) side.transmit()
          while (peer.receive(1000));
          while (peer.awake) peer.transmit()
          while (side.receive(1000));
          while (side.awake) side.transmit()
        }
      }
    }
    for (const side of [relay, agent]) {
      if (!ended && side.memory.out.size > 0) throw new Error(`${side.memory.out.size} ring blocks held while idle`)
      side.session.lost()
      if (side.over !== 1) throw new Error(`over was said ${side.over} times`)
    }
    for (const side of [relay, agent]) {
      if (side.session.streams !== 0) throw new Error('streams left')
      if (side.memory.out.size > 0) throw new Error('ring blocks never given back')
      if (side.memory.buffered !== 0) throw new Error(`${side.memory.buffered} bytes still counted as buffered`)
      if (side.memory.granted !== 0) throw new Error(`${side.memory.granted} bytes still counted as granted`)
    }
  }
}

export function newTally(): Tally {
  return {
    schedules: 0,
    streams: 0,
    bytes: 0,
    fins: 0,
    resets: 0,
    refused: 0,
    sessionsEnded: 0,
    blockedWrites: 0,
    pushes: 0,
    takes: 0,
    pulls: 0,
    gathered: 0,
    reentries: 0,
    cuts: 0,
    brokenOff: 0,
    replayed: 0,
    late: 0,
    endedHeld: 0,
  }
}

/** Runs schedule `index` of `seed`, in which the connection breaks up to `cuts` times; an error names what replays it. */
export function simulate(seed: number, index: number, cuts = 0, tally: Tally = newTally()): void {
  try {
    new World(new Random(seed, index), tally, cuts).run()
  } catch (e) {
    const what = e instanceof Error ? e.message : String(e)
    throw new Error(`SEED=${seed} schedule ${index} with up to ${cuts} cuts: ${what}`, { cause: e })
  }
  tally.schedules++
}

/** Runs `count` schedules of `seed`, from number `from` on. */
export function simulateMany(seed: number, count: number, from = 0, cuts = 0): Tally {
  const tally = newTally()
  for (let i = from; i < from + count; i++) simulate(seed, i, cuts, tally)
  return tally
}
