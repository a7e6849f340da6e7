// Who sends next, and how much may be in flight: small before bulk, bulk in turns, nobody held up by one that does not
// read, control always; and that whatever waits for room is woken when there is some.
import { describe, expect, test } from 'bun:test'
import { RESET_CODE, type Stream, TUNING } from '../../src/frame/index.ts'
import { BIND, DATA, DATA_INIT, FIN, LIMIT, PING, PONG, RECEIPT, RESET } from '../../src/frame/wire.ts'
import { Collect, ofType, Peer, type Read, raw, readFrames } from './peer.ts'

/** Bytes of payload of each stream, in `frames`. */
function shares(frames: readonly Read[]): Map<number, number> {
  const by = new Map<number, number>()
  for (const f of ofType(frames, DATA)) by.set(f[1], (by.get(f[1]) ?? 0) + (f[2] as Buffer).length)
  return by
}

const typesOf = (frames: readonly Read[]): number[] => frames.map(f => f[0])

/** A peer whose session opens, with credit for megabytes on each of `count` streams. */
function opened(count: number, credit = 16 * 1024 * 1024) {
  const peer = new Peer({ opener: true, peerFirstCredit: credit })
  const streams: Stream[] = []
  const sinks: Collect[] = []
  for (let i = 0; i < count; i++) {
    const sink = new Collect()
    sinks.push(sink)
    streams.push(peer.open(sink))
  }
  peer.frames()
  peer.send(raw.receipt(peer.written))
  return { peer, streams, sinks }
}

/** Leaves no room above the window: with small chunks of up to four streams, and the last bytes with two FINs. */
function fillRoom(peer: Peer, streams: readonly Stream[]): void {
  for (const [i, size] of [4000, 100, 1].entries()) while (streams[i]!.offer(Buffer.alloc(size)));
  streams[3]!.finish()
  streams[4]!.finish()
  peer.frames()
}

/** The peer has received everything that was written. */
const receiptAll = (peer: Peer) => peer.send(raw.receipt(peer.written))

describe('order', () => {
  test('DATA_INIT before DATA, FIN after', () => {
    const peer = new Peer({ opener: true })
    const stream = peer.open()
    stream.offer(Buffer.alloc(50_000))
    stream.finish()
    const types = typesOf(peer.frames()).filter(t => t !== PING)
    expect(types[0]).toBe(DATA_INIT)
    expect(types.slice(1, -1).every(t => t === DATA)).toBe(true)
    expect(types.at(-1)).toBe(FIN)
  })

  test('a stream that could not be announced yet sends nothing until it is', () => {
    const { peer, streams } = opened(5)
    fillRoom(peer, streams)
    const late = peer.open()
    late.offer(Buffer.from('early data'))
    late.finish()
    expect(peer.frames()).toEqual([])
    const wakes = peer.wakes
    receiptAll(peer)
    expect(peer.wakes).toBe(wakes + 1)
    const mine = peer.frames().filter(f => f[1] === late.id)
    expect(typesOf(mine)).toEqual([DATA_INIT, DATA, FIN])
  })

  test('a stream aborted before it was announced is never mentioned, and the ids after it are good', () => {
    const { peer, streams } = opened(5)
    fillRoom(peer, streams)
    const a = peer.open()
    const b = peer.open()
    a.offer(Buffer.from('x'))
    a.abort(RESET_CODE.ABORTED)
    let frames = peer.frames()
    receiptAll(peer)
    frames = frames.concat(peer.frames())
    expect(frames.filter(f => f[1] === a.id)).toEqual([])
    expect(typesOf(frames.filter(f => f[1] === b.id))).toEqual([DATA_INIT])
    peer.send(raw.data(b.id, 'answer'))
    expect(peer.over).toEqual([])
  })

  test('FIN and RESET go out while bulk fills the window', () => {
    const { peer, streams } = opened(3)
    streams[0]!.offer(Buffer.alloc(4_000_000))
    peer.frames()
    streams[1]!.finish()
    streams[2]!.abort(RESET_CODE.REFUSED)
    expect(typesOf(peer.frames())).toEqual([RESET, FIN])
  })
})

