// A session that goes on over another connection: nothing lost, doubled or reordered, wherever the first one broke.
import { describe, expect, test } from 'bun:test'
import { LIMIT, Memory, RESET_CODE, type ResetCode, SESSION_CODE, TUNING } from '../../src/frame/index.ts'
import { DATA, DATA_INIT, FIN, GOAWAY, PING, PONG, RECEIPT, RESET } from '../../src/frame/wire.ts'
import { Exchange, FATES, WAYS, type Way } from './exchange.ts'
import { Collect, ofType, Peer, type PeerOptions, raw, readFrames } from './peer.ts'

/** Counts what it gives out, so that a block that is not given back shows. */
class Blocks extends Memory {
  out = 0
  override takeBlock(): Buffer {
    this.out++
    return super.takeBlock()
  }
  override giveBlock(block: Buffer): void {
    this.out--
    super.giveBlock(block)
  }
}

function nothingKept(memory: Blocks): void {
  expect({ blocks: memory.out, buffered: memory.buffered, granted: memory.granted }).toEqual({
    blocks: 0,
    buffered: 0,
    granted: 0,
  })
}

/** Bytes of a payload's inside that are cut only here and there: all of them leave the decoder in the same state. */
const INSIDE_FROM = 64
const INSIDE_EVERY = 101

/** Where to cut: every byte, but for the inside of long payloads. */
function places(bytes: Buffer): number[] {
  const at: number[] = []
  for (let start = 0; start < bytes.length; ) {
    const size = 4 + bytes.readUInt32BE(start)
    for (let i = 0; i < size; i++)
      if (i < INSIDE_FROM || i >= size - INSIDE_FROM || i % INSIDE_EVERY === 0) at.push(start + i)
    start += size
  }
  return at
}

describe('a recorded exchange', () => {
  const memory = new Blocks()
  const uncut = new Exchange(null, memory)
  const seen = uncut.run()
  const recorded = (way: Way) => Buffer.concat(uncut.arrived[way])

  test('has every kind of frame', () => {
    const types = (way: Way) => new Set(readFrames(recorded(way)).map(frame => frame[0]))
    expect([...types('toAgent')].sort((a, b) => a - b)).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 11, 13])
    expect([...types('toRelay')].sort((a, b) => a - b)).toEqual([3, 5, 6, 7, 8, 10, 12, 13])
    nothingKept(memory)
  })

  for (const way of WAYS)
    for (const fate of FATES)
      test(`cut at every byte ${way}, the other way's bytes: ${fate}`, () => {
        for (const after of places(recorded(way))) {
          const cut = new Exchange({ way, after, fate }, memory)
          if (!Bun.deepEquals(cut.run(), seen)) throw new Error(`cut after ${after} bytes ${way}: not the same`)
          if (cut.cuts !== 1) throw new Error(`cut after ${after} bytes ${way}: ${cut.cuts} cuts`)
        }
        nothingKept(memory)
      }, 20_000)

  for (const fate of FATES)
    test(`cut again and again, the other way's bytes: ${fate}`, () => {
      // A resume costs PINGs, PONGs and a RECEIPT: with fewer bytes than that nothing else would ever get through.
      for (let every = 80; every < 500; every += 7) {
        const cut = new Exchange({ every, fate }, memory)
        if (!Bun.deepEquals(cut.run(), seen)) throw new Error(`cut after every ${every} bytes: not the same`)
        expect(cut.cuts).toBeGreaterThan(10)
      }
      nothingKept(memory)
    }, 20_000)
})

/** A session whose connection can be taken away; what it writes is kept by position. */
class Breakable extends Peer {
  readonly blocks: Blocks
  #log = Buffer.alloc(0)

  constructor(options: PeerOptions = {}) {
    const blocks = new Blocks()
    super({ opener: true, ...options, memory: blocks })
    this.blocks = blocks
  }

  /** All that it has sent until now. */
  get log(): Buffer {
    this.#log = Buffer.concat([this.#log, this.bytes()])
    return this.#log
  }

  /** Breaks, goes on from the peer's `position`, and returns what is sent then. */
  resume(position: number): Buffer {
    this.session.detach()
    return this.attach(position)
  }

