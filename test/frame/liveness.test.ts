// Who is dead, and when: silence for five seconds, told from a process that was itself held up.
import { describe, expect, test } from 'bun:test'
import { SESSION_CODE } from '../../src/frame/index.ts'
import { Liveness } from '../../src/frame/liveness.ts'
import { PING, PONG } from '../../src/frame/wire.ts'
import { ofType, Peer, raw } from './peer.ts'

/** As the carrier does: one timer at the session's deadline, set anew after everything that may move it. */
function sleepUntil(peer: Peer, time: number, late = 0): void {
  for (let i = 0; i < 10_000; i++) {
    const due = Math.max(peer.session.deadline(), peer.now)
    if (due + late > time) break
    peer.now = due + late
    peer.session.tick(peer.now)
    peer.bytes()
  }
  peer.now = time
}

describe('a silent peer', () => {
  for (const deadAfter of [5000, 1000, 300, 60_000]) {
    test(`is dead after ${deadAfter} ms, and not before`, () => {
      const peer = new Peer({ deadAfter })
      peer.frames()
      sleepUntil(peer, deadAfter - 0.001)
      expect(peer.over).toEqual([])
      sleepUntil(peer, deadAfter * 1.1)
      expect(peer.over).toEqual([{ by: 'silence', code: SESSION_CODE.DEAD, text: `silent for ${deadAfter} ms` }])
    })
  }

  test('is found by timers that come a little late each time', () => {
    const peer = new Peer()
    peer.frames()
    sleepUntil(peer, 5500, 3.7)
    expect(peer.session.isOver).toBe(true)
  })

  test('is found by timers that come a little late each time, however many they are', () => {
    const liveness = new Liveness(1500, 0)
    let now = 0
    for (let verdict = 'alive'; verdict !== 'dead' && now < 5000; ) {
      if (!liveness.suspect) liveness.promised = Math.min(liveness.deadline, now + 1.25)
      now = liveness.promised + 0.9
      verdict = liveness.check(now)
    }
    expect(now).toBeGreaterThanOrEqual(1500)
    expect(now).toBeLessThan(1510)
  })

  test('is asked by a PING each eighth of the time', () => {
    const peer = new Peer({ deadAfter: 4000 })
    let asked = ofType(peer.frames(), PING).length
    for (let now = 1; now < 4000; now++) {
      peer.now = now
      if (peer.session.deadline() <= now) peer.session.tick(now)
      asked += ofType(peer.frames(), PING).length
    }
    expect(asked).toBe(8)
  })

  test('counts from the last byte, also one in the middle of a frame', () => {
    const peer = new Peer()
    peer.frames()
    const bytes = raw.ping(1)
    for (let i = 0; i < bytes.length; i++) {
      sleepUntil(peer, peer.now + 4900)
      peer.send(bytes.subarray(i, i + 1))
    }
    expect(peer.over).toEqual([])
    const from = peer.now
    sleepUntil(peer, from + 4999)
    expect(peer.over).toEqual([])
    sleepUntil(peer, from + 5500)
    expect(peer.session.isOver).toBe(true)
  })

  test('a deadline that moved because the peer was heard is no lateness of ours', () => {
    const peer = new Peer()
    peer.frames()
    sleepUntil(peer, 1000)
    // 1,250 was the deadline; now it is 1,625, and a tick that comes then is in time.
    peer.send(raw.ping(1))
    peer.frames()
    sleepUntil(peer, 5990)
    expect(peer.over).toEqual([])
    sleepUntil(peer, 6100)
    expect(peer.session.isOver).toBe(true)
  })
})

describe('this process held up', () => {
  test('for 4 s: no alarm, and the peer gets its time', () => {
    const peer = new Peer()
    peer.frames()
    sleepUntil(peer, 1200)
    // The tick of 1250 comes at 5250.
    peer.now = 5250
    peer.session.deadline()
    peer.session.tick(peer.now)
    peer.session.tick(peer.now + 1)
    expect(peer.over).toEqual([])
    sleepUntil(peer, 8900)
    expect(peer.over).toEqual([])
    sleepUntil(peer, 9600)
    expect(peer.session.isOver).toBe(true)
  })

  test('for a minute: what lies unread in the socket counts, however the ticks come first', () => {
    const peer = new Peer()
    peer.frames()
    sleepUntil(peer, 4999.9)
    peer.now = 65_000
    peer.session.tick(peer.now)
    expect(peer.over).toEqual([])
    peer.send(raw.pong(99))
    peer.session.tick(peer.now + 1)
    sleepUntil(peer, peer.now + 4900)
    expect(peer.over).toEqual([])
  })

  test('between the first and the second tick of a suspicion: it needs another', () => {
    const peer = new Peer()
    peer.frames()
    // Up to the suspicion, at 5,000 exactly.
    let due = peer.session.deadline()
    while (peer.now < 5000) {
      peer.now = due
      due = peer.session.tick(due)
    }
    expect(peer.over).toEqual([])
    expect(due).toBeLessThan(5100)
    // Asked again, by whoever sets the timer anew, it is the same.
    expect(peer.session.deadline()).toBe(due)
    // Timers run before the sockets are polled, so this tick may come with answers unread.
    peer.now = 9000
    peer.session.tick(peer.now)
    expect(peer.over).toEqual([])
    peer.send(raw.ping(1))
    sleepUntil(peer, 13_900)
    expect(peer.over).toEqual([])
  })

  test('one tick never kills', () => {
    for (const at of [5000, 5001, 6000, 1e6]) {
      const peer = new Peer()
      peer.session.tick(at)
      expect(peer.over).toEqual([])
    }
  })

  test('ticks that come too early do nothing', () => {
    const peer = new Peer()
    peer.frames()
    for (let now = 0; now < 624; now += 0.5) {
      peer.session.tick(now)
      peer.now = now
      expect(peer.bytes()).toHaveLength(0)
    }
  })
})

