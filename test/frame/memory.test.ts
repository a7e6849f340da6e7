// Bounds on memory: credit and its growth, bytes really buffered, and what a peer can make us keep.
import { heapStats } from 'bun:jsc'
import { describe, expect, test } from 'bun:test'
import { LIMIT, MEMORY_LIMITS, Memory, RESET_CODE, TUNING } from '../../src/frame/index.ts'
import { CREDIT, DATA, DATA_INIT, PING, RESET } from '../../src/frame/wire.ts'
import { Collect, ofType, Peer, raw } from './peer.ts'

const MIB = 1024 * 1024
const FIRST = TUNING.firstCredit

/** Objects that hold bytes, alive now. */
function buffers(): number {
  Bun.gc(true)
  const { objectTypeCounts: counts } = heapStats()
  return (counts['ArrayBuffer'] ?? 0) + (counts['Uint8Array'] ?? 0) + (counts['Buffer'] ?? 0)
}

/** Sends stream 1 what it may have, and gives it what it takes, until the window stops growing. */
function growFully(peer: Peer, id: number): number {
  const { stream } = peer.accepted.find(a => a.stream.id === id)!
  for (let before = 0; before !== stream.window; ) {
    before = stream.window
    let left = stream.receiveCredit
    while (left > 0) {
      const n = Math.min(left, LIMIT.payload)
      peer.send(raw.data(id, Buffer.alloc(n)))
      left -= n
    }
    peer.frames()
    peer.send(raw.receipt(peer.written))
  }
  return stream.window
}

describe('credit', () => {
  test('returns what was consumed, once half of the window is', () => {
    const peer = new Peer()
    const { sink } = peer.accept(1)
    sink.appetite = 0
    peer.send(raw.data(1, Buffer.alloc(FIRST)))
    sink.appetite = FIRST / 2 - 1
    peer.accepted[0]!.stream.flush()
    expect(ofType(peer.frames(), CREDIT)).toEqual([])
    sink.appetite = 1
    peer.accepted[0]!.stream.flush()
    expect(ofType(peer.frames(), CREDIT)).toEqual([[CREDIT, 1, FIRST / 2]])
  })

  test('doubles for a sink that keeps up, to 16 MiB', () => {
    const peer = new Peer()
    peer.accept(1)
    expect(growFully(peer, 1)).toBe(LIMIT.credit)
    peer.session.lost()
    expect(peer.memory.granted).toBe(0)
  })

  test('near by, grows to 512 KiB before its sink took 8 MiB, more than buffers take for nobody; then to 16 MiB', () => {
    for (const ms of [0.2, 3.9]) {
      const peer = new Peer()
      const ping = ofType(peer.frames(), PING)[0]!
      peer.now += ms
      peer.send(raw.pong(Number(ping[2])))
      const { stream } = peer.accept(1)
      let most = 0
      while (stream.taken < 8 * MIB - LIMIT.payload) {
        peer.send(raw.data(1, Buffer.alloc(Math.min(LIMIT.payload, stream.receiveCredit))), raw.receipt(peer.written))
        peer.frames()
        most = Math.max(most, stream.window)
      }
      expect(most).toBe(512 * 1024)
      expect(growFully(peer, 1)).toBe(LIMIT.credit)
    }
  })

  test('does not grow for a sink that leaves a part of what it is given', () => {
    const peer = new Peer()
    const { stream, sink } = peer.accept(1)
    for (let i = 0; i < 50; i++) {
      sink.appetite = 40_000
      peer.send(raw.data(1, Buffer.alloc(50_000)))
      stream.flush()
      // A byte stays behind each time.
      sink.appetite = stream.queued - 1
      stream.flush()
      peer.frames()
      sink.appetite = 0
    }
    expect(stream.window).toBe(FIRST)
  })

  test('grows no further than the session may, and what was consumed comes back all the same', () => {
    const memory = new Memory({ ...MEMORY_LIMITS, sessionGrowth: 300_000 })
    const peer = new Peer({ memory })
    for (let id = 1; id <= 10; id++) peer.accept(id)
    for (let id = 1; id <= 10; id++) growFully(peer, id)
    expect(memory.granted).toBeLessThanOrEqual(300_000)
    expect(memory.granted).toBeGreaterThan(200_000)
    for (const { stream } of peer.accepted) {
      expect(stream.receiveCredit + stream.owed).toBe(stream.window)
      expect(stream.receiveCredit).toBeGreaterThan(stream.window / 2)
    }
  })

  test('grows no further than the process may, over all sessions; ended streams give it back', () => {
    const memory = new Memory({ ...MEMORY_LIMITS, growth: 1_000_000 })
    const peers = [0, 1, 2, 3].map(() => new Peer({ memory }))
    for (const peer of peers) peer.accept(1)
    for (const peer of peers) growFully(peer, 1)
    expect(memory.granted).toBeLessThanOrEqual(1_000_000)
    const before = memory.granted
    const grown = peers[0]!.accepted[0]!.stream.window - FIRST
    expect(grown).toBeGreaterThan(0)
    peers[0]!.send(raw.fin(1))
    peers[0]!.accepted[0]!.stream.finish()
    peers[0]!.frames()
    expect(memory.granted).toBe(before - grown)
    expect(growFully(peers[1]!, 1)).toBeGreaterThan(FIRST)
  })
})

