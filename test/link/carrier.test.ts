// The order in which one connection is taken from a session and the next one given to it, against connections that are
// made by hand: what counts is that nothing of the old one reaches the session once its position was read.
import { describe, expect, test } from 'bun:test'
import { Memory, Session, type Stream, TUNING } from '../../src/frame/index.ts'
import { type Break, Carrier } from '../../src/link/index.ts'
import type { Connection, Handler } from '../../src/net/index.ts'
import { Collect, raw } from '../frame/peer.ts'

/** As much of a connection, and of its path, as a carrier uses. Its handler is called like Bun calls it: until it is mute. */
class FakeConnection {
  handler: Handler | null = null
  readonly localHost = '127.0.0.1'
  readonly written: Buffer[] = []
  muted = false
  shut = false
  room = Number.POSITIVE_INFINITY
  missing = -1
  readonly held: number[] = []
  readonly paces: number[] = []
  /** What heldBack answers, from the first time it is asked on. */
  heldBackAt: (asked: number) => boolean = () => false
  asked = 0
  relearnt = 0
  /** Its system's round trip, in ms. */
  roundTrip = Number.POSITIVE_INFINITY

  get path(): this {
    return this
  }
  get heldBack(): boolean {
    return this.heldBackAt(this.asked++)
  }
  relearn(): void {
    this.relearnt++
  }

  write(buf: Uint8Array, at: number, len: number): number {
    if (this.muted) throw new Error('a write to a mute connection')
    const n = Math.min(len, this.room)
    this.room -= n
    this.written.push(Buffer.from(buf.subarray(at, at + n)))
    return n
  }
  mute(): void {
    this.muted = true
  }
  shutdown(): void {
    this.shut = true
  }
  linger(): void {}
  hold(bytes: number): void {
    this.held.push(bytes)
  }
  pace(bytesPerSecond: number): void {
    this.paces.push(bytesPerSecond)
  }

  get bytes(): Buffer {
    return Buffer.concat(this.written)
  }
  get asConnection(): Connection {
    return this as unknown as Connection
  }
  /** Bytes arrive, also late ones: whether anybody was told. */
  arrives(bytes: Buffer): boolean {
    if (this.muted) return false
    this.handler?.onData(Buffer.from(bytes))
    return true
  }
}

const NOTHING = Buffer.alloc(0)
const turn = () => new Promise(resolve => setImmediate(resolve))

function carried() {
  const broken: { how: Break; attached: boolean; muted: boolean }[] = []
  const sinks: Collect[] = []
  const streams: Stream[] = []
  const first = new FakeConnection()
  const carrier: Carrier = new Carrier(how => broken.push({ how, attached: session.attached, muted: first.muted }))
  const session = new Session(
    {
      opener: false,
      peerFirstCredit: 65_536,
      deadAfter: 60_000,
      memory: new Memory(),
      events: {
        opened: stream => {
          const sink = new Collect()
          stream.sink = sink
          sinks.push(sink)
          streams.push(stream)
        },
        wake: () => carrier.wake(),
        full: () => carrier.full(),
        silent: () => carrier.break('silence'),
        over: () => carrier.finish(),
      },
    },
    performance.now(),
  )
  carrier.start(session, first.asConnection, NOTHING, NOTHING)
  return { broken, sinks, streams, first, carrier, session }
}

describe('a connection that breaks', () => {
  for (const [name, end, how] of [
    ['by FIN', (h: Handler) => h.onEnd(), 'fin'],
    ['by a close', (h: Handler) => h.onClose('closed'), 'fin'],
    ['by a reset', (h: Handler) => h.onClose('reset'), 'reset'],
    ['by a deadline', (h: Handler) => h.onClose('timeout'), 'reset'],
  ] as const)
    test(`${name} is mute, and the session detached, before anybody is told`, () => {
      const { broken, first, session } = carried()
      end(first.handler!)
      expect(broken).toEqual([{ how, attached: false, muted: true }])
      expect(session.isOver).toBe(false)
    })

  test('is told of once', () => {
    const { broken, carrier } = carried()
    carrier.break('silence')
    carrier.break('reset')
    expect(broken.map(b => b.how)).toEqual(['silence'])
  })
})

