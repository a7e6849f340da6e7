// `bun run bench:micro`: the hot paths without sockets, and what they allocate. Two sessions are joined by a buffer; a turn
// is what one offered chunk costs both of them, to the sink and its receipt back.
import { heapStats } from 'bun:jsc'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bench, do_not_optimize, group, run } from 'mitata'
import { Decoder, type Frames, putDataHeader } from '../src/frame/codec.ts'
import { Memory, type Pieces, Session, type Sink, type Stream } from '../src/frame/index.ts'
import { SIZE, TUNING } from '../src/frame/wire.ts'
import { createKey } from '../src/identity/index.ts'
import { Pool, QUARANTINE } from '../src/relay/pool.ts'
import { Store } from '../src/relay/store.ts'

const PAYLOADS = [64, 4_096, 65_536]
const FRAMES = 1_000
/** A turn is as far from the next as a receipt takes to be due, in ms of the sessions' clock. */
const TURN_MS = 30
const BATCHES = 30
/** Turns; small enough that nothing is collected within a batch. */
const BATCH = 400
/** Chunks offered in a turn when objects are counted: of the first and the second count what a turn itself makes is the same. */
const TOGETHER: Record<number, readonly [number, number]> = { 64: [10, 50], 4096: [10, 50], 65536: [1, 3] }
/** An object for each DATA frame would be 1; what RECEIPTs leave, which 64 KiB make due, is far below. */
const MOST = 0.2
/** Twice as many receipts. */
const MOST_TAKEN = 0.4

/** A chunk of bulk that Bun hands over, and what is then taken from its source, a frame at a time. */
const BULK = 65_536
const TAKEN = TUNING.quantumMax

class Count implements Sink {
  frames = 0
  data(pieces: Pieces): number {
    this.frames += pieces.count
    return pieces.bytes
  }
  free(): void {}
  end(): void {}
  reset(): void {}
}

/** A source with a stock that costs nothing. */
class Stock extends Count {
  readonly takes = true
  left = 0
  take(_into: readonly Buffer[], _first: number, _at: number, len: number): number {
    const n = Math.min(len, this.left)
    this.left -= n
    return n
  }
  more(): void {}
}

/** A relay's session and an agent's, with one stream. */
class Pair {
  readonly sink = new Count()
  readonly #source = new Stock()
  readonly #memory = new Memory()
  readonly #wire = Buffer.alloc(4 * 1024 * 1024)
  readonly #relay: Session
  readonly #agent: Session
  readonly #stream: Stream
  #filled = 0
  #now = 0
  readonly #write = (from: Buffer, at: number, len: number): number => {
    from.copy(this.#wire, this.#filled, at, at + len)
    this.#filled += len
    return len
  }