describe('bytes buffered', () => {
  test('over the cap the longest stalled stream is reset, and the others stay', () => {
    const memory = new Memory({ ...MEMORY_LIMITS, buffered: 200_000 })
    const peer = new Peer({ memory })
    for (let id = 1; id <= 5; id++) {
      peer.accept(id).sink.appetite = 0
    }
    for (let id = 1; id <= 3; id++) peer.send(raw.data(id, Buffer.alloc(60_000)))
    // The first one makes progress: the second has now stalled the longest.
    peer.accepted[0]!.sink.appetite = 10
    peer.accepted[0]!.stream.flush()
    peer.accepted[0]!.sink.appetite = 0
    peer.send(raw.data(4, Buffer.alloc(60_000)))
    expect(peer.accepted.map(a => a.sink.resets)).toEqual([[], [RESET_CODE.BUSY], [], [], []])
    expect(memory.buffered).toBe(60_000 * 3 - 10)
    expect(ofType(peer.frames(), RESET)).toEqual([[RESET, 2, RESET_CODE.BUSY, '']])
    expect(peer.over).toEqual([])
  })

  test('near the cap new streams are BUSY, on either side, and welcome again afterwards', () => {
    const memory = new Memory({ ...MEMORY_LIMITS, buffered: 100_000 })
    const relay = new Peer({ memory, opener: true })
    const peer = new Peer({ memory })
    peer.accept(1).sink.appetite = 0
    peer.accept(2).sink.appetite = 0
    peer.send(raw.data(1, Buffer.alloc(60_000)), raw.data(2, Buffer.alloc(35_000)))
    peer.frames()
    peer.send(raw.dataInit(3))
    expect(ofType(peer.frames(), RESET)).toContainEqual([RESET, 3, RESET_CODE.BUSY, ''])
    expect(peer.accepted).toHaveLength(2)
    // Each that is refused costs the longest stalled one its place, and the next finds it.
    expect(peer.accepted.map(({ sink }) => sink.resets)).toEqual([[RESET_CODE.BUSY], []])
    peer.accept(4).sink.appetite = 0
    peer.send(raw.data(4, Buffer.alloc(60_000)))
    expect(
      relay.session.open({ tunnel: 1, visitor: 'v', edge: 'e' }, relay.accepted[0]?.sink ?? peer.accepted[0]!.sink),
    ).toBeNull()
    expect(peer.accepted.map(({ sink }) => sink.resets)).toEqual([[RESET_CODE.BUSY], [RESET_CODE.BUSY], []])
    expect(relay.open().id).toBe(1)
  })

  test('a stream that only waits to send is among the stalled after its queue was taken', () => {
    const memory = new Memory({ ...MEMORY_LIMITS, buffered: 100_000 })
    const peer = new Peer({ memory })
    const { stream, sink } = peer.accept(1, 0)
    sink.appetite = 0
    peer.send(raw.data(1, 'to be taken'))
    stream.offer(Buffer.alloc(60_000))
    sink.appetite = 100
    stream.flush()
    expect(memory.buffered).toBe(60_000)
    peer.accept(2).sink.appetite = 0
    peer.send(raw.data(2, Buffer.alloc(60_000)))
    expect(sink.resets).toEqual([RESET_CODE.BUSY])
    expect(peer.accepted[1]!.sink.resets).toEqual([])
    expect(memory.buffered).toBe(60_000)
  })

  test('a stream that is given up while its own bytes come in: counted once', () => {
    const memory = new Memory({ ...MEMORY_LIMITS, buffered: 10_000 })
    const peer = new Peer({ memory })
    peer.accept(1).sink.appetite = 0
    expect(peer.send(raw.data(1, Buffer.alloc(20_000)))).toBe(true)
    expect(memory.buffered).toBe(0)
    const { stream, sink } = peer.accept(2, 0)
    expect(stream.offer(Buffer.alloc(20_000))).toBe(false)
    expect(sink.resets).toEqual([RESET_CODE.BUSY])
    expect(sink.freed).toEqual([])
    expect(memory.buffered).toBe(0)
  })

  for (const [how, chunks] of [
    ['frames of one byte', () => Array.from({ length: 60_000 }, () => raw.data(1, 'x'))],
    ['one frame byte by byte', () => [...raw.data(1, Buffer.alloc(60_000, 'x'))].map(b => Buffer.of(b))],
  ] as const) {
    test(`${how} that nobody takes cost little more than their bytes`, () => {
      const peer = new Peer()
      const { stream, sink } = peer.accept(1)
      sink.appetite = 0
      const before = buffers()
      for (const chunk of chunks()) peer.send(chunk)
      expect(stream.queued).toBe(60_000)
      expect(buffers() - before).toBeLessThan(500)
      sink.appetite = Number.POSITIVE_INFINITY
      stream.flush()
      expect(sink.bytes.equals(Buffer.alloc(60_000, 'x'))).toBe(true)
      expect(peer.memory.buffered).toBe(0)
    })
  }

  test('a stream that waited for its sink is as small afterwards as one that never did', () => {
    const objects = () => {
      Bun.gc(true)
      return heapStats().objectTypeCounts['Object'] ?? 0
    }
    const peer = new Peer()
    for (let id = 1; id <= 100; id++) peer.accept(id)
    const before = objects()
    for (const { stream, sink } of peer.accepted) {
      sink.appetite = 0
      peer.send(raw.data(stream.id, 'waits'))
      sink.appetite = 3
      stream.flush()
    }
    // Two at least for each, the bytes and their queue.
    expect(objects()).toBeGreaterThan(before + 150)
    for (const { stream, sink } of peer.accepted) {
      stream.flush()
      expect(sink.bytes.toString()).toBe('waits')
    }
    expect(objects()).toBeLessThan(before + 50)
  })

  test('a small piece of a large chunk does not pin the chunk', () => {
    const peer = new Peer()
    peer.accept(1).sink.appetite = 0
    // True: the chunk may be freed.
    expect(peer.send(raw.data(1, Buffer.alloc(3000)), raw.data(2 - 1, Buffer.alloc(100)))).toBe(false)
    peer.accept(2).sink.appetite = 0
    peer.accept(3)
    expect(peer.send(raw.data(2, Buffer.alloc(3000)), raw.data(3, Buffer.alloc(60_000)))).toBe(true)
    const first = peer.accepted[0]!
    first.sink.appetite = Number.POSITIVE_INFINITY
    first.stream.flush()
    expect(first.sink.length).toBe(3100)
  })
})