describe('from detach() on', () => {
  test('the position stands still, whatever still comes over the old connection', () => {
    const { carrier, first, session, sinks } = carried()
    first.arrives(Buffer.concat([raw.dataInit(1), raw.data(1, 'counts')]))
    carrier.detach()
    const at = session.position()
    // The connection is mute; were it not, the session would not listen either.
    expect(first.arrives(raw.data(1, ' late'))).toBe(false)
    carrier.onData(raw.data(1, ' late'))
    expect(session.position()).toBe(at)
    expect(sinks[0]!.bytes.toString()).toBe('counts')
  })

  test('nothing of the old connection reaches the session that another one carries', async () => {
    const { carrier, first, session, sinks } = carried()
    first.arrives(raw.dataInit(1))
    carrier.detach()
    const second = new FakeConnection()
    const at = session.position()
    carrier.resume(second.asConnection, 0, NOTHING, NOTHING)
    expect(first.muted).toBe(true)
    expect(first.arrives(raw.data(1, 'old'))).toBe(false)
    expect(session.position()).toBe(at)
    second.arrives(raw.data(1, 'new'))
    expect(sinks[0]!.bytes.toString()).toBe('new')
    await turn()
    expect(second.bytes.length).toBeGreaterThan(0)
    carrier.detach()
  })

  test('what was to be written in this turn is not written to the old connection, but to the next one', async () => {
    const { carrier, first } = carried()
    carrier.detach()
    await turn()
    expect(first.bytes.length).toBe(0)
    const second = new FakeConnection()
    carrier.resume(second.asConnection, 0, Buffer.from('RESUMED'), NOTHING)
    await turn()
    expect(second.bytes.subarray(0, 7).toString()).toBe('RESUMED')
    expect(second.bytes.length).toBeGreaterThan(7)
    carrier.detach()
  })

  test('a connection that was blocked does not keep the next one waiting', async () => {
    const { carrier, first } = carried()
    first.room = 3
    await turn()
    expect(first.bytes.length).toBe(3)
    carrier.detach()
    const second = new FakeConnection()
    carrier.resume(second.asConnection, 3, NOTHING, NOTHING)
    await turn()
    expect(second.bytes.length).toBeGreaterThan(3)
    carrier.detach()
  })

  test('what came behind RESUMED in the same chunk belongs to the session', () => {
    const { carrier, first, sinks } = carried()
    first.arrives(raw.dataInit(1))
    carrier.detach()
    const second = new FakeConnection()
    carrier.resume(second.asConnection, 0, NOTHING, raw.data(1, 'rest'))
    second.arrives(raw.data(1, ' and more'))
    expect(sinks[0]!.bytes.toString()).toBe('rest and more')
    carrier.detach()
  })

  test('a preamble goes out whole before anything of the session, however little the connection takes', async () => {
    const { carrier } = carried()
    carrier.detach()
    const second = new FakeConnection()
    second.room = 2
    carrier.resume(second.asConnection, 0, Buffer.from('RESUMED'), NOTHING)
    await turn()
    expect(second.bytes.toString()).toBe('RE')
    second.room = 4
    carrier.onDrain()
    second.room = Number.POSITIVE_INFINITY
    carrier.onDrain()
    expect(second.bytes.subarray(0, 7).toString()).toBe('RESUMED')
    expect(second.bytes.length).toBeGreaterThan(7)
    carrier.detach()
  })
})

describe('a turn that offers much', () => {
  test('two blocks of it are written before it is over', () => {
    const { first, carrier, streams } = carried()
    first.arrives(raw.dataInit(1, 1, 1 << 24))
    streams[0]!.offer(Buffer.alloc(TUNING.window))
    expect(first.bytes.length).toBe(2 * TUNING.block)
    carrier.detach()
  })

  test('not before the preamble is, and not to a connection that is blocked', async () => {
    const { carrier, first, streams } = carried()
    first.arrives(raw.dataInit(1, 1, 1 << 24))
    carrier.detach()
    const second = new FakeConnection()
    carrier.resume(second.asConnection, 0, Buffer.from('RESUMED'), NOTHING)
    streams[0]!.offer(Buffer.alloc(TUNING.window))
    expect(second.written).toEqual([])
    second.room = 10
    await turn()
    expect(second.bytes.length).toBe(10)
    second.room = Number.POSITIVE_INFINITY
    second.arrives(raw.receipt(3))
    carrier.full()
    expect(second.bytes.length).toBe(10)
    carrier.onDrain()
    expect(second.bytes.length).toBeGreaterThan(TUNING.window)
    carrier.detach()
  })
})

describe('a session that is over', () => {
  test('while a connection carries it: the farewell leaves, then FIN; a break then is the end', async () => {
    const { broken, carrier, first, session } = carried()
    session.close(7, 'enough')
    await turn()
    expect(first.bytes.includes('enough')).toBe(true)
    expect(first.shut).toBe(true)
    carrier.onClose('closed')
    expect(first.muted).toBe(true)
    expect(broken).toEqual([])
  })

  test('between two connections: nobody is told, and nothing is written', async () => {
    const { broken, carrier, first, session } = carried()
    carrier.break('silence')
    session.lost('not resumed')
    await turn()
    expect(broken.length).toBe(1)
    expect(first.bytes.length).toBe(0)
  })
})

