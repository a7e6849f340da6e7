// What the system knows of a long path when a lost packet holds the receipts up: when a session asks for it, and what it
// does with the answer. And when receipts are due, which is what the window of the other side waits for.
import { describe, expect, test } from 'bun:test'
import { TUNING } from '../../src/frame/index.ts'
import { DATA, PING, RECEIPT } from '../../src/frame/wire.ts'
import { ofType, Peer, raw } from './peer.ts'

const RTT = 100

/** A session that opens, `rtt` away, with a bulk stream that fills the window; nothing of it is receipted. */
function full(rtt = RTT) {
  const peer = new Peer({ opener: true, peerFirstCredit: 16 * 1024 * 1024, deadAfter: 60_000 })
  const stream = peer.open()
  const ping = ofType(peer.frames(), PING)[0]!
  peer.now += rtt
  peer.send(raw.pong(ping[2] as number), raw.receipt(peer.written))
  peer.frames()
  stream.offer(Buffer.alloc(20_000_000))
  peer.frames()
  expect(peer.session.turns.backlogged).toBe(true)
  return { peer, stream }
}

const payload = (peer: Peer): number =>
  ofType(peer.frames(), DATA).reduce((sum, frame) => sum + (frame[2] as Buffer).length, 0)

describe('what the system says', () => {
  test('makes room in the window at once, and not twice', () => {
    const { peer } = full()
    const wakes = peer.wakes
    peer.session.confirm(100_000, peer.now)
    expect(peer.wakes).toBe(wakes + 1)
    const sent = payload(peer)
    expect(sent).toBeGreaterThan(TUNING.window - 100_000 - 16_384)
    expect(sent).toBeLessThan(TUNING.window - 100_000)
    peer.session.confirm(100_000 + sent + 16, peer.now)
    expect(payload(peer)).toBe(0)
  })

  test('makes none in the ring: no more is kept than the window may ever be', () => {
    const { peer } = full()
    for (let i = 0; i < 200; i++) {
      peer.now += 10
      peer.session.confirm(0, peer.now)
      payload(peer)
    }
    const { ring } = peer.session.turns
    expect(ring.inFlight).toBeGreaterThan(TUNING.windowMax - TUNING.quantumMax)
    expect(ring.inFlight).toBeLessThanOrEqual(TUNING.windowMax)
  })

  test('nothing missing, or nobody to ask: receipts say it all', () => {
    const { peer } = full()
    const wakes = peer.wakes
    peer.session.confirm(Number.POSITIVE_INFINITY, peer.now)
    peer.session.confirm(-1, peer.now)
    expect(peer.wakes).toBe(wakes)
    expect(payload(peer)).toBe(0)
  })

  test('is of one connection only', () => {
    const { peer } = full()
    const { ring } = peer.session.turns
    peer.session.confirm(0, peer.now)
    peer.session.detach()
    peer.session.attach(ring.tail, peer.now)
    expect(peer.session.turns.window.room(ring.head)).toBe(TUNING.window - ring.inFlight)
    expect(peer.session.asks(peer.now + 1000)).toBe(false)
  })
})

describe('the system is asked', () => {
  test('never before a carrier has said that it can be', () => {
    const { peer } = full()
    expect(peer.session.asks(peer.now + 1000)).toBe(false)
    peer.session.confirm(-1, peer.now)
    expect(peer.session.asks(peer.now + 1000)).toBe(false)
  })

  test('some times a round trip, by a deadline that no receipt has to come for', () => {
    const { peer } = full()
    peer.session.confirm(Number.POSITIVE_INFINITY, peer.now)
    expect(peer.session.asks(peer.now)).toBe(false)
    const next = peer.session.deadline()
    expect(next - peer.now).toBeLessThanOrEqual(RTT / 10)
    expect(next - peer.now).toBeGreaterThanOrEqual(2)
    expect(peer.session.asks(next)).toBe(true)
  })

  test('long ago, while nothing waited, is no lateness of this process', () => {
    const { peer } = full()
    peer.session.confirm(Number.POSITIVE_INFINITY, peer.now)
    while (peer.session.turns.backlogged) {
      peer.now += RTT
      peer.send(raw.receipt(peer.written))
      peer.frames()
    }
    const heard = peer.now
    const until = (time: number) => {
      while (!peer.session.isOver && peer.session.deadline() < time) {
        peer.now = Math.max(peer.now, peer.session.deadline())
        if (peer.session.asks(peer.now)) peer.session.confirm(Number.POSITIVE_INFINITY, peer.now)
        peer.session.tick(peer.now)
        peer.frames()
      }
      peer.now = time
    }
    until(heard + 50_000)
    peer.open().offer(Buffer.alloc(20_000_000))
    peer.frames()
    expect(peer.session.asks(peer.now + 1000)).toBe(true)
    until(heard + 59_990)
    expect(peer.over).toHaveLength(0)
    until(heard + 60_100)
    expect(peer.over).toHaveLength(1)
  })

  test('not near by, and not without a backlog', () => {
    const near = full(1).peer
    near.session.confirm(Number.POSITIVE_INFINITY, near.now)
    expect(near.session.asks(near.now + 1000)).toBe(false)
    const { peer, stream } = full()
    peer.session.confirm(Number.POSITIVE_INFINITY, peer.now)
    stream.abort(0)
    peer.frames()
    expect(peer.session.asks(peer.now + 1000)).toBe(false)
  })
})

describe('a receipt is due', () => {
  function received(bytes: number) {
    const peer = new Peer({ deadAfter: 60_000 })
    peer.frames()
    peer.accept(1)
    peer.now += TUNING.receiptDelay
    peer.session.tick(peer.now)
    peer.frames()
    for (let left = bytes; left > 0; left -= 1000) peer.send(raw.data(1, Buffer.alloc(Math.min(left, 1000))))
    return peer
  }
  const receiptsAfter = (peer: Peer, ms: number): number => {
    peer.session.tick(peer.now + ms)
    return ofType(peer.frames(), RECEIPT).length
  }

  test('soon, once 32 KiB have come, so that a slow link is not filled with what covers a late one', () => {
    expect(receiptsAfter(received(40_000), TUNING.receiptSoon)).toBe(1)
    expect(receiptsAfter(received(40_000), TUNING.receiptSoon - 1)).toBe(0)
  })

  test('later for less', () => {
    expect(receiptsAfter(received(20_000), TUNING.receiptSoon)).toBe(0)
    expect(receiptsAfter(received(20_000), TUNING.receiptDelay)).toBe(1)
  })
})