describe('send rings', () => {
  const limited = () => new Memory({ ...MEMORY_LIMITS, rings: 2 * MIB, sessionRing: MIB / 4 })
  /** A session with one stream that has `bytes` to send and every credit, over a path that takes 16 MiB at once. */
  function sending(memory: Memory, bytes: number): Peer {
    const peer = new Peer({ memory, opener: true, peerFirstCredit: 16 * MIB })
    peer.session.turns.window.size = 16 * MIB
    const stream = peer.open()
    for (let left = bytes; left > 0; left -= MIB / 16) stream.offer(Buffer.alloc(MIB / 16))
    peer.bytes()
    return peer
  }
  const confirm = (peer: Peer) => {
    peer.send(raw.receipt(peer.written))
    peer.bytes()
  }

  test('peers that confirm nothing make a process keep little more than the limit, and nobody stands still for it', () => {
    const memory = limited()
    const mute = Array.from({ length: 20 }, () => sending(memory, 4 * MIB))
    // The first had it to itself; a session that finds nothing left has its own share, and what small frames may take.
    expect(mute[0]!.written).toBeWithin(2 * MIB - TUNING.block, 2 * MIB + 2 * TUNING.block)
    for (const peer of mute.slice(1)) expect(peer.written).toBeWithin(MIB / 4 - TUNING.small, MIB / 4 + TUNING.block)

    const honest = sending(memory, 4 * MIB)
    for (let turns = 0; honest.written < 4 * MIB; turns++) {
      expect(turns).toBeLessThan(20)
      confirm(honest)
    }
  })

  test('what is small, and what opens, waits only above twice the limit', () => {
    const memory = limited()
    const busy = sending(memory, 2 * MIB)
    const key = busy.open()
    sending(memory, 4 * MIB)
    busy.bytes()
    // More than a session's share is in flight there, and nothing of it is receipted.
    const late = busy.open()
    for (const stream of [key, late]) stream.offer(Buffer.from('k'))
    expect(ofType(busy.frames(), DATA).map(([, id]) => id)).toEqual([key.id, late.id])
    // What is small of those that confirm nothing is bounded, too.
    const dribbles = sending(memory, 0)
    const from = dribbles.written
    for (let n = 0; n < 3_000; n++) dribbles.open().offer(Buffer.alloc(4_000))
    dribbles.bytes()
    expect(dribbles.written - from).toBeLessThan(3 * MIB)
  })

  test('of a session that is over it keeps nothing, and the others may send as before', () => {
    const memory = limited()
    const gone = sending(memory, 4 * MIB)
    const stays = sending(memory, 4 * MIB)
    expect(stays.written).toBeLessThan(MIB)
    gone.session.lost()
    confirm(stays)
    expect(stays.written).toBeGreaterThan(2 * MIB)
  })
})