describe('a long path with more to send than fits', () => {
  /** A carried session, `rtt` ms away, with a bulk stream. */
  async function busy(missing: number, rtt: number, samples = 4) {
    const all = carried()
    const { carrier, session, streams } = all
    carrier.detach()
    const connection = new FakeConnection()
    connection.missing = missing
    carrier.resume(connection.asConnection, 0, NOTHING, NOTHING)
    await turn()
    const { window } = session.turns
    window.reset(0)
    window.roundTrip(rtt, 0, 0)
    // 8 MB/s, and no more of it.
    for (let i = 0; i < samples; i++) window.arrive(i * 800_000, i * 800_000 + 1, true, i * 100)
    expect(window.starting).toBe(samples < 4)
    window.arrived = 0
    connection.arrives(raw.dataInit(1, 1, 16 * 1024 * 1024))
    streams[0]!.offer(Buffer.alloc(12_000_000))
    await turn()
    return { ...all, connection }
  }

  test('the system may hold all that is in flight, and paces it: asked without a byte from the peer', async () => {
    const { carrier, connection, session } = await busy(Number.POSITIVE_INFINITY, 80)
    const before = connection.bytes.length
    connection.missing = 1000
    while (connection.bytes.length === before) await turn()
    expect(connection.held).toEqual([TUNING.windowMax])
    const { size } = session.turns.window
    expect(connection.paces[0]).toBeGreaterThan((size / 80) * 1000)
    expect(connection.paces[0]).toBeLessThan((size / 80) * 1500)
    carrier.detach()
  })

  test('nor is it when the window starts over, on a path that has become longer', async () => {
    const { carrier, connection, session } = await busy(1000, 80)
    while (connection.paces.length === 0) await turn()
    const { window } = session.turns
    const now = performance.now()
    for (let i = 0; i < 12; i++) window.roundTrip(500, 0, now)
    window.arrive(0, 0, true, now)
    for (let i = 0; i < 3; i++) window.roundTrip(500, 0, now + 500)
    expect(window.rtt).toBe(500)
    while (connection.paces.at(-1)! < Number.MAX_SAFE_INTEGER) await turn()
    carrier.detach()
  })

  test('nor when it turns out to be a short one, which is not asked about any more', async () => {
    const { carrier, connection, session } = await busy(1000, 80)
    while (connection.paces.length === 0) await turn()
    session.turns.window.roundTrip(1, 0, performance.now())
    connection.arrives(raw.ping(7))
    expect(connection.paces.at(-1)).toBe(Number.MAX_SAFE_INTEGER)
    carrier.detach()
  })

  test('the system is asked for its round trip while the path is in doubt, and settles it', async () => {
    const { carrier, connection, session } = await busy(1000, 80)
    connection.roundTrip = 90
    const { window } = session.turns
    window.roundTrip(500, 0, performance.now())
    expect(window.doubtful).toBe(true)
    while (window.doubtful) await turn()
    carrier.detach()
  })

  test('nothing is paced at the start', async () => {
    const { carrier, connection } = await busy(Number.POSITIVE_INFINITY, 80, 0)
    const before = connection.bytes.length
    connection.missing = 1000
    while (connection.bytes.length === before) await turn()
    expect(connection.held).toEqual([TUNING.windowMax])
    expect(connection.paces).toEqual([])
    carrier.detach()
  })

  test('held back for four round trips, the system starts over, and not again at once', async () => {
    const { carrier, connection } = await busy(Number.POSITIVE_INFINITY, 5)
    connection.heldBackAt = () => true
    const from = performance.now()
    while (connection.relearnt === 0) await turn()
    expect(performance.now() - from).toBeGreaterThanOrEqual(4 * 5 - 5)
    const { asked } = connection
    while (connection.asked < asked + 100) await turn()
    expect(connection.relearnt).toBe(1)
    carrier.detach()
  })

  test('held back now and then, it does not', async () => {
    const { carrier, connection } = await busy(Number.POSITIVE_INFINITY, 20)
    connection.heldBackAt = asked => asked % 3 > 0
    while (connection.asked < 200) await turn()
    expect(connection.relearnt).toBe(0)
    carrier.detach()
  })

  test('near by, or where nobody can be asked, the connection is left as it is', async () => {
    for (const [missing, rtt] of [
      [Number.POSITIVE_INFINITY, 0.2],
      [-1, 80],
    ] as const) {
      const { carrier, connection } = await busy(missing, rtt)
      connection.missing = 1000
      connection.arrives(raw.ping(5))
      await turn()
      expect(connection.held).toEqual([])
      expect(connection.paces).toEqual([])
      expect(connection.asked).toBe(0)
      carrier.detach()
    }
  })
})