describe('small before bulk', () => {
  test('a small chunk goes out at once though bulk waits for the window', () => {
    const { peer, streams } = opened(9)
    for (const stream of streams.slice(0, 8)) stream.offer(Buffer.alloc(500_000))
    peer.frames()
    expect(streams[8]!.offer(Buffer.alloc(4096, 7))).toBe(true)
    expect(typesOf(peer.frames())).toEqual([DATA])
  })

  test('among frames of one turn the small stream is before the bulk that waited longer', () => {
    const { peer, streams } = opened(2)
    streams[0]!.offer(Buffer.alloc(2_000_000))
    peer.frames()
    // Fill the room for small ones, so that the next has to wait as well.
    while (streams[1]!.offer(Buffer.alloc(4096)));
    receiptAll(peer)
    const [first] = ofType(peer.frames(), DATA)
    expect(first![1]).toBe(streams[1]!.id)
  })

  test('a small chunk makes the session quick for it, but the end of a bulk stream does not', () => {
    const { peer, streams } = opened(2)
    const { turns } = peer.session
    streams[0]!.offer(Buffer.alloc(100_000))
    streams[0]!.offer(Buffer.alloc(100))
    expect(turns.smallSeen).toBe(false)
    streams[0]!.offer(Buffer.alloc(100))
    expect(turns.smallSeen).toBe(true)
    peer.frames()
    expect(turns.smallSeen).toBe(false)
    streams[1]!.offer(Buffer.alloc(100))
    expect(turns.smallSeen).toBe(true)
  })

  test('small streams get at most 64 KiB a turn while bulk waits', () => {
    const { peer, streams } = opened(101)
    streams[0]!.offer(Buffer.alloc(2_000_000))
    peer.frames()
    for (const stream of streams.slice(1)) while (stream.offer(Buffer.alloc(4000)));
    peer.frames()
    receiptAll(peer)
    let small = 0
    for (const f of ofType(peer.frames(), DATA)) {
      if (f[1] === streams[0]!.id) break
      small += (f[2] as Buffer).length
    }
    expect(small).toBeGreaterThan(32 * 1024)
    expect(small).toBeLessThanOrEqual(TUNING.smallTurn)
  })
})

describe('bulk in turns', () => {
  for (const count of [2, 3, 8, 40]) {
    test(`${count} streams share alike within 10 %`, () => {
      const { peer, streams, sinks } = opened(count, 16 * 1024 * 1024)
      const chunk = 300_000
      const sent = new Map<number, number>()
      streams.forEach((stream, i) => {
        sinks[i]!.onFree = () => stream.offer(Buffer.alloc(chunk))
        stream.offer(Buffer.alloc(chunk))
      })
      for (let total = 0; total < count * 4_000_000; ) {
        for (const [id, bytes] of shares(peer.frames())) {
          sent.set(id, (sent.get(id) ?? 0) + bytes)
          total += bytes
        }
        receiptAll(peer)
      }
      const all = [...sent.values()]
      expect(all).toHaveLength(count)
      expect(Math.min(...all) / Math.max(...all)).toBeGreaterThan(0.9)
    })
  }

  test('small chunks and large ones share alike when both always have enough to send', () => {
    const { peer, streams, sinks } = opened(2)
    const sizes = [20_000, 500_000]
    streams.forEach((stream, i) => {
      sinks[i]!.onFree = () => stream.offer(Buffer.alloc(sizes[i]!))
      for (let n = 0; n < 500_000; n += sizes[i]!) stream.offer(Buffer.alloc(sizes[i]!))
    })
    // What the first one sent before there was another does not count.
    peer.frames()
    receiptAll(peer)
    const sent = new Map<number, number>()
    for (let total = 0; total < 10_000_000; ) {
      for (const [id, bytes] of shares(peer.frames())) {
        sent.set(id, (sent.get(id) ?? 0) + bytes)
        total += bytes
      }
      receiptAll(peer)
    }
    expect(sent.get(streams[0]!.id)! / sent.get(streams[1]!.id)!).toBeGreaterThan(0.9)
    expect(sent.get(streams[0]!.id)! / sent.get(streams[1]!.id)!).toBeLessThan(1.1)
  })

  test('a stream whose peer gives no credit does not stop the others', () => {
    const peer = new Peer({ opener: true })
    const stuck = peer.open()
    const other = peer.open()
    stuck.offer(Buffer.alloc(500_000))
    peer.frames()
    receiptAll(peer)
    let sent = 0
    for (let i = 0; i < 50; i++) {
      other.offer(Buffer.alloc(40_000))
      sent += shares(peer.frames()).get(other.id) ?? 0
      peer.send(raw.receipt(peer.written), raw.credit(other.id, 40_000))
      sent += shares(peer.frames()).get(other.id) ?? 0
    }
    expect(sent).toBe(50 * 40_000)
  })
})

