// The window in flight on simulated links: it finds the link's rate within some round trips, stays near it, and no
// burst, stall or pause of receipts talks it into more.
import { describe, expect, test } from 'bun:test'
import { TUNING } from '../../src/frame/index.ts'
import { Window } from '../../src/frame/window.ts'
import { Random } from '../oracle/random.ts'

type Shape = {
  /** Bytes per ms. */
  rate: number
  /** Round trip of an empty link, in ms. */
  rtt: number
  /** Added to each receipt's way, at random up to so many ms. */
  jitter?: number
  /** From `stallEvery` ms to `stallEvery + stall` ms nothing is handed to the sender; then all of it, `burst` at a time. */
  stallEvery?: number
  stall?: number
  /** Receipts that wait are handed on this many to one call, the next ones in the next ms; Infinity: all at once. */
  burst?: number
  /** The sender's system tells it every few ms what has arrived, whatever holds the receipts up. */
  told?: true
  /** A PING a second, behind everything that was sent. */
  pings?: true
  /** How much the application sends: `full` has always more, otherwise bytes per ms. */
  app?: 'full' | number
}

/** One direction of a link with a queue that never drops, in steps of 1 ms. */
class Link {
  readonly window = new Window()
  now = 0
  readonly #random: Random
  #head = 0
  #tail = 0
  #queued = 0
  #credit = 0
  #arrived = 0
  #receipted = 0
  #unreceiptedSince = -1
  #soonSince = -1
  readonly #flying: { at: number; upTo: number }[] = []
  readonly #known: { at: number; count: number }[] = []
  readonly #receipts: { at: number; position: number }[] = []
  readonly #pings: { sentAt: number; behind: number; backAt: number }[] = []
  #offered = 0
  maxWindow = 0