describe('streams that came and went while the peer took nothing', () => {
  const MANY = 40_000
  /** Objects: some five for each of four thousand streams. */
  const MOST = 24_000
  const objects = () => {
    Bun.gc(true)
    return heapStats().objectTypeCounts['Object'] ?? 0
  }

  test('are kept no longer than some thousand others, when they were not announced yet', () => {
    const peer = new Peer({ opener: true })
    peer.room = 0
    const before = objects()
    for (let i = 0; i < MANY; i++) peer.open().abort(RESET_CODE.ABORTED)
    expect(peer.session.streams).toBe(0)
    expect(objects() - before).toBeLessThan(MOST)
  })

  const had = {
    'credit to give': (peer: Peer, id: number) => {
      peer.accept(id)
      peer.send(raw.data(id, Buffer.alloc(FIRST / 2)))
    },
    'an end to tell': (peer: Peer, id: number) => peer.accept(id).stream.finish(),
    'a byte to send': (peer: Peer, id: number) => peer.accept(id, 1).stream.offer(Buffer.of(1)),
  }
  for (const [what, act] of Object.entries(had)) {
    test(`are kept no longer than some thousand others, when they had ${what}; who is still there goes on`, () => {
      const peer = new Peer()
      peer.room = 0
      act(peer, MANY + 1)
      const before = objects()
      for (let id = MANY + 2; id <= 2 * MANY; id++) {
        act(peer, id)
        peer.accepted.length = 1
        peer.bytes()
        peer.send(raw.reset(id, 0))
      }
      expect(peer.session.streams).toBe(1)
      expect(objects() - before).toBeLessThan(MOST)
      peer.room = Number.POSITIVE_INFINITY
      const said = peer.frames().filter(([, id]) => id === MANY + 1)
      expect(said.length).toBeGreaterThan(0)
    })
  }
})