describe('in flight', () => {
  test('bulk stays within W, small within W + 128 KiB, control within its room', () => {
    const { peer, streams, sinks } = opened(20)
    const start = peer.written
    const flight = () => peer.written - start
    // A frame header of a split chunk may come on top.
    const headers = 16 * 20
    for (const stream of streams.slice(0, 10)) stream.offer(Buffer.alloc(500_000))
    peer.frames()
    expect(flight()).toBeLessThanOrEqual(TUNING.window + headers)
    expect(flight()).toBeGreaterThan(TUNING.window - TUNING.quantumMin)
    for (let i = 10; i < 20; i++) {
      sinks[i]!.onFree = () => streams[i]!.offer(Buffer.alloc(100))
      while (streams[i]!.offer(Buffer.alloc(100)));
    }
    peer.frames()
    expect(flight()).toBeLessThanOrEqual(TUNING.window + TUNING.smallRoom + headers)
    for (const stream of streams) stream.abort(RESET_CODE.ABORTED)
    expect(ofType(peer.frames(), RESET)).toHaveLength(20)
    expect(flight()).toBeLessThanOrEqual(TUNING.window + TUNING.smallRoom + TUNING.controlRoom)
  })

  test('a window that shrank below what is in flight sends nothing until that is receipted', () => {
    const { peer, streams } = opened(1)
    streams[0]!.offer(Buffer.alloc(1_000_000))
    peer.frames()
    peer.session.turns.window.size = 50_000
    peer.send(raw.receipt(100_000))
    expect(shares(peer.frames()).size).toBe(0)
    receiptAll(peer)
    expect(shares(peer.frames()).get(1)).toBeGreaterThan(40_000)
  })
})

describe('wake-ups', () => {
  test('one until transmit', () => {
    const peer = new Peer({ opener: true })
    const stream = peer.open()
    for (let i = 0; i < 10; i++) stream.offer(Buffer.from('x'))
    peer.send(raw.ping(1))
    expect(peer.wakes).toBe(1)
    peer.frames()
    stream.offer(Buffer.from('x'))
    expect(peer.wakes).toBe(2)
  })

  test('none for what a transmit has taken care of itself', () => {
    const { peer, streams, sinks } = opened(3)
    streams.forEach((stream, i) => {
      sinks[i]!.onFree = () => stream.offer(Buffer.alloc(300_000))
      stream.offer(Buffer.alloc(300_000))
    })
    const wakes = peer.wakes
    peer.frames()
    expect(peer.wakes).toBe(wakes)
  })

  test('a tunnel message that had no room is woken by the receipt that makes some', () => {
    const { peer, streams } = opened(5)
    fillRoom(peer, streams)
    for (const stream of streams) stream.abort(RESET_CODE.ABORTED)
    peer.frames()
    peer.session.send({ type: BIND, tunnel: { id: 1, name: 'db', port: null } })
    expect(peer.frames()).toEqual([])
    const wakes = peer.wakes
    receiptAll(peer)
    expect(peer.wakes).toBe(wakes + 1)
    expect(typesOf(peer.frames())).toEqual([BIND])
  })
})