  attach(position: number): Buffer {
    expect(this.session.resumable(position)).toBe(true)
    this.room = Number.POSITIVE_INFINITY
    this.session.attach(position, this.now)
    const bytes = this.bytes()
    this.#log = Buffer.concat([this.#log.subarray(0, position), bytes])
    return bytes
  }
}

const payloads = (bytes: Buffer): string =>
  ofType(readFrames(bytes), DATA)
    .map(frame => String(frame[2]))
    .join('')

describe('the ring between two connections', () => {
  test('what was encoded and never written is sent', () => {
    const peer = new Breakable()
    peer.bytes()
    peer.room = 0
    const stream = peer.open()
    stream.offer(Buffer.from('never written'))
    expect(peer.bytes().length).toBe(0)
    const frames = readFrames(peer.resume(peer.written))
    expect(ofType(frames, DATA_INIT).length).toBe(1)
    expect(ofType(frames, DATA).map(f => String(f[2]))).toEqual(['never written'])
  })

  test('a write that stopped in mid-frame goes on in mid-frame, from any byte that the peer has', () => {
    const sent = () => {
      const peer = new Breakable()
      const stream = peer.open()
      stream.offer(Buffer.alloc(1_000, 'abcdefghij'))
      peer.room = 300
      return { peer, stream, log: peer.log }
    }
    for (let has = 0; has <= 300; has++) {
      const { peer, log } = sent()
      expect(log.length).toBe(300)
      const rest = peer.resume(has)
      expect(payloads(Buffer.concat([log.subarray(0, has), rest]))).toBe('abcdefghij'.repeat(100))
    }
  })

  test('a blocked connection does not block the next one', () => {
    const peer = new Breakable()
    const stream = peer.open()
    peer.room = 10
    peer.bytes()
    stream.offer(Buffer.from('still here'))
    peer.session.transmit(() => 0, 0)
    peer.wakes = 0
    peer.session.detach()
    peer.session.attach(5, 0)
    expect(peer.wakes).toBe(1)
    peer.room = Number.POSITIVE_INFINITY
    expect(peer.bytes().includes('still here')).toBe(true)
  })

  test('a stub is replayed from any of its bytes, also with a block behind it', () => {
    for (const behind of [false, true]) {
      const stub = () => {
        const peer = new Breakable()
        const { log } = peer
        // A PING alone is not receipted soon: no block waits for that.
        expect(peer.blocks.out).toBe(0)
        if (!behind) return { peer, log }
        peer.open().offer(Buffer.alloc(200, 'x'))
        const both = peer.log
        expect(peer.blocks.out).toBe(1)
        return { peer, log: both }
      }
      const { length } = stub().log
      for (let has = 0; has <= length; has++) {
        const { peer, log } = stub()
        const again = peer.resume(has)
        expect(again.subarray(0, length - has).equals(log.subarray(has))).toBe(true)
        // Then one PING of the new connection.
        expect(readFrames(again.subarray(length - has)).map(f => f[0])).toEqual([PING])
        peer.session.lost()
        nothingKept(peer.blocks)
      }
    }
  })

  test('a replay over many blocks, after some of them were receipted', () => {
    const peer = new Breakable({ peerFirstCredit: LIMIT.credit })
    const stream = peer.open()
    peer.session.turns.window.size = 2_000_000
    const chunk = Buffer.alloc(700_000)
    for (let i = 0; i < chunk.length; i++) chunk[i] = (i * 31 + (i >> 8)) & 0xff
    stream.offer(Buffer.from(chunk))
    const { log } = peer
    expect(peer.blocks.out).toBeGreaterThan(4)
    peer.send(raw.receipt(200_000))
    for (const has of [200_000, 200_001, 262_144, 400_000, log.length]) {
      const again = peer.resume(has)
      expect(again.subarray(0, log.length - has).equals(log.subarray(has))).toBe(true)
    }
    peer.session.lost()
    nothingKept(peer.blocks)
  })

  test('a position below the last receipt or beyond what was written is no position to resume from', () => {
    const peer = new Breakable()
    peer.open().offer(Buffer.alloc(1_000))
    peer.room = 600
    peer.bytes()
    peer.send(raw.receipt(100))
    peer.session.detach()
    const { session } = peer
    expect([99, 100, 600, 601].map(at => session.resumable(at))).toEqual([false, true, true, false])
    session.lost()
    expect(session.resumable(100)).toBe(false)
  })

  test('what the peer names is receipted by it, and the blocks go back', () => {
    const peer = new Breakable({ peerFirstCredit: LIMIT.credit })
    peer.open().offer(Buffer.alloc(600_000))
    const { log } = peer
    const before = peer.blocks.out
    peer.resume(log.length)
    expect(peer.blocks.out).toBeLessThan(before)
    expect(peer.session.resumable(log.length - 1)).toBe(false)
  })

  test('says how many bytes it sends again', () => {
    const peer = new Breakable()
    const { length } = peer.log
    peer.session.detach()
    expect(peer.session.attach(length - 5, 0)).toBe(5)
    peer.session.detach()
    // Nothing of it was written meanwhile.
    expect(peer.session.attach(length - 5, 0)).toBe(0)
  })
})

