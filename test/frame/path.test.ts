// A path that becomes longer under a session: bulk waits until the path is empty, a PING measures it, and all that is not
// bulk goes on meanwhile. When that is done, and what is made of it, is the window's (window.test.ts).
import { describe, expect, test } from 'bun:test'
import { DATA, PING } from '../../src/frame/wire.ts'
import { ofType, Peer, raw } from './peer.ts'

const BEFORE = 20
const AFTER = 100

/** A session with bulk in flight, and with more of it waiting where that does not take all, whose window has seen twelve round trips of the longer path. */
function doubting(bytes = 8_000_000) {
  const peer = new Peer({ opener: true, peerFirstCredit: 16 * 1024 * 1024, deadAfter: 60_000 })
  const bulk = peer.open()
  const small = peer.open()
  const opaque = ofType(peer.frames(), PING)[0]![2] as number
  peer.now += BEFORE
  peer.send(raw.pong(opaque), raw.receipt(peer.written))
  peer.frames()
  bulk.offer(Buffer.alloc(bytes))
  peer.frames()
  const { ring, window } = peer.session.turns
  peer.now += 1000
  for (let i = 0; i < 12; i++) window.roundTrip(AFTER, ring.head, peer.now)
  return { peer, bulk, small, opaque }
}

const streams = (peer: Peer): number[] => ofType(peer.frames(), DATA).map(frame => frame[1])

describe('while the path is measured', () => {
  test('bulk waits, also where there is room; what is small does not', () => {
    const { peer, bulk, small } = doubting()
    peer.send(raw.receipt(peer.written - 1))
    expect(streams(peer)).toEqual([])
    small.offer(Buffer.from('now'))
    expect(streams(peer)).toEqual([small.id])
    const fresh = peer.open()
    fresh.offer(Buffer.alloc(100_000))
    expect(streams(peer)).toEqual([])
    expect(bulk.backlog).toBeGreaterThan(0)
  })

  test('nor does fresh bulk go past it when none waits', () => {
    const { peer, bulk } = doubting(100_000)
    expect(bulk.backlog).toBe(0)
    bulk.offer(Buffer.alloc(20_000))
    expect(streams(peer)).toEqual([])
  })

  test('a PING goes once all that was in flight has arrived, three at most, and then bulk goes on', () => {
    const { peer, bulk, opaque } = doubting()
    const { window } = peer.session.turns
    peer.send(raw.receipt(peer.written - 1))
    expect(peer.frames()).toEqual([])
    peer.send(raw.receipt(peer.written))
    for (let i = 1; i <= 3; i++) {
      const frames = peer.frames()
      expect(frames.map(frame => frame[0])).toEqual([PING])
      expect(frames[0]![2]).toBeGreaterThan(opaque)
      expect(window.draining).toBe(true)
      peer.now += AFTER
      peer.send(raw.pong(frames[0]![2] as number))
    }
    expect(window.rtt).toBe(AFTER)
    expect(new Set(streams(peer))).toEqual(new Set([bulk.id]))
  })

  test('one round trip of the shorter path is enough to go on', () => {
    const { peer, bulk } = doubting()
    peer.send(raw.receipt(peer.written))
    const ping = ofType(peer.frames(), PING)[0]!
    peer.now += BEFORE
    peer.send(raw.pong(ping[2] as number))
    expect(peer.session.turns.window.rtt).toBe(BEFORE)
    expect(new Set(streams(peer))).toEqual(new Set([bulk.id]))
  })

  test('a round trip on whose way back the peer sends bulk counts for nothing', () => {
    for (const [bytes, rtt] of [
      [5000, BEFORE],
      [3000, AFTER],
    ] as const) {
      const { peer } = doubting()
      const { window } = peer.session.turns
      peer.send(raw.receipt(peer.written))
      for (let trip = 0; trip < 3 && window.draining; trip++) {
        const ping = ofType(peer.frames(), PING)[0]!
        peer.now += AFTER
        peer.send(raw.data(1, Buffer.alloc(bytes)), raw.pong(ping[2] as number))
      }
      expect(window.draining).toBe(false)
      expect(window.rtt).toBe(rtt)
    }
  })

  test('the system may say that all has arrived before a receipt does', () => {
    const { peer } = doubting()
    peer.session.confirm(0, peer.now)
    expect(peer.frames().map(frame => frame[0])).toEqual([PING])
  })

  test('what no receipt confirms soon, as a PING on an idle session, is not waited for', () => {
    const peer = new Peer({ opener: true, peerFirstCredit: 16 * 1024 * 1024, deadAfter: 60_000 })
    const bulk = peer.open()
    let after = BEFORE
    const answered = (): boolean => {
      const ping = ofType(peer.frames(), PING)[0]
      if (ping === undefined) return false
      peer.now += after
      peer.send(raw.pong(ping[2] as number))
      return true
    }
    expect(answered()).toBe(true)
    peer.send(raw.receipt(peer.written))
    after = AFTER
    const { window } = peer.session.turns
    for (let i = 0; i < 100 && !window.draining; i++) {
      peer.now = peer.session.deadline()
      peer.session.tick(peer.now)
      answered()
    }
    expect(window.draining).toBe(true)
    bulk.offer(Buffer.alloc(100_000))
    // No clock moves but for the way there and back, and no receipt comes.
    for (let trip = 0; trip < 3; trip++) expect(answered()).toBe(true)
    expect(window.rtt).toBe(AFTER)
    expect(new Set(streams(peer))).toEqual(new Set([bulk.id]))
  })

  test('another connection ends it', () => {
    const { peer, bulk } = doubting()
    const { ring } = peer.session.turns
    peer.session.detach()
    peer.session.attach(ring.head, peer.now)
    expect(new Set(streams(peer))).toEqual(new Set([bulk.id]))
  })
})