describe('a peer held up for 4 s', () => {
  test('is not taken for silent, at whatever moment between two PINGs that began', () => {
    const roundTrip = 100
    for (let began = 0; began <= 2500; began += 25) {
      const peer = new Peer()
      const resumes = began + 4000
      // Answers to PINGs are on their way back; those asked while it is held up all come when it is not.
      const answers: { at: number; opaque: number }[] = []
      while (peer.now < 10_000) {
        for (const ping of ofType(peer.frames(), PING)) {
          const arrived = peer.now + roundTrip / 2
          const answered = arrived < began || arrived >= resumes ? arrived : resumes
          answers.push({ at: answered + roundTrip / 2, opaque: Number(ping[2]) })
        }
        const next = answers[0]
        peer.now = Math.min(peer.session.deadline(), next?.at ?? Number.POSITIVE_INFINITY)
        if (next?.at === peer.now) peer.send(raw.pong(answers.shift()!.opaque))
        else peer.session.tick(peer.now)
      }
      expect({ began, over: peer.over }).toEqual({ began, over: [] })
    }
  })
})

describe('two idle sessions', () => {
  test('exchange a PING each eighth, and neither dies in an hour', () => {
    const sides = [new Peer({ opener: true }), new Peer()]
    let pings = 0
    let bytes = 0
    for (let now = 0; now < 3_600_000; ) {
      for (const side of sides) side.now = now
      for (const side of sides) if (side.session.deadline() <= now) side.session.tick(now)
      for (let i = 0; i < 6; i++) {
        for (const [from, to] of [
          [sides[0]!, sides[1]!],
          [sides[1]!, sides[0]!],
        ] as const) {
          const sent = from.bytes()
          bytes += sent.length
          if (sent.length === 0) continue
          for (let at = 0; at < sent.length; at += 4 + sent.readUInt32BE(at)) if (sent[at + 5] === PING) pings++
          to.send(sent)
        }
      }
      now = Math.max(now, Math.min(sides[0]!.session.deadline(), sides[1]!.session.deadline()))
    }
    expect(sides.map(s => s.over)).toEqual([[], []])
    const eighths = 3_600_000 / 625
    expect(pings).toBeGreaterThan(eighths * 0.9)
    expect(pings).toBeLessThan(eighths * 2.2)
    // 24 bytes a PING and its PONG, and now and then a receipt.
    expect(bytes).toBeLessThan(eighths * 2.2 * 28)
  })
})

describe('round trips', () => {
  test('three at the start, each measured exactly', () => {
    const measured: number[] = []
    const peer = new Peer({ events: { roundTrip: ms => measured.push(ms) } })
    for (const ms of [40, 17.5, 23]) {
      const [ping] = ofType(peer.frames(), PING)
      peer.now += ms
      peer.send(raw.pong(Number(ping![2])))
    }
    expect(measured).toEqual([40, 17.5, 23])
    expect(ofType(peer.frames(), PING)).toEqual([])
    expect(peer.session.turns.window.rtt).toBe(17.5)
    expect(peer.session.turns.window.lastRtt).toBe(23)
  })

  test('a PONG that was not asked for, or comes twice, measures nothing', () => {
    const measured: number[] = []
    const peer = new Peer({ events: { roundTrip: ms => measured.push(ms) } })
    for (const n of [0, 1, 2, 7, 8, 0xffff_ffff]) peer.send(raw.pong(n))
    expect(measured).toEqual([])
    const [ping] = ofType(peer.frames(), PING)
    peer.now = 5
    peer.send(raw.pong(Number(ping![2])), raw.pong(Number(ping![2])))
    expect(measured).toEqual([5])
  })

  test('every second while something is not receipted', () => {
    const peer = new Peer({ opener: true, deadAfter: 60_000 })
    const stream = peer.open()
    stream.offer(Buffer.from('x'))
    let pings = 0
    for (let now = 0; now <= 10_000; now += 5) {
      peer.now = now
      if (peer.session.deadline() <= now) peer.session.tick(now)
      for (const ping of ofType(peer.frames(), PING)) {
        pings++
        peer.send(raw.pong(Number(ping[2])))
      }
    }
    expect(pings).toBeGreaterThanOrEqual(12)
    expect(pings).toBeLessThanOrEqual(14)
  })

  test('each PING is answered with its own number', () => {
    const peer = new Peer()
    peer.frames()
    for (const n of [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
      peer.send(raw.ping(n))
      expect(ofType(peer.frames(), PONG)).toEqual([[PONG, 0, n]])
    }
  })
})