describe('while there is no connection', () => {
  test('old bytes change nothing, not even the position', () => {
    const peer = new Breakable({ opener: false })
    const { sink } = peer.accept(1)
    peer.send(raw.data(1, 'before'))
    const at = peer.session.position()
    peer.session.detach()
    for (const late of [
      raw.data(1, 'late'),
      raw.fin(1),
      raw.reset(0, 5),
      raw.dataInit(9),
      Buffer.from('ffffffff', 'hex'),
    ])
      expect(peer.send(late)).toBe(true)
    expect(peer.session.position()).toBe(at)
    peer.attach(peer.written)
    peer.send(raw.data(1, ' after'))
    expect(sink.bytes.toString()).toBe('before after')
    expect([sink.ended, sink.resets.length, peer.over.length, peer.accepted.length]).toEqual([0, 0, 0, 1])
  })

  test('nothing is written and no time passes', () => {
    const peer = new Breakable({ deadAfter: 1_000 })
    const stream = peer.open()
    peer.bytes()
    peer.session.detach()
    stream.offer(Buffer.from('waits'))
    expect(peer.session.transmit(() => expect.unreachable(), 5_000)).toBe(true)
    expect(peer.session.deadline()).toBe(Number.POSITIVE_INFINITY)
    expect(peer.session.tick(50_000)).toBe(Number.POSITIVE_INFINITY)
    expect(peer.over).toEqual([])
    // The new connection has a whole limit before it.
    peer.now = 60_000
    peer.attach(peer.written)
    peer.session.tick(60_999)
    peer.session.tick(60_999.5)
    expect(peer.over).toEqual([])
  })

  test('every source is told to stop in that call, and to go on when there is a connection again', () => {
    const told: string[] = []
    const sinkOf = (name: string) => {
      const sink = new Collect()
      return Object.assign(sink, { hold: () => told.push(`hold ${name}`), go: () => told.push(`go ${name}`) })
    }
    const peer = new Breakable()
    peer.open(sinkOf('a')).offer(Buffer.alloc(5))
    const gone = peer.open(sinkOf('gone'))
    peer.open(sinkOf('b'))
    gone.abort(RESET_CODE.ABORTED)
    peer.session.detach()
    expect(told).toEqual(['hold a', 'hold b'])
    peer.session.detach()
    expect(told.length).toBe(2)
    peer.attach(0)
    expect(told.slice(2)).toEqual(['go a', 'go b'])
  })

  test('it is woken once by an attach, whatever its sinks do in it', () => {
    const peer = new Breakable()
    const sink: Collect = Object.assign(new Collect(), { go: () => void stream.offer(Buffer.from('at once')) })
    const stream = peer.open(sink)
    peer.bytes()
    peer.session.detach()
    peer.wakes = 0
    peer.session.attach(peer.written, 0)
    expect(peer.wakes).toBe(1)
    expect(payloads(peer.bytes())).toBe('at once')
  })

  test('streams are offered, finished, flushed and aborted: all of it shows afterwards, in order', () => {
    const peer = new Breakable()
    const [offered, aborted, finished] = [peer.open(), peer.open(), peer.open()]
    peer.bytes()
    peer.session.detach()
    expect(offered.offer(Buffer.from('one '))).toBe(false)
    expect(offered.offer(Buffer.from('two'))).toBe(false)
    offered.finish()
    aborted.offer(Buffer.from('dropped'))
    aborted.abort(RESET_CODE.TIMEOUT)
    finished.finish()
    const frames = readFrames(peer.attach(peer.written))
    expect(ofType(frames, DATA).map(f => [f[1], String(f[2])])).toEqual([
      [1, 'one '],
      [1, 'two'],
    ])
    expect(ofType(frames, FIN).map(f => f[1])).toEqual([3, 1])
    expect(ofType(frames, RESET)).toEqual([[RESET, 2, RESET_CODE.TIMEOUT, '']])
    expect(frames.findLastIndex(f => f[0] === DATA)).toBeLessThan(frames.findIndex(f => f[0] === FIN && f[1] === 1))
    expect(peer.memory.buffered).toBe(0)
  })

  test('a stream that was never announced and is aborted is never heard of', () => {
    const peer = new Breakable({ peerFirstCredit: LIMIT.credit })
    const filler = peer.open()
    peer.room = 0
    filler.offer(Buffer.alloc(TUNING.window))
    peer.bytes()
    peer.session.turns.window.size = 0
    const unheard = peer.open()
    expect(unheard.announced).toBe(false)
    peer.session.detach()
    unheard.offer(Buffer.from('x'))
    unheard.abort(RESET_CODE.ABORTED)
    const frames = readFrames(peer.attach(0))
    expect(frames.some(f => f[1] === unheard.id)).toBe(false)
  })

  test('what is queued is flushed, and is credit afterwards', () => {
    const peer = new Breakable({ opener: false })
    const { stream, sink } = peer.accept(1)
    sink.appetite = 0
    peer.send(raw.data(1, Buffer.alloc(40_000, 'q')))
    peer.bytes()
    peer.session.detach()
    sink.appetite = Number.POSITIVE_INFINITY
    stream.flush()
    expect(sink.length).toBe(40_000)
    const credits = ofType(readFrames(peer.attach(peer.written)), 4)
    // And the first doubling of the window, for a sink that keeps up.
    expect(credits).toEqual([[4, 1, 40_000 + TUNING.firstCredit]])
  })

  test('no stream is opened', () => {
    const peer = new Breakable()
    peer.session.detach()
    expect(peer.session.open({ tunnel: 1, visitor: 'v', edge: 'e' }, new Collect())).toBeNull()
    peer.attach(0)
    expect(peer.open()).not.toBeNull()
  })

  test('GOAWAY and tunnel messages wait for the next connection', () => {
    const peer = new Breakable()
    peer.open()
    peer.bytes()
    peer.session.detach()
    peer.session.goaway(SESSION_CODE.SHUTDOWN, 'soon')
    peer.session.send({ type: 12, tunnel: 4 })
    const frames = readFrames(peer.attach(peer.written))
    expect(ofType(frames, GOAWAY)).toEqual([[GOAWAY, 0, SESSION_CODE.SHUTDOWN, 'soon', 1]])
    expect(ofType(frames, 12)).toEqual([[12, 0, 4]])
  })

  test('with nothing open and nothing on its way GOAWAY is the end', () => {
    const peer = new Breakable()
    peer.bytes()
    peer.session.detach()
    peer.session.goaway(SESSION_CODE.SHUTDOWN, 'soon')
    expect(peer.session.isOver).toBe(true)
  })

  for (const how of ['lost', 'close'] as const)
    test(`${how}() resets every stream once and gives everything back, and there is no way back`, () => {
      const peer = new Breakable()
      const sink = new Collect()
      const stream = peer.open(sink)
      stream.offer(Buffer.alloc(100_000))
      peer.bytes()
      peer.session.detach()
      expect(peer.blocks.out).toBeGreaterThan(0)
      if (how === 'lost') peer.session.lost('not resumed')
      else peer.session.close(SESSION_CODE.REVOKED, 'revoked')
      expect(sink.resets).toEqual([RESET_CODE.ABORTED as ResetCode])
      expect(peer.over.map(o => o.by)).toEqual([how === 'lost' ? 'lost' : 'self'])
      nothingKept(peer.blocks)
      expect(peer.session.resumable(0)).toBe(false)
      expect(peer.session.transmit(() => expect.unreachable(), 0)).toBe(true)
      peer.session.lost()
      peer.session.detach()
      expect(peer.over.length).toBe(1)
    })

  test('a stream that ended by FIN both ways is flushed, even if the session does not come back', () => {
    const peer = new Breakable({ opener: false })
    const { stream, sink } = peer.accept(1)
    sink.appetite = 0
    peer.send(raw.data(1, 'the whole answer'), raw.fin(1))
    stream.finish()
    peer.bytes()
    peer.session.detach()
    peer.session.lost()
    sink.appetite = Number.POSITIVE_INFINITY
    stream.flush()
    expect(sink.bytes.toString()).toBe('the whole answer')
    expect([sink.ended, sink.resets.length]).toEqual([1, 0])
  })
})