describe('what need not wait for the end of a turn', () => {
  /** Lets the session push when it asks for it. */
  function pushing(room = Number.POSITIVE_INFINITY) {
    const pushes: number[][] = []
    const parts: Buffer[] = []
    let left = room
    const peer: Peer = new Peer({
      opener: true,
      peerFirstCredit: 16 * 1024 * 1024,
      events: {
        full: () => {
          const sizes: number[] = []
          const write = (b: Buffer, at: number, len: number): number => {
            const n = Math.min(len, left)
            left -= n
            sizes.push(n)
            parts.push(Buffer.from(b.subarray(at, at + n)))
            peer.written += n
            return n
          }
          peer.session.push(write, peer.now)
          pushes.push(sizes)
        },
      },
    })
    return { peer, pushes, pushed: () => Buffer.concat(parts) }
  }

  test('two blocks of bulk are written while they are offered, the last part of a block only by transmit', () => {
    const { peer, pushes, pushed } = pushing()
    const stream = peer.open()
    peer.frames()
    peer.send(raw.receipt(peer.written))
    peer.session.turns.window.size = 1024 * 1024
    stream.offer(Buffer.alloc(200_000, 1))
    expect(pushes).toEqual([])
    stream.offer(Buffer.alloc(150_000, 2))
    expect(pushes).toEqual([[TUNING.block, TUNING.block]])
    const frames = ofType(readFrames(Buffer.concat([pushed(), peer.bytes()])), DATA)
    const sent = Buffer.concat(frames.map(f => f[2] as Buffer))
    expect(sent.equals(Buffer.alloc(350_000, 2).fill(1, 0, 200_000))).toBe(true)
  })

  test('a receipt for more than a mebibyte, though its reader is still in the middle of a turn', () => {
    const { peer, pushes, pushed } = pushing()
    peer.frames()
    const ping = raw.ping(1)
    const pings = Buffer.concat(Array.from({ length: TUNING.receiptAtOnce / ping.length / 2 + 1 }, () => ping))
    const wakes = peer.wakes
    peer.send(pings)
    expect(pushes).toEqual([])
    expect(peer.wakes).toBe(wakes + 1)
    peer.send(pings)
    expect(pushes.length).toBe(1)
    expect(ofType(readFrames(pushed()), RECEIPT)).toEqual([[RECEIPT, 0, peer.session.position()]])
    expect(ofType(peer.frames(), RECEIPT)).toEqual([])
  })

  test('nothing more to a connection that is blocked, and nothing of a session that is over', () => {
    const { peer, pushes } = pushing(TUNING.block + 1)
    const stream = peer.open()
    peer.frames()
    peer.send(raw.receipt(peer.written))
    stream.offer(Buffer.alloc(TUNING.window))
    expect(pushes).toEqual([[TUNING.block, 1]])
    expect(peer.session.push(() => expect.unreachable(), peer.now)).toBe(false)

    const over = pushing().peer
    over.send(Buffer.alloc(0))
    over.session.close(7, '')
    expect(over.session.push(() => expect.unreachable(), over.now)).toBe(true)
  })
})