  constructor(
    readonly shape: Shape,
    seed = 1,
  ) {
    this.#random = new Random(seed)
    for (let i = 0; i < 3; i++) this.window.roundTrip(shape.rtt + this.#random.between(0, shape.jitter ?? 0), 0, 0)
  }

  get bdp(): number {
    return this.shape.rate * this.shape.rtt
  }

  get delivered(): number {
    return this.#arrived
  }

  run(ms: number): void {
    for (const end = this.now + ms; this.now < end; this.now++) this.#step()
  }

  #step(): void {
    const {
      rate,
      rtt,
      jitter = 0,
      stallEvery = 0,
      stall = 0,
      burst = Number.POSITIVE_INFINITY,
      app = 'full',
    } = this.shape
    const { now } = this
    // The sender takes the receipts that are there.
    const stalled = stallEvery > 0 && now % stallEvery < stall && now >= stallEvery
    if (!stalled) {
      let taken = 0
      let moved = false
      while (taken < burst && this.#receipts.length > 0 && this.#receipts[0]!.at <= now) {
        this.#tail = Math.max(this.#tail, this.#receipts.shift()!.position)
        taken++
        moved = true
      }
      const room = this.window.size - (this.#head - this.#tail)
      const waiting = app === 'full' ? room < 2 * rate * rtt + this.window.size : this.#offered > room
      if (moved) this.window.arrive(this.#tail, this.#head, app === 'full' ? true : waiting, now)
    }
    if (this.shape.told && now % 4 === 0) {
      let count = -1
      while (this.#known.length > 0 && this.#known[0]!.at <= now) count = this.#known.shift()!.count
      if (count >= 0) this.window.arrive(count, this.#head, true, now)
    }
    if (app !== 'full') this.#offered += app
    if (this.shape.pings) this.#ping()
    let send = this.window.draining ? 0 : Math.max(0, this.window.room(this.#head))
    if (app !== 'full') send = Math.min(send, this.#offered)
    if (app !== 'full') this.#offered -= send
    this.#head += send
    this.#queued += send
    // The link carries them.
    this.#credit = Math.min(this.#credit + rate, rate * 2)
    const carried = Math.min(this.#queued, Math.floor(this.#credit))
    if (carried > 0) {
      this.#queued -= carried
      this.#credit -= carried
      this.#flying.push({ at: now + rtt / 2, upTo: this.#head - this.#queued })
    }
    while (this.#flying.length > 0 && this.#flying[0]!.at <= now) {
      this.#arrived = this.#flying.shift()!.upTo
      if (this.shape.told) this.#known.push({ at: now + rtt / 2, count: this.#arrived })
      if (this.#unreceiptedSince < 0) this.#unreceiptedSince = now
    }
    for (const ping of this.#pings) {
      if (ping.backAt === Number.POSITIVE_INFINITY && this.#arrived >= ping.behind)
        ping.backAt = Math.max(now, ping.sentAt + rtt / 2) + rtt / 2
    }
    // The receiver answers.
    const owed = this.#arrived - this.#receipted
    if (owed >= TUNING.receiptSoonBytes && this.#soonSince < 0) this.#soonSince = now
    const late = this.#soonSince >= 0 && now - this.#soonSince >= TUNING.receiptSoon
    if (owed >= TUNING.receiptBytes || late || (owed > 0 && now - this.#unreceiptedSince >= TUNING.receiptDelay)) {
      this.#soonSince = -1
      this.#receipted = this.#arrived
      this.#unreceiptedSince = -1
      const at = now + rtt / 2 + this.#random.between(0, jitter)
      const last = this.#receipts[this.#receipts.length - 1]
      this.#receipts.push({ at: Math.max(at, last?.at ?? 0), position: this.#arrived })
    }
    if (this.window.size > this.maxWindow) this.maxWindow = this.window.size
  }

  #ping(): void {
    const { now } = this
    while (this.#pings.length > 0 && this.#pings[0]!.backAt <= now) {
      this.window.roundTrip(now - this.#pings.shift()!.sentAt, this.#head, now)
    }
    if (now % 1000 !== 0 && !this.window.takePing()) return
    this.#pings.push({ sentAt: now, behind: this.#head, backAt: Number.POSITIVE_INFINITY })
  }
}

const slack = (rate: number) => Math.min(256 * 1024, Math.max(32 * 1024, rate * 50))
/** Links from a modem to a data centre: rate in bytes per ms. */
const LINKS = [
  { rate: 1250, rtt: 1 },
  { rate: 1250, rtt: 20 },
  { rate: 1250, rtt: 100 },
  { rate: 12_500, rtt: 20 },
  { rate: 12_500, rtt: 80 },
  { rate: 12_500, rtt: 300 },
  { rate: 50_000, rtt: 40 },
  { rate: 125_000, rtt: 5 },
  { rate: 125_000, rtt: 60 },
]

for (const link of LINKS) {
  const name = `${(link.rate * 8) / 1000} Mbit/s, ${link.rtt} ms`
  describe(name, () => {
    const bdp = link.rate * link.rtt
    // Receipts are as much as 25 ms late, and a window that is too small is measured with that.
    const most = 2.5 * bdp + slack(link.rate) + link.rate * TUNING.receiptDelay * 1.25

    test('finds the link within some 20 round trips and keeps to it', () => {
      const sim = new Link(link)
      sim.run(Math.max(22 * link.rtt, 22 * TUNING.receiptDelay))
      expect(sim.window.size).toBeGreaterThanOrEqual(Math.min(bdp, TUNING.windowMax))
      sim.run(20 * link.rtt + 2000)
      expect(sim.window.size).toBeLessThanOrEqual(Math.max(most, TUNING.window))
      const from = sim.delivered
      sim.run(1000)
      expect((sim.delivered - from) / 1000).toBeGreaterThan(link.rate * 0.95)
    })

    test('receipts that jitter do not grow it without bound', () => {
      for (let seed = 1; seed <= 5; seed++) {
        const sim = new Link({ ...link, jitter: 15 }, seed)
        sim.run(20_000)
        expect(sim.maxWindow).toBeLessThanOrEqual(Math.max(most + link.rate * 15 * 2, TUNING.window))
        expect(sim.window.size).toBeGreaterThanOrEqual(Math.min(bdp, TUNING.windowMax))
      }
    })

    for (const burst of [1, 3, Number.POSITIVE_INFINITY]) {
      test(`stalls of half a second, then ${burst} receipt(s) at a time, do not either`, () => {
        const sim = new Link({ ...link, stallEvery: 2000, stall: 500, burst })
        sim.run(20_000)
        expect(sim.maxWindow).toBeLessThanOrEqual(Math.max(most, TUNING.window))
      })
    }
  })
}

describe('an application that sends little', () => {
  test('does not shrink the window', () => {
    const shape: Shape = { rate: 12_500, rtt: 80 }
    const sim = new Link(shape)
    sim.run(4000)
    const before = sim.window.size
    expect(before).toBeGreaterThan(sim.bdp)
    shape.app = 100
    sim.run(60_000)
    expect(sim.window.size).toBeGreaterThanOrEqual(before)
    shape.app = 'full'
    sim.run(1000)
    const from = sim.delivered
    sim.run(1000)
    expect((sim.delivered - from) / 1000).toBeGreaterThan(shape.rate * 0.95)
  })
})

test('starts as fast as TCP does: the rate of a long link is known within ten round trips', () => {
  const sim = new Link({ rate: 50_000, rtt: 100 })
  sim.run(10 * 100)
  expect(sim.window.size).toBeGreaterThanOrEqual(sim.bdp)
})

describe('what waits on the way', () => {
  for (const [rate, rtt, ms] of [
    [50_000, 20, 8],
    [12_500, 20, 12],
    [50_000, 100, 16],
  ] as const) {
    test(`${(rate * 8) / 1000} Mbit/s, ${rtt} ms: at most ${ms} ms' worth, once it has settled`, () => {
      const sim = new Link({ rate, rtt, jitter: 1 })
      sim.run(2 * TUNING.rateWindow)
      expect(sim.window.size - sim.bdp).toBeLessThanOrEqual(ms * rate)
      const from = sim.delivered
      sim.run(1000)
      expect((sim.delivered - from) / 1000).toBeGreaterThan(rate * 0.97)
    })
  }
})

test('lost packets that hold the receipts up for a round trip do not hold the sender up, as it knows what has arrived', () => {
  const link = { rate: 50_000, rtt: 100, stallEvery: 110, stall: 105 }
  const sim = new Link({ ...link, told: true })
  sim.run(5000)
  expect(sim.window.size).toBeGreaterThan(sim.bdp)
  expect(sim.maxWindow).toBeLessThan(2.5 * sim.bdp)
  const from = sim.delivered
  sim.run(5000)
  expect((sim.delivered - from) / 5000).toBeGreaterThan(link.rate * 0.95)
})

test('near by, what one turn of the loop hands over is no rate', () => {
  const window = new Window()
  window.roundTrip(0.2, 0, 0)
  let [head, now] = [0, 0]
  // 300 KB a ms, in bursts of five times that which last longer than a round trip.
  for (let i = 0; i < 2000; i++) {
    now += i % 8 === 7 ? 1.65 : 0.05
    head += 75_000
    window.small(now)
    window.arrive(head - 150_000, head, true, now)
  }
  expect(window.size).toBeLessThan(2 * 300_000 * 0.2 + 256 * 1024)
})

test('near by, what a peer that was held up takes in a burst is no rate either', () => {
  const window = new Window()
  const rtt = 0.3
  window.roundTrip(rtt, 0, 0)
  let [head, arrived] = [0, 0]
  // 2.8 MB within the last millisecond of every four: 0.7 MB/ms, and 2.8 while it lasts.
  for (let step = 0; step < 10_000; step++) {
    const now = step / 5
    if (now % 4 >= 3) arrived = Math.min(head, arrived + 560_000)
    window.arrive(arrived, head, true, now)
    head = Math.max(head, arrived + window.size)
    window.sent(head, now)
  }
  window.small(2_000)
  expect(window.size).toBeLessThan(1.1 * 2 * 700_000 * rtt)
})

describe('a start that was over too soon', () => {
  /** A window that took its path, `rtt` ms long, for full at `rate` bytes per ms; feeds it samples of other rates. */
  function full(rtt: number, rate: number) {
    const window = new Window()
    window.roundTrip(rtt, 0, 0)
    let [at, now] = [0, 0]
    window.sent(1, now)
    const samples = (of: number, count: number) => {
      for (let i = 0; i < count; i++) {
        at += of * 100
        now += 100
        window.arrive(at, at + 1, true, now)
      }
    }
    samples(rate, 3)
    expect(window.starting).toBe(false)
    return { window, samples }
  }

  test('begins again far away, once a quarter more arrives, and is over again', () => {
    const { window, samples } = full(50, 1000)
    samples(1249, 3)
    expect(window.starting).toBe(false)
    const { size } = window
    samples(1250, 1)
    expect(window.starting).toBe(true)
    expect(window.size).toBeGreaterThan(1.5 * size)
    samples(1250, 2)
    expect(window.starting).toBe(false)
    samples(1500, 3)
    expect(window.starting).toBe(false)
    samples(1563, 1)
    expect(window.starting).toBe(true)
  })

  test('begins again from what is left of a link that became slower', () => {
    const { window, samples } = full(50, 1000)
    samples(400, 120)
    expect(window.starting).toBe(false)
    samples(500, 1)
    expect(window.starting).toBe(true)
  })

  test('does not near by, where a burst looks like it', () => {
    const { window, samples } = full(3.9, 1000)
    samples(5000, 1)
    expect(window.starting).toBe(false)
  })
})

test('receipts that say less than is known take nothing back', () => {
  const window = new Window()
  window.arrive(90_000, 100_000, true, 0)
  window.arrive(20_000, 100_000, true, 5)
  expect(window.room(100_000)).toBe(TUNING.window - 10_000)
  // A new connection knows only what the peer said.
  window.reset(20_000)
  expect(window.room(100_000)).toBe(TUNING.window - 80_000)
})

describe('a path that becomes longer', () => {
  for (const [rate, before, after] of [
    [50_000, 20, 100],
    [12_500, 20, 40],
    [12_500, 1, 300],
    [1250, 20, 200],
  ] as const) {
    test(`from ${before} to ${after} ms carries its rate again, ${(rate * 8) / 1000} Mbit/s, and less is in flight when it is shorter again`, () => {
      const shape: Shape = { rate, rtt: before, pings: true }
      const sim = new Link(shape)
      sim.run(15_000)
      const { size } = sim.window
      shape.rtt = after
      sim.run(20_000 + 30 * after)
      let from = sim.delivered
      sim.run(10_000)
      expect((sim.delivered - from) / 10_000).toBeGreaterThan(0.95 * rate)
      expect(sim.window.rtt).toBeGreaterThanOrEqual(after)
      expect(sim.window.rtt).toBeLessThan(1.1 * after + 5)
      // While there is always more to send, what is too much for a shorter path hides it.
      shape.rtt = before
      shape.app = 0
      sim.run(3000)
      shape.app = 'full'
      sim.run(2 * TUNING.rateWindow)
      from = sim.delivered
      sim.run(10_000)
      expect((sim.delivered - from) / 10_000).toBeGreaterThan(0.95 * rate)
      expect(sim.window.size).toBeLessThan(1.2 * size + 32 * 1024)
    })
  }

  test('is not what a queue is taken for that bulk makes itself, and looking costs next to nothing', () => {
    const sim = new Link({ rate: 125, rtt: 20, pings: true })
    sim.run(10_000)
    const { size } = sim.window
    const from = sim.delivered
    let waited = 0
    for (let i = 0; i < 120_000; i++) {
      sim.run(1)
      if (sim.window.draining) waited++
    }
    expect(sim.window.lastRtt).toBeGreaterThan(100)
    expect(waited).toBeGreaterThan(0)
    expect(sim.window.rtt).toBeLessThan(30)
    expect(sim.window.size).toBeLessThan(1.2 * size)
    expect((sim.delivered - from) / 120_000).toBeGreaterThan(0.98 * 125)
  })

  /** Twelve round trips of `ms` on a path that takes 20, while 1,000 bytes are in flight. */
  function doubted(ms = 100): Window {
    const window = new Window()
    window.roundTrip(20, 0, 0)
    for (let i = 0; i < 12; i++) window.roundTrip(ms, 1000, 1000 + i)
    return window
  }

  test('is not looked for while one in twelve round trips is covered, or the system says so', () => {
    expect(doubted(30).draining).toBe(false)
    expect(doubted(31).draining).toBe(true)
    for (const settled of [
      (window: Window) => window.roundTrip(30, 1000, 0),
      (window: Window) => window.systemRoundTrip(30),
    ]) {
      const window = new Window()
      window.roundTrip(20, 0, 0)
      for (let i = 0; i < 100; i++) {
        if (i % 12 === 11) settled(window)
        else window.roundTrip(100, 1000, i)
        expect(window.draining).toBe(false)
      }
    }
  })

  test('is measured only once the path is empty, by PINGs sent since, and the smallest of three counts', () => {
    const window = doubted()
    expect(window.takePing()).toBe(false)
    window.arrive(999, 1000, true, 2000)
    expect(window.takePing()).toBe(false)
    window.arrive(1000, 1000, true, 2100)
    expect(window.takePing()).toBe(true)
    expect(window.takePing()).toBe(false)
    // Sent before it was empty, and behind what was in flight.
    window.roundTrip(101, 1000, 2200)
    expect(window.takePing()).toBe(false)
    for (const ms of [100, 180]) {
      window.roundTrip(ms, 1000, 2200 + ms)
      expect(window.draining).toBe(true)
      expect(window.takePing()).toBe(true)
    }
    window.roundTrip(120, 1000, 2600)
    expect(window.draining).toBe(false)
    expect(window.takePing()).toBe(false)
    expect(window.rtt).toBe(100)
    expect(window.starting).toBe(true)
  })

  test('is not taken for one, when one of them is covered, or met what the other side sends', () => {
    for (const [ms, crowded] of [
      [25, false],
      [100, true],
    ] as const) {
      const window = doubted()
      window.arrive(1000, 1000, true, 2000)
      window.takePing()
      window.roundTrip(100, 1000, 2100)
      window.takePing()
      window.roundTrip(ms, 1000, 2200 + ms, crowded)
      expect(window.draining).toBe(false)
      expect(window.rtt).toBe(20)
    }
  })

  test('is of one connection only', () => {
    const window = doubted()
    window.reset(500)
    expect(window.draining).toBe(false)
    expect(window.doubtful).toBe(false)
  })
})

test('a link that became slower is followed after the seconds for which the best rate counts', () => {
  const shape: Shape = { rate: 12_500, rtt: 80 }
  const sim = new Link(shape)
  sim.run(4000)
  shape.rate = 1250
  sim.run(2 * TUNING.rateWindow)
  expect(sim.window.size).toBeLessThan(1250 * 80 * 2.5 + slack(1250) + 1250 * 25 * 1.25)
})

test('answers of 256 KiB whose receipts come in two pieces feign no rate', () => {
  const window = new Window()
  window.roundTrip(80, 0, 0)
  let at = 80
  // A backlog once, so that a rate is known: 1,000 bytes a ms.
  for (let i = 0; i < 5; i++) window.arrive(i * 80_000, (i + 1) * 80_000, true, at + i * 80)
  at += 400
  const before = window.size
  let head = 400_000
  window.arrive(head, head, true, at)
  for (let i = 0; i < 50; i++) {
    head += 262_144
    at += 500
    window.arrive(head - 131_072, head, false, at)
    window.arrive(head, head, false, at + 1)
  }
  expect(window.size).toBeLessThanOrEqual(Math.max(before, 1.25 * 262_144 + 256 * 1024))
})

describe('bulk that is alone', () => {
  /** A window that knows its link: `rate` bytes per ms, sampled until `until`. */
  const settled = (rate: number, rtt: number) => {
    const window = new Window()
    window.roundTrip(rtt, 0, 0)
    let [now, head] = [0, 0]
    const go = (ms: number) => {
      for (const end = now + ms; now < end; now += 10) {
        window.sent(head + rate * 10, now)
        head += rate * 10
        window.arrive(head, head, true, now + 10)
      }
      return window.size
    }
    return { window, go, at: () => now }
  }

  test('near by it has more in flight, until another stream has something to send, and again a quarter of a second later', () => {
    const { window, go, at } = settled(800_000, 0.2)
    const alone = go(1_000)
    expect(alone).toBe(3 * 1024 * 1024)
    window.small(at())
    const beside = window.size
    expect(beside).toBe(256 * 1024)
    expect(go(240)).toBe(beside)
    expect(go(30)).toBe(alone)
  })

  test('on a short path the slack covers the path as well, until that is the longer one', () => {
    const quick = settled(800_000, 0.9)
    quick.go(1_000)
    quick.window.small(quick.at())
    expect(quick.window.size).toBe(Math.floor(1.1 * 800_000 * 0.9))
    const long = settled(800_000, 1)
    long.go(1_000)
    long.window.small(long.at())
    expect(long.window.size).toBe(Math.floor(1.1 * 800_000) + 256 * 1024)
  })

  test('from afar it has not: the queue on the way would be as long', () => {
    const { window, go, at } = settled(100_000, 20)
    const alone = go(1_000)
    window.small(at())
    expect(window.size).toBe(alone)
  })

  test('on a slower link no more than 6 ms of it', () => {
    const { window, go, at } = settled(125_000, 1)
    const alone = go(1_000)
    window.small(at())
    expect(alone - window.size).toBeLessThan(125_000 * 6)
  })
})

describe('arithmetic', () => {
  test('always an integer, and TUNING.window until both a rate and a round trip are known', () => {
    const window = new Window()
    expect(window.size).toBe(TUNING.window)
    window.arrive(1, 100_000, true, 0)
    window.arrive(100_001, 200_000, true, 3.3)
    expect(window.size).toBe(TUNING.window)
    window.roundTrip(7.7, 0, 0)
    window.arrive(200_001, 300_000, true, 11.9)
    window.arrive(300_001, 400_000, true, 21.7)
    expect(Number.isInteger(window.size)).toBe(true)
  })

  test('never above its maximum, whatever is measured', () => {
    const window = new Window()
    window.roundTrip(1000, 0, 0)
    for (let i = 0; i < 100; i++) window.arrive(i * 1e9, i * 1e9 + 1, true, i * 1000)
    expect(window.size).toBeLessThanOrEqual(TUNING.windowMax)
  })

  test('a new connection starts anew', () => {
    const window = new Window()
    window.roundTrip(10, 0, 0)
    window.arrive(0, 100_000, true, 0)
    window.arrive(100_000, 200_000, true, 20)
    window.reset(0)
    expect(window.size).toBe(TUNING.window)
    expect(window.rtt).toBe(Number.POSITIVE_INFINITY)
    window.roundTrip(10, 0, 0)
    expect(window.size).toBe(TUNING.window)
  })
})

test('a window below what a receipt waits for grows again, though one receipt takes all that is in flight', () => {
  const window = new Window()
  window.roundTrip(0.1, 0, 0)
  let [tail, head, now] = [0, 0, 0]
  // A slow start that does not get better makes it small: a receipt every 25 ms is for little.
  for (let i = 0; i < 4; i++) {
    head += 20_000
    window.sent(head, now)
    now += TUNING.receiptDelay
    tail = head
    window.arrive(tail, head, true, now)
  }
  expect(window.size).toBeLessThan(TUNING.receiptBytes)
  for (let i = 0; i < 20; i++) {
    head += window.size
    window.sent(head, now)
    // From 128 KiB on the peer says so at once; before, it waits for one timer or the other.
    if (window.size >= TUNING.receiptBytes) now += 0.2
    else now += window.size < TUNING.receiptSoonBytes ? TUNING.receiptDelay : TUNING.receiptSoon
    tail = head
    window.arrive(tail, head, true, now)
  }
  expect(window.size).toBeGreaterThan(2 * TUNING.receiptBytes)
})