test('streams that go within their turn take no turn of those behind them', () => {
  const peer = new Peer({ opener: true, peerFirstCredit: MIB })
  // With the first of the list itself, as many as are gone when the lists are looked through.
  const others = Array.from({ length: 4_095 }, () => peer.open())
  const sink = new Collect()
  sink.onFree = () => {
    for (const stream of [...others.splice(0), streams[0]!]) stream.abort(RESET_CODE.ABORTED)
  }
  const streams = [peer.open(sink), peer.open(), peer.open()]
  peer.frames()
  // Not at once, but in the next turn.
  peer.session.turns.attached = false
  for (const stream of streams) stream.offer(Buffer.from('x'))
  peer.session.turns.attached = true
  const ids = streams.map(({ id }) => id)
  expect(ofType(peer.frames(), DATA).map(([, id]) => id)).toEqual(ids)
  expect(others).toEqual([])
})

describe('sending', () => {
  test('an empty chunk is done at once, also behind another', () => {
    const peer = new Peer({ opener: true, peerFirstCredit: 10 })
    const stream = peer.open()
    expect(stream.offer(Buffer.alloc(0))).toBe(true)
    expect(stream.offer(Buffer.from('more than ten bytes'))).toBe(false)
    expect(stream.offer(Buffer.alloc(0))).toBe(true)
    stream.finish()
    peer.frames()
    peer.send(raw.credit(stream.id, 100))
    const frames = peer.frames()
    expect(ofType(frames, DATA)).toHaveLength(1)
    expect(peer.memory.buffered).toBe(0)
  })

  test('chunks offered although the source was told to pause are sent in order, in linear time', () => {
    const peer = new Peer({ opener: true, peerFirstCredit: 16 * MIB })
    peer.session.turns.window.size = 4 * MIB
    const stream = peer.open()
    const filler = peer.open()
    peer.frames()
    filler.offer(Buffer.alloc(8 * MIB))
    const started = performance.now()
    // The first few go out at once, as small chunks do.
    for (let i = 0; i < 100_000; i++) stream.offer(Buffer.of(i))
    expect(stream.backlog).toBeGreaterThan(90_000)
    let bytes = Buffer.alloc(0)
    for (let i = 0; i < 40; i++) {
      for (const f of ofType(peer.frames(), DATA))
        if (f[1] === stream.id) bytes = Buffer.concat([bytes, f[2] as Buffer])
      peer.send(raw.receipt(peer.written))
    }
    expect(bytes.length).toBe(100_000)
    expect(bytes.every((b, i) => b === (i & 0xff))).toBe(true)
    // Quadratic would be a minute.
    expect(performance.now() - started).toBeLessThan(5000)
  })

  test('opening waits for room in numbers that are bounded', () => {
    const peer = new Peer({ opener: true, peerFirstCredit: MIB })
    const stream = peer.open()
    while (stream.offer(Buffer.alloc(4000)));
    let opened = 0
    const nobody = peer.accepted[0]?.sink
    for (let i = 0; i < LIMIT.streams + 10; i++) {
      const sink = nobody ?? { data: () => 0, free() {}, end() {}, reset() {} }
      if (peer.session.open({ tunnel: 1, visitor: 'v', edge: 'e' }, sink) !== null) opened++
    }
    // As many as a session may have; those without room wait, and are not announced.
    expect(opened).toBe(LIMIT.streams - 1)
    expect(ofType(peer.frames(), DATA_INIT).length).toBeLessThan(LIMIT.streams / 2)
  })
})