describe('a blocked connection', () => {
  test('takes no more PONGs than one, however many PINGs come', () => {
    const peer = new Peer()
    peer.frames()
    peer.room = 0
    for (let i = 1; i <= 10_000; i++) {
      peer.send(raw.ping(i))
      peer.bytes()
    }
    peer.room = Number.POSITIVE_INFINITY
    // One may have been written already when the connection blocked.
    const pongs = ofType(peer.frames(), PONG)
    expect(pongs.length).toBeLessThanOrEqual(2)
    expect(pongs.at(-1)).toEqual([PONG, 0, 10_000])
  })

  test('names in its RECEIPT what has arrived by the time that it goes out', () => {
    const peer = new Peer()
    peer.accept(1)
    peer.frames()
    peer.room = 0
    peer.send(raw.ping(1))
    peer.bytes()
    const { sink } = peer.accepted[0]!
    for (let i = 0; i < 100; i++) {
      sink.appetite = 100_000
      peer.send(raw.data(1, Buffer.alloc(500)))
      peer.now += 26
      peer.session.tick(peer.now)
      peer.bytes()
    }
    peer.room = Number.POSITIVE_INFINITY
    const receipts = ofType(peer.frames(), RECEIPT)
    expect(receipts).toEqual([[RECEIPT, 0, peer.session.position()]])
  })

  test('what comes later is small before bulk all the same', () => {
    const { peer, streams } = opened(2)
    peer.room = 100
    streams[0]!.offer(Buffer.alloc(20_000))
    peer.bytes()
    for (let i = 0; i < 5; i++) streams[0]!.offer(Buffer.alloc(200_000))
    streams[1]!.offer(Buffer.from('quick'))
    peer.room = Number.POSITIVE_INFINITY
    const bytes = peer.bytes()
    // The rest of the frame that was cut comes first; the small one follows within the first window.
    expect(bytes.indexOf('quick')).toBeLessThan(TUNING.window)
    expect(bytes.indexOf('quick')).toBeGreaterThan(0)
  })
})

describe('the reserve for receipts', () => {
  /** Two sessions whose rings are as full as anything but receipts can make them: do they come out of that? */
  function resolves(reserve: number): boolean {
    const tuning = TUNING as { receiptRoom: number }
    const before = tuning.receiptRoom
    tuning.receiptRoom = reserve
    try {
      const relay = new Peer({ opener: true, peerFirstCredit: 16 * 1024 * 1024 })
      const agent = new Peer()
      const wires: Buffer[][] = [[], []]
      const write = () => {
        wires[0]!.push(relay.bytes())
        wires[1]!.push(agent.bytes())
      }
      const read = () => {
        for (const bytes of wires[0]!.splice(0)) if (bytes.length > 0) agent.send(bytes)
        for (const bytes of wires[1]!.splice(0)) if (bytes.length > 0) relay.send(bytes)
        for (const side of [relay, agent]) {
          side.now += 30
          side.session.tick(side.now)
        }
      }
      const mine: Stream[] = []
      while (mine.length < 7000) {
        mine.push(relay.open(), relay.open(), relay.open(), relay.open())
        write()
        read()
      }
      for (let i = 0; i < 10; i++) {
        write()
        read()
      }
      const theirs = agent.accepted.map(a => a.stream)
      expect(theirs).toHaveLength(7000)
      for (const [side, streams] of [
        [relay, mine],
        [agent, theirs],
      ] as const) {
        side.session.turns.window.size = TUNING.windowMax
        for (const stream of streams.slice(0, 4)) {
          stream.sendCredit = 16 * 1024 * 1024
          stream.receiveCredit = 16 * 1024 * 1024
        }
        for (const stream of streams.slice(0, 2)) stream.offer(Buffer.alloc(16 * 1024 * 1024 - 1))
        write()
        for (let turn = 0; turn < 4; turn++) {
          while (streams[2]!.offer(Buffer.alloc(4096)));
          write()
        }
        while (streams[3]!.offer(Buffer.alloc(1)));
        // Control to the brim: 11 bytes a stream.
        for (const stream of streams.slice(4)) {
          stream.finish()
          if (reserve < 0) write()
        }
        write()
      }
      for (let i = 0; i < 100; i++) {
        read()
        write()
      }
      return relay.session.streams < 10
    } finally {
      tuning.receiptRoom = before
    }
  }

  test('two full rings empty each other', () => {
    expect(resolves(TUNING.receiptRoom)).toBe(true)
  })

  test('and would not without it', () => {
    // The margin that keeps a RESET with its text inside the room is taken away too.
    expect(resolves(-LIMIT.text * 2)).toBe(false)
  })
})