  constructor() {
    const options = { peerFirstCredit: 65_536, deadAfter: 60_000, memory: this.#memory }
    const events = { wake() {}, over() {}, opened() {} }
    const opened = (stream: Stream) => {
      stream.sink = this.sink
    }
    this.#relay = new Session({ ...options, opener: true, events }, 0)
    this.#agent = new Session({ ...options, opener: false, events: { ...events, opened } }, 0)
    this.#stream = this.#relay.open({ tunnel: 1, visitor: 'v', edge: 'e' }, this.#source)!
  }

  /** Offers a chunk so often, and lets so many frames be taken behind it. */
  turn(chunk: Buffer, together = 1, taken = 0): void {
    // What finds no room is offered again in the next turn.
    for (let i = 0; i < together; i++) if (!this.#stream.offer(chunk)) break
    this.#source.left = taken * TAKEN
    if (taken > 0) this.#stream.takeMore()
    this.#now += TURN_MS
    this.#carry(this.#relay, this.#agent)
    this.#agent.tick(this.#now)
    this.#carry(this.#agent, this.#relay)
  }

  #carry(from: Session, to: Session): void {
    this.#filled = 0
    from.transmit(this.#write, this.#now)
    if (this.#filled > 0) to.receive(this.#wire.subarray(0, this.#filled), this.#now)
  }
}

function framesOf(payload: number): Buffer {
  const frame = Buffer.alloc(SIZE.DATA + payload)
  putDataHeader(frame, 1, payload)
  return Buffer.concat(Array.from({ length: FRAMES }, () => frame))
}

function objects(): number {
  return Object.values(heapStats().objectTypeCounts).reduce((sum, count) => sum + count, 0)
}

type Turn = (pair: Pair) => void

/** Objects left behind by such turns, and the frames that reached the sink. */
function turns(turn: Turn): { made: number; frames: number } {
  const pair = new Pair()
  const batch = () => {
    for (let i = 0; i < BATCH; i++) turn(pair)
  }
  for (let i = 0; i < BATCHES; i++) batch()
  const before = pair.sink.frames
  let made = 0
  for (let i = 0; i < BATCHES; i++) {
    Bun.gc(true)
    const start = objects()
    batch()
    made += objects() - start
  }
  return { made, frames: pair.sink.frames - before }
}

/** Objects left behind by one DATA frame on its way from its source to the sink: what more of them in a turn make more. */
function allocations(fewer: Turn, more: Turn): number {
  const few = turns(fewer)
  const many = turns(more)
  return (many.made - few.made) / (many.frames - few.frames)
}

group('encode one DATA header', () => {
  const into = Buffer.alloc(64)
  bench('putDataHeader', () => do_not_optimize(putDataHeader(into, 7, 4_096)))
})

const ignored: Frames = {
  dataBegins() {},
  dataPiece() {},
  credit() {},
  fin() {},
  ping() {},
  pong() {},
  receipt() {},
  control() {},
}

group(`decode ${FRAMES} DATA frames`, () => {
  for (const payload of PAYLOADS.slice(0, 2)) {
    const bytes = framesOf(payload)
    const decoder = new Decoder(ignored)
    bench(`of ${payload} bytes`, () => do_not_optimize(decoder.decode(bytes)))
  }
})

group('session turn, both sides', () => {
  for (const payload of PAYLOADS) {
    const pair = new Pair()
    const chunk = Buffer.alloc(payload)
    bench(`${payload} bytes`, () => pair.turn(chunk))
  }
  const pair = new Pair()
  const chunk = Buffer.alloc(BULK)
  bench(`${BULK} bytes, and ${TAKEN} taken behind them`, () => pair.turn(chunk, 1, 1))
})

const folder = mkdtempSync(join(tmpdir(), 'warren-micro-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
mkdirSync(join(folder, 'relay'), { mode: 0o700 })
const store = Store.open(join(folder, 'relay'), Date.now)
const { publicKey } = createKey(join(folder, 'key'), 'bench')
store.allowKey(publicKey, 'bench', 'agent')
const pool = new Pool(store, { from: 20_000, to: 29_999 }, { quarantineMs: QUARANTINE.defaultMs, now: Date.now })
const free = () => true

// Durable when it returns: what the disk takes is in it.
group('pool', () => {
  bench('acquire the same service again', () => pool.acquire(publicKey, 'db', null, free))
  bench('acquire and release', () => {
    const grant = pool.acquire(publicKey, 'web', null, free)
    if (grant.ok) pool.release(grant.port, grant.epoch)
  })
  const many = Array.from({ length: 100 }, (_, i) => ({ service: `s${i}`, wanted: null }))
  bench('acquire 100 in one go', () => pool.acquireAll(publicKey, many, free))
})

await run({ colors: process.stdout.isTTY === true })

function report(what: string, most: number, fewer: Turn, more: Turn): void {
  const made = allocations(fewer, more)
  console.log(`  ${what}: ${made.toFixed(2)}`)
  if (made > most) process.exitCode = 1
}

console.log('\nobjects made per DATA frame (receipts that large ones make due are in it, an object for each 512 KiB)')
for (const payload of PAYLOADS) {
  const chunk = Buffer.alloc(payload)
  const [few, many] = TOGETHER[payload]!
  report(
    `${payload} bytes`,
    MOST,
    pair => pair.turn(chunk, few),
    pair => pair.turn(chunk, many),
  )
}
const chunk = Buffer.alloc(BULK)
report(
  `${TAKEN} bytes, taken`,
  MOST_TAKEN,
  pair => pair.turn(chunk, 1, 1),
  pair => pair.turn(chunk, 1, 3),
)