describe('the first moments of the next connection', () => {
  test('an old PONG says nothing about its round trip, a new one does; an old PING is answered', () => {
    const trips: number[] = []
    const peer = new Breakable({ events: { roundTrip: ms => trips.push(ms) } })
    const [old] = ofType(peer.frames(), PING)
    peer.session.detach()
    peer.now = 7_000
    const [again, fresh] = ofType(readFrames(peer.attach(0)), PING)
    expect(again).toEqual(old!)
    peer.now = 7_020
    peer.send(raw.pong(Number(again![2])), raw.ping(99))
    expect(trips).toEqual([])
    peer.send(raw.pong(Number(fresh![2])))
    expect(trips).toEqual([20])
    expect(ofType(peer.frames(), PONG)).toEqual([[PONG, 0, 99]])
  })

  test('the window is that of an unknown link again', () => {
    const peer = new Breakable()
    peer.session.turns.window.size = 10_000_000
    peer.session.turns.window.roundTrip(1, 0, 0)
    peer.bytes()
    peer.resume(peer.written)
    expect(peer.session.turns.window.size).toBe(TUNING.window)
    expect(peer.session.turns.window.rtt).toBe(Number.POSITIVE_INFINITY)
  })

  test('the positions were receipts: none is due for what came before', () => {
    const peer = new Breakable({ opener: false })
    peer.accept(1)
    peer.send(raw.data(1, Buffer.alloc(5_000)))
    peer.bytes()
    peer.resume(peer.written)
    peer.session.tick(200)
    expect(ofType(peer.frames(), RECEIPT)).toEqual([])
    peer.now = 300
    peer.send(raw.data(1, 'x'))
    peer.session.tick(326)
    expect(ofType(peer.frames(), RECEIPT)).toEqual([[RECEIPT, 0, peer.session.position()]])
  })

  test('a RECEIPT that is replayed is lower than the position, and ignored', () => {
    const peer = new Breakable()
    peer.open().offer(Buffer.alloc(1_000))
    const { length } = peer.log
    peer.resume(500)
    peer.send(raw.receipt(200))
    peer.session.detach()
    expect([499, 500, length].map(at => peer.session.resumable(at))).toEqual([false, true, true])
    expect(peer.over).toEqual([])
  })

  test('a RECEIPT of bytes that were sent on the old connection only is an error', () => {
    const peer = new Breakable()
    peer.open().offer(Buffer.alloc(1_000))
    const { length } = peer.log
    peer.session.detach()
    peer.session.attach(100, 0)
    peer.send(raw.receipt(length))
    expect(peer.over.map(o => o.by)).toEqual(['violation'])
  })

  test('the decoder goes on in the middle of a header, of a payload and of a control frame', () => {
    const bytes = Buffer.concat([raw.dataInit(1), raw.data(1, 'payload'), raw.fin(1)])
    for (let cut = 0; cut <= bytes.length; cut++) {
      const peer = new Breakable({ opener: false })
      peer.send(bytes.subarray(0, cut))
      peer.resume(0)
      peer.send(bytes.subarray(cut))
      const [accepted] = peer.accepted
      expect(accepted?.sink.bytes.toString()).toBe('payload')
      expect(accepted?.sink.ended).toBe(1)
    }
  })
})
