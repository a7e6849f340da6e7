import { afterAll, describe, expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fingerprint } from '../../src/identity/index.ts'
import { type Grant, Pool, type PoolOptions, QUARANTINE } from '../../src/relay/pool.ts'
import { Store } from '../../src/relay/store.ts'
import { temporaryFolder } from '../folder.ts'
import * as ed25519 from '../identity/ed25519.ts'
import { type Event, PoolModel } from './pool-model.ts'

const root = temporaryFolder()
const T0 = Date.UTC(2026, 10, 20)
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const WEEK = QUARANTINE.defaultMs
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))
const events = Number(process.env['EVENTS'] ?? 100_000)
console.log(`pool.test: SEED=${seed} EVENTS=${events}`)

const KEYS = Array.from({ length: 8 }, (_, n) =>
  ed25519.getPublicKey(new Uint8Array(createHash('sha256').update(`key ${n}`).digest())),
)
const [A, B, C, D] = KEYS as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
const any = () => true
let folders = 0

function fresh(parent = root): string {
  const folder = join(parent, `state${folders++}`)
  mkdirSync(folder, { mode: 0o700 })
  const store = Store.open(folder, () => T0)
  KEYS.forEach((key, n) => {
    store.allowKey(key, `key${n}`, 'agent')
  })
  store.close()
  return folder
}

type Options = Partial<PoolOptions> & { from?: number; to?: number; folder?: string }

/** A relay's state under a clock of the test's own, which can be killed and opened again. */
class Bench {
  readonly clock = { now: T0 }
  readonly folder: string
  store: Store
  pool: Pool

  constructor(readonly options: Options = {}) {
    this.folder = options.folder ?? fresh()
    this.store = Store.open(this.folder, () => this.clock.now)
    this.pool = this.#pool()
  }

  #pool(): Pool {
    const { from = 20_000, to = 20_099, quarantineMs = WEEK, ...rest } = this.options
    return new Pool(this.store, { from, to }, { quarantineMs, now: () => this.clock.now, ...rest })
  }

  /** What kill -9 leaves: the rows as they were promised, and nothing that waited in memory. */
  kill(options: Options = {}): void {
    this.store.close()
    this.open(options)
  }

  stop(options: Options = {}): void {
    this.pool.close()
    this.store.close()
    this.open(options)
  }

  open(options: Options): void {
    Object.assign(this.options, options)
    this.store = Store.open(this.folder, () => this.clock.now)
    this.pool = this.#pool()
  }

  pass(ms: number): void {
    this.clock.now += ms
  }

  take(key: Uint8Array, service = 'db', wanted: number | null = null, free: (port: number) => boolean = any) {
    const grant = this.pool.acquire(key, service, wanted, free)
    if (!grant.ok) throw new Error(`not granted: ${grant.why}`)
    return grant
  }

  state(port: number): string {
    return this.pool.list().find(row => row.port === port)?.state ?? 'free'
  }
}

function why(grant: Grant): string {
  return grant.ok ? `granted ${grant.port}` : grant.why
}

describe('a lease', () => {
  test('is of a key and a service: the same port after a flap, a restart, a crash', () => {
    const bench = new Bench()
    const first = bench.take(A)
    const other = bench.take(A, 'web')
    expect(other.port).not.toBe(first.port)
    for (const interrupt of [
      () => bench.pool.release(first.port, first.epoch),
      () => bench.stop(),
      () => bench.kill(),
    ]) {
      interrupt()
      bench.pass(6 * DAY)
      expect(bench.take(A).port).toBe(first.port)
      expect(bench.take(A, 'web').port).toBe(other.port)
      expect(bench.take(B).port).not.toBe(first.port)
    }
  })

  test('of a relay that was killed is away at the next start, and rests from then', () => {
    const bench = new Bench({ to: 20_000 })
    const { port } = bench.take(A)
    bench.pass(30 * DAY)
    bench.kill()
    expect(bench.pool.list()).toMatchObject([
      {
        port,
        state: 'away',
        since: T0 + 30 * DAY,
        restsUntil: T0 + 30 * DAY + WEEK,
        fingerprint: fingerprint(A),
        name: 'key0',
      },
    ])
    bench.pass(WEEK - 1)
    expect(why(bench.pool.acquire(B, 'db', null, any))).toBe('empty')
    bench.pass(1)
    expect(bench.take(B).port).toBe(port)
  })

  test('is taken over by a second process of its key, and what the first does afterwards changes nothing', () => {
    const bench = new Bench()
    const first = bench.take(A)
    expect(first.replaced).toBeNull()
    const second = bench.take(A)
    expect(second).toEqual({
      ok: true,
      port: first.port,
      epoch: first.epoch + 1,
      replaced: { port: first.port, epoch: first.epoch },
    })
    expect(bench.pool.release(first.port, first.epoch)).toBe(false)
    expect(bench.state(first.port)).toBe('live')
    expect(bench.pool.release(second.port, second.epoch)).toBe(true)
    expect(bench.pool.release(second.port, second.epoch)).toBe(false)
    expect(bench.state(first.port)).toBe('away')
  })

  test('that is taken over is not bound again: the relay has its port bound', () => {
    const bench = new Bench()
    const first = bench.take(A)
    expect(bench.take(A, 'db', null, () => false).port).toBe(first.port)
    expect(bench.take(A, 'db', first.port, () => false).port).toBe(first.port)
  })

  test('moves with --port, and the port that it leaves rests for the others', () => {
    const bench = new Bench({ to: 20_001 })
    const first = bench.take(A, 'db', 20_000)
    const second = bench.take(A, 'db', 20_001)
    expect(second.replaced).toEqual({ port: 20_000, epoch: first.epoch })
    expect(bench.state(20_000)).toBe('away')
    expect(bench.pool.release(20_000, first.epoch)).toBe(false)
    expect(why(bench.pool.acquire(B, 'db', 20_000, any))).toBe('taken')
    bench.kill()
    expect(bench.take(A).port).toBe(20_001)
    expect(bench.take(A, 'db', 20_000).port).toBe(20_000)
    expect(bench.take(A).port).toBe(20_000)
  })

  test('epochs only grow, over ports, restarts and freed leases', () => {
    const bench = new Bench({ to: 20_002 })
    let last = 0
    const grow = (epoch: number) => {
      expect(epoch).toBeGreaterThan(last)
      last = epoch
    }
    for (let round = 0; round < 5; round++) {
      for (const key of [A, B, C]) grow(bench.take(key).epoch)
      if (round % 2 === 0) bench.kill()
      else bench.stop()
      for (const row of bench.pool.list()) expect(bench.pool.free(row.port)).toBe('freed')
      bench.kill()
    }
  })

  test('service names cannot be joined to make another key’s', () => {
    const bench = new Bench()
    const grants = ['', '\u0000', 'a', 'a\u0000', '\u0000a', Buffer.from(B).toString('hex')].map(name =>
      bench.take(A, name),
    )
    expect(new Set(grants.map(grant => grant.port)).size).toBe(grants.length)
    bench.kill()
    for (const [n, name] of ['', '\u0000', 'a', 'a\u0000', '\u0000a', Buffer.from(B).toString('hex')].entries()) {
      expect(bench.take(A, name).port).toBe(grants[n]?.port ?? 0)
    }
  })

  test('of a key that the relay does not know is not granted, and changes nothing', () => {
    const bench = new Bench()
    const stranger = ed25519.getPublicKey(new Uint8Array(32))
    expect(() => bench.pool.acquire(stranger, 'db', 20_000, any)).toThrow(
      expect.objectContaining({ code: 'W-INTERNAL' }),
    )
    expect(bench.pool.list()).toEqual([])
    expect(bench.take(A, 'db', 20_000).port).toBe(20_000)
  })
})

describe('quarantine', () => {
  test('is at least a day', () => {
    for (const quarantineMs of [DAY - 1, 0, -1, Number.NaN]) {
      expect(() => new Bench({ quarantineMs })).toThrow(expect.objectContaining({ code: 'W-USAGE' }))
    }
    expect(() => new Bench({ quarantineMs: DAY })).not.toThrow()
  })

  test('keeps a port from others for its whole time, to the millisecond, asked for by number or not', () => {
    const bench = new Bench({ to: 20_000 })
    const { port, epoch } = bench.take(A)
    bench.pass(30 * DAY)
    expect(why(bench.pool.acquire(B, 'db', null, any))).toBe('empty')
    bench.pool.release(port, epoch)
    bench.pass(WEEK - 1)
    expect(bench.pool.expire()).toBe(0)
    expect(why(bench.pool.acquire(B, 'db', null, any))).toBe('empty')
    expect(why(bench.pool.acquire(B, 'db', port, any))).toBe('taken')
    bench.pass(1)
    expect(bench.pool.expire()).toBe(1)
    expect(bench.pool.expire()).toBe(0)
    expect(bench.take(B, 'db', port).port).toBe(port)
    expect(why(bench.pool.acquire(A, 'db', null, any))).toBe('empty')
  })

  test('begins anew each time that the port was held', () => {
    const bench = new Bench({ to: 20_000 })
    for (let times = 0; times < 3; times++) {
      const { port, epoch } = bench.take(A)
      bench.pool.release(port, epoch)
      bench.pass(WEEK - 1)
      expect(why(bench.pool.acquire(B, 'db', null, any))).toBe('empty')
    }
  })

  test('is not shortened by an exhausted pool: of three ports, the fourth key gets none', () => {
    const bench = new Bench({ to: 20_002 })
    for (const key of [A, B, C]) {
      const { port, epoch } = bench.take(key)
      bench.pool.release(port, epoch)
    }
    for (let day = 0; day < 7; day++) {
      for (let times = 0; times < 100; times++) expect(why(bench.pool.acquire(D, 'db', null, any))).toBe('empty')
      for (const port of [20_000, 20_001, 20_002]) expect(why(bench.pool.acquire(D, 'db', port, any))).toBe('taken')
      bench.pass(DAY - 1)
      bench.kill()
    }
    bench.pass(DAY)
    expect(bench.take(D).ok).toBe(true)
  })

  test('past, the port is still its old owner’s until somebody else gets it', () => {
    const bench = new Bench({ to: 20_001 })
    const first = bench.take(A)
    bench.pool.release(first.port, first.epoch)
    bench.pass(100 * DAY)
    expect(bench.pool.list()).toEqual([])
    expect(bench.take(A).port).toBe(first.port)
    bench.kill()
    bench.pass(100 * DAY)
    bench.take(B)
    bench.take(C)
    expect(why(bench.pool.acquire(A, 'db', null, any))).toBe('empty')
  })

  test('survives restarts, of either kind, by the clock and not by the process', () => {
    for (const end of ['kill', 'stop'] as const) {
      const bench = new Bench({ to: 20_000 })
      const { port, epoch } = bench.take(A)
      bench.pool.release(port, epoch)
      bench.pool.flush()
      for (let day = 0; day < 6; day++) {
        bench.pass(DAY)
        bench[end]()
        expect(why(bench.pool.acquire(B, 'db', null, any))).toBe('empty')
      }
      bench.pass(DAY)
      expect(bench.take(B).port).toBe(port)
    }
  })

  test('a longer one at a restart holds also what a shorter one had let go', () => {
    const bench = new Bench({ to: 20_000, quarantineMs: DAY })
    const { port, epoch } = bench.take(A)
    bench.pool.release(port, epoch)
    bench.pass(2 * DAY)
    bench.stop({ quarantineMs: WEEK })
    expect(why(bench.pool.acquire(B, 'db', null, any))).toBe('empty')
  })
})

describe('a clock that is set back never shortens quarantine', () => {
  test('while the port rests', () => {
    const bench = new Bench({ to: 20_000 })
    const { port, epoch } = bench.take(A)
    bench.pool.release(port, epoch)
    bench.pool.flush()
    for (const end of ['kill', 'stop'] as const) {
      bench.clock.now = T0 - 50 * 365 * DAY
      bench[end]()
      expect(why(bench.pool.acquire(B, 'db', null, any))).toBe('empty')
      bench.clock.now = T0 + WEEK - 1
      expect(why(bench.pool.acquire(B, 'db', null, any))).toBe('empty')
    }
    bench.clock.now = T0 + WEEK
    expect(bench.take(B).port).toBe(port)
  })

  test('while the port is held: released on the wrong clock, it rests from the right time', () => {
    const bench = new Bench({ to: 20_000 })
    bench.pass(30 * DAY)
    const { port, epoch } = bench.take(A)
    bench.clock.now = T0
    bench.pool.expire()
    bench.pool.release(port, epoch)
    bench.clock.now = T0 + 30 * DAY + WEEK - 1
    expect(why(bench.pool.acquire(B, 'db', null, any))).toBe('empty')
    bench.pass(1)
    expect(bench.take(B).port).toBe(port)
  })

  test('before a restart after kill -9: what was live rests from no earlier than the last time seen', () => {
    const bench = new Bench({ to: 20_000 })
    bench.take(A)
    for (let minute = 0; minute < 69; minute++) {
      bench.pass(MINUTE)
      bench.pool.expire()
    }
    const killed = bench.clock.now
    bench.clock.now = 0
    bench.kill()
    bench.clock.now = killed + WEEK - 1
    expect(why(bench.pool.acquire(B, 'db', null, any))).toBe('empty')
    bench.pass(1 + 10 * MINUTE)
    expect(bench.take(B).ok).toBe(true)
  })

  test('and time that passes on the wrong clock counts: a clock that was once ahead does not stop it for ever', () => {
    const bench = new Bench({ to: 20_000, quarantineMs: DAY })
    bench.pass(3650 * DAY)
    const { port, epoch } = bench.take(A)
    bench.clock.now = T0
    bench.pool.expire()
    bench.pool.release(port, epoch)
    let minutes = 0
    while (!bench.pool.acquire(B, 'db', null, any).ok) {
      expect(minutes++).toBeLessThan(24 * 60 + 1)
      bench.pass(MINUTE)
    }
    expect(minutes).toBeGreaterThanOrEqual(24 * 60)
  })
})

describe('the pool', () => {
  test('draws ports at random that were never used, and then the one held longest ago', () => {
    const bench = new Bench({ to: 20_009, quarantineMs: DAY })
    const grants = KEYS.map(key => bench.take(key))
    expect(new Set(grants.map(grant => grant.port)).size).toBe(8)
    const order = [3, 7, 1, 0, 6, 2, 5, 4]
    for (const n of order) {
      const grant = grants[n]
      if (grant === undefined) throw new Error('no grant')
      bench.pool.release(grant.port, grant.epoch)
      bench.pass(HOUR)
    }
    bench.pass(2 * DAY)
    bench.stop()
    const drawn = Array.from({ length: 10 }, (_, n) => bench.take(A, `new${n}`).port)
    const used = new Set(grants.map(grant => grant.port))
    expect(drawn.slice(0, 2).some(port => used.has(port))).toBe(false)
    expect(drawn.slice(2)).toEqual(order.map(n => grants[n]?.port ?? 0))
  })

  test('draws every port of the range, and each as often as another', () => {
    const counts = new Map<number, number>()
    const bench = new Bench({ to: 20_009 })
    for (let times = 0; times < 500; times++) {
      const { port, epoch } = bench.take(A)
      counts.set(port, (counts.get(port) ?? 0) + 1)
      bench.pool.release(port, epoch)
      expect(bench.pool.free(port)).toBe('freed')
    }
    expect(counts.size).toBe(10)
    for (const count of counts.values()) expect(count).toBeGreaterThan(15)
  })

  test('skips what something else has bound, and says so of a port that must be that one', () => {
    const bench = new Bench({ to: 20_004 })
    const bound = new Set([20_000, 20_001, 20_003, 20_004])
    const free = (port: number) => !bound.has(port)
    const { port, epoch } = bench.take(A, 'db', null, free)
    expect(port).toBe(20_002)
    expect(why(bench.pool.acquire(B, 'db', null, free))).toBe('empty')
    expect(why(bench.pool.acquire(B, 'db', 20_000, free))).toBe('taken')
    bench.pool.release(port, epoch)
    bound.clear()
    bound.add(port)
    expect(why(bench.pool.acquire(A, 'db', null, free))).toBe('taken')
    expect(bench.state(port)).toBe('away')
    bound.clear()
    expect(bench.take(A, 'db', null, free).port).toBe(port)
  })

  test('refuses ports outside its range, and ranges that are none', () => {
    const bench = new Bench()
    for (const port of [19_999, 20_100, 0, -1, 65_536, 20_000.5, Number.NaN]) {
      expect(why(bench.pool.acquire(A, 'db', port, any))).toBe('range')
    }
    expect(bench.pool.list()).toEqual([])
    for (const range of [{ from: 0 }, { from: 20_001, to: 20_000 }, { to: 65_536 }, { from: 1.5 }]) {
      expect(() => new Bench(range)).toThrow(expect.objectContaining({ code: 'W-USAGE' }))
    }
    expect(bench.take(A, 'db', 20_099).port).toBe(20_099)
  })

  test('under another range at a restart gives a new port, and the old one goes on resting', () => {
    const bench = new Bench()
    const { port } = bench.take(A)
    bench.stop({ from: 30_000, to: 30_001 })
    const moved = bench.take(A)
    expect(moved.port).toBeGreaterThanOrEqual(30_000)
    expect(bench.pool.list().map(row => row.port)).toEqual([port, moved.port])
    bench.stop({ from: 20_000, to: 20_099 })
    expect(why(bench.pool.acquire(B, 'db', port, any))).toBe('taken')
    expect(bench.take(A, 'db', port).port).toBe(port)
  })

  test('free gives a port away at once; a live one stays, and a freed one has no late owner', () => {
    const bench = new Bench({ to: 20_000 })
    const { port, epoch } = bench.take(A)
    expect(bench.pool.free(port)).toBe('live')
    expect(bench.state(port)).toBe('live')
    bench.pool.release(port, epoch)
    expect(bench.pool.free(port)).toBe('freed')
    expect(bench.pool.free(port)).toBe('none')
    expect(bench.pool.free(1)).toBe('none')
    bench.kill()
    const next = bench.take(B)
    expect(next.port).toBe(port)
    expect(bench.pool.release(port, epoch)).toBe(false)
    expect(bench.state(port)).toBe('live')
  })

  test('free of a lease whose release is not on disk yet is not undone by it', () => {
    const bench = new Bench({ to: 20_000 })
    const { port, epoch } = bench.take(A)
    bench.pool.release(port, epoch)
    bench.pool.free(port)
    bench.pool.flush()
    bench.kill()
    expect(bench.pool.list()).toEqual([])
  })

  test('gives a key with very many ports one of its own, not all of the range', () => {
    const bench = new Bench({ perKey: 4, to: 20_019 })
    const grants = Array.from({ length: 4 }, (_, n) => bench.take(A, `s${n}`))
    // All four are live: nothing of its own to give.
    expect(why(bench.pool.acquire(A, 'fifth', null, any))).toBe('share')
    bench.pass(HOUR)
    for (const n of [2, 0, 1]) {
      const { port, epoch } = grants[n]!
      bench.pool.release(port, epoch)
      bench.pass(HOUR)
    }
    expect(bench.take(A, 'sixth').port).toBe(grants[2]?.port ?? 0)
    expect(bench.take(A, 'seventh').port).toBe(grants[0]?.port ?? 0)
    const untouched =
      20_000 + Array.from({ length: 20 }, (_, n) => n).findIndex(n => bench.state(20_000 + n) === 'free')
    expect(why(bench.pool.acquire(A, 'eighth', untouched, any))).toBe('share')
    expect(bench.take(B, 'db', untouched).port).toBe(untouched)
    expect(bench.pool.list().filter(row => row.name === 'key0')).toHaveLength(4)
  })

  test('counts a port of its own that has rested like any other', () => {
    const bench = new Bench({ perKey: 2, to: 20_019, quarantineMs: DAY })
    const old = bench.take(A, 'old')
    bench.pool.release(old.port, old.epoch)
    bench.pass(2 * DAY)
    bench.take(A, 'one')
    bench.take(A, 'two')
    expect(why(bench.pool.acquire(A, 'old', null, any))).toBe('share')
    expect(why(bench.pool.acquire(A, 'old', old.port, any))).toBe('share')
    expect(bench.take(B, 'db', old.port).port).toBe(old.port)
  })

  test('grants several tunnels in one transaction, in order, also when one is refused', () => {
    const bench = new Bench({ to: 20_002 })
    bench.take(B, 'db', 20_001)
    const writes = countWrites(bench)
    const grants = bench.pool.acquireAll(
      A,
      [
        { service: 'one', wanted: null },
        { service: 'two', wanted: 20_001 },
        { service: 'three', wanted: 1 },
        { service: 'four', wanted: null },
        { service: 'five', wanted: null },
      ],
      any,
    )
    expect(grants.map(grant => (grant.ok ? 'ok' : grant.why))).toEqual(['ok', 'taken', 'range', 'ok', 'empty'])
    expect(writes()).toBe(1)
    bench.pool.acquireAll(A, [{ service: 'six', wanted: 1 }], any)
    expect(bench.pool.acquireAll(A, [], any)).toEqual([])
    expect(writes()).toBe(1)
    bench.kill()
    expect(
      bench.pool
        .list()
        .map(row => row.service)
        .sort(),
    ).toEqual(['db', 'four', 'one'])
  })

  test('1,000 agents back after a restart: one binding and one transaction each, no scan', () => {
    const folder = fresh()
    const bench = new Bench({ folder, to: 29_999 })
    const names = Array.from({ length: 1_000 }, (_, n) => `service ${n}`)
    const perKey = 10_000
    bench.stop({ perKey })
    const before = bench.pool.acquireAll(
      A,
      names.map(service => ({ service, wanted: null })),
      any,
    )
    bench.kill()
    const writes = countWrites(bench)
    let asked = 0
    const started = performance.now()
    const after = names.map(service => bench.take(A, service, null, () => ++asked > 0))
    const spent = performance.now() - started
    expect(after.map(grant => grant.port)).toEqual(before.map(grant => (grant.ok ? grant.port : 0)))
    expect(asked).toBe(1_000)
    expect(writes()).toBe(1_000)
    console.log(`pool.test: 1,000 leases came back in ${spent.toFixed(0)} ms`)
    expect(spent).toBeLessThan(10_000)
  })

  test('notes when a key was last seen with the next lease, not by a write of its own', () => {
    const bench = new Bench()
    const writes = countWrites(bench)
    bench.store.touchKey(A)
    expect(writes()).toBe(0)
    bench.take(A)
    expect(writes()).toBe(1)
    bench.kill()
    expect(bench.store.key(A)?.seenAt).toBe(T0)
  })
})

describe('when the disk fails', () => {
  const broken = new Error('no space left')

  function breakDisk(bench: Bench): () => void {
    bench.store.savePool = () => {
      throw broken
    }
    return () => Reflect.deleteProperty(bench.store, 'savePool')
  }

  test('nothing is granted, and nothing in memory says otherwise', () => {
    const bench = new Bench({ to: 20_001 })
    const held = bench.take(B, 'db', 20_000)
    const before = bench.pool.list()
    const repair = breakDisk(bench)
    expect(() => bench.pool.acquire(A, 'db', null, any)).toThrow(broken)
    expect(() => bench.pool.acquire(B, 'db', null, any)).toThrow(broken)
    expect(() => bench.pool.acquire(B, 'db', 20_001, any)).toThrow(broken)
    repair()
    expect(bench.pool.list()).toEqual(before)
    expect(bench.pool.release(held.port, held.epoch)).toBe(true)
    expect(bench.take(A).port).toBe(20_001)
    expect(bench.take(B).port).toBe(20_000)
  })

  test('leases are listed all the same', () => {
    const bench = new Bench()
    const { port } = bench.take(A)
    breakDisk(bench)
    bench.pass(HOUR)
    expect(bench.pool.list()).toMatchObject([{ port, state: 'live' }])
  })

  for (const passed of [0, HOUR]) {
    test(`a release still counts, and is written when it can be, ${passed} ms later`, () => {
      const bench = new Bench({ to: 20_000 })
      const { port, epoch } = bench.take(A)
      const repair = breakDisk(bench)
      bench.pass(passed)
      expect(bench.pool.release(port, epoch)).toBe(true)
      expect(() => bench.pool.acquire(A, 'db', null, any)).toThrow(broken)
      expect(() => bench.pool.expire()).toThrow(broken)
      repair()
      expect(bench.state(port)).toBe('away')
      expect(bench.pool.release(port, epoch)).toBe(false)
      bench.pool.expire()
      bench.kill()
      expect(bench.pool.list()).toMatchObject([{ port, state: 'away', restsUntil: T0 + passed + WEEK }])
    })
  }

  test('rows that could not be read either are read before the next grant', () => {
    const bench = new Bench({ to: 20_001 })
    bench.take(B, 'db', 20_000)
    const repair = breakDisk(bench)
    bench.store.pool = () => {
      throw new Error('not this one')
    }
    expect(() => bench.pool.acquire(A, 'db', null, any)).toThrow(broken)
    repair()
    expect(() => bench.pool.acquire(A, 'db', null, any)).toThrow('not this one')
    Reflect.deleteProperty(bench.store, 'pool')
    expect(why(bench.pool.acquire(A, 'db', 20_000, any))).toBe('taken')
    expect(bench.take(A).port).toBe(20_001)
  })

  test('where they stay unreadable, what was live before is still released by whoever held it', () => {
    const bench = new Bench({ to: 20_001 })
    const held = bench.take(A)
    const other = 40_001 - held.port
    const repair = breakDisk(bench)
    bench.store.pool = () => {
      throw new Error('not this one')
    }
    // A takeover of the port, and one that goes to another port.
    expect(() => bench.pool.acquire(A, 'db', null, any)).toThrow(broken)
    expect(bench.pool.release(held.port, held.epoch)).toBe(true)
    repair()
    Reflect.deleteProperty(bench.store, 'pool')
    expect(bench.state(held.port)).toBe('away')

    const again = bench.take(A)
    breakDisk(bench)
    bench.store.pool = () => {
      throw new Error('not this one')
    }
    expect(() => bench.pool.acquire(A, 'db', other, any)).toThrow(broken)
    expect(bench.pool.release(again.port, again.epoch)).toBe(true)
    Reflect.deleteProperty(bench.store, 'pool')
    Reflect.deleteProperty(bench.store, 'savePool')
    expect([bench.state(again.port), bench.state(other)]).toEqual(['away', 'free'])
  })

  test('a bind that throws leaves no lease behind', () => {
    const bench = new Bench()
    const fail = () => {
      throw broken
    }
    expect(() => bench.pool.acquire(A, 'db', null, fail)).toThrow(broken)
    expect(bench.pool.list()).toEqual([])
    expect(bench.take(A).ok).toBe(true)
  })
})

describe('kill -9', () => {
  test('loses no lease that was granted, and no epoch', async () => {
    const folder = fresh()
    const random = generator(seed)
    const program = `
      import { Store } from '${import.meta.dir}/../../src/relay/store.ts'
      import { Pool } from '${import.meta.dir}/../../src/relay/pool.ts'
      import { writeSync } from 'node:fs'
      const store = Store.open('${folder}', Date.now)
      const keys = store.listKeys().map(row => row.publicKey)
      const pool = new Pool(store, { from: 20000, to: 20019 }, { quarantineMs: ${DAY}, now: Date.now })
      for (let n = 0; ; n++) {
        const k = Math.floor(Math.random() * keys.length)
        const service = 's' + Math.floor(Math.random() * 3)
        const grant = pool.acquire(keys[k], service, null, () => true)
        if (grant.ok) writeSync(1, ['got', grant.port, grant.epoch, k, service].join(' ') + '\\n')
        if (grant.ok && Math.random() < 0.5) pool.release(grant.port, grant.epoch)
      }`
    const granted = new Map<number, { epoch: number; owner: string }>()
    const owners = new Map<number, string>()
    let last = 0
    for (let round = 0; round < 8; round++) {
      const child = Bun.spawn([process.execPath, '-e', program], { stdout: 'pipe', stderr: 'inherit' })
      // Some grants, and then the kill, wherever in the next one it falls.
      const count = 1 + Math.floor(random() * 150)
      let seen = 0
      let rest = ''
      for await (const chunk of child.stdout) {
        const parts = (rest + Buffer.from(chunk).toString()).split('\n')
        rest = parts.pop() ?? ''
        for (const part of parts) {
          const [, port, epoch, key, service] = part.split(' ')
          granted.set(Number(port), { epoch: Number(epoch), owner: `${key} ${service}` })
          expect(Number(epoch)).toBeGreaterThan(last)
          last = Number(epoch)
          seen++
        }
        if (seen >= count) child.kill('SIGKILL')
      }
      await child.exited

      const store = Store.open(folder, Date.now)
      const keys = store.listKeys().map(row => row.fingerprint)
      const pool = new Pool(store, { from: 20_000, to: 20_019 }, { quarantineMs: DAY, now: Date.now })
      const rows = new Map(pool.list().map(row => [row.port, row]))
      for (const [port, { epoch, owner }] of granted) {
        const row = rows.get(port)
        expect(row?.state).toBe('away')
        expect(row?.epoch).toBeGreaterThanOrEqual(epoch)
        expect(`${keys.indexOf(row?.fingerprint ?? '')} ${row?.service}`).toBe(owner)
        expect(owners.get(port) ?? owner).toBe(owner)
        owners.set(port, owner)
      }
      store.close()
    }
    expect(granted.size).toBeGreaterThan(10)
  }, 60_000)
})

describe('against a reference model', () => {
  // Where it is in memory, a write costs no disk: 100,000 events in seconds. What is checked is the same.
  const quick = existsSync('/dev/shm') ? mkdtempSync('/dev/shm/warren-test-') : root
  afterAll(() => rmSync(quick, { recursive: true, force: true }))

  type Case = { name: string; from: number; to: number; keys: number; perKey: number; storms: boolean; share: number }
  const cases: Case[] = [
    { name: 'three ports, four keys', from: 20_000, to: 20_002, keys: 4, perKey: 99, storms: false, share: 0.2 },
    { name: 'twelve ports, eight keys', from: 20_000, to: 20_011, keys: 8, perKey: 99, storms: false, share: 0.3 },
    { name: 'one port a key', from: 20_000, to: 20_009, keys: 6, perKey: 1, storms: false, share: 0.2 },
    { name: 'few ports a key', from: 20_000, to: 20_029, keys: 6, perKey: 3, storms: true, share: 0.2 },
    {
      name: 'a clock that is set back and put right',
      from: 20_000,
      to: 20_009,
      keys: 6,
      perKey: 99,
      storms: true,
      share: 0.3,
    },
  ]

  for (const { name, from, to, keys, perKey, storms, share } of cases) {
    test(`${name}: ${Math.round(events * share)} random events`, () => {
      const random = generator(seed ^ from ^ (to << 8) ^ (keys << 16) ^ perKey)
      const bench = new Bench({ folder: fresh(quick), from, to, perKey, quarantineMs: DAY, random })
      const model = new PoolModel({ from, to, quarantineMs: DAY, perKey, storms })
      const trail: Event[] = []
      try {
        for (let n = 0; n < events * share; n++) {
          const event = model.invent(random, keys)
          trail.push(event)
          if (trail.length > 40) trail.shift()
          step(bench, model, event)
        }
      } catch (thrown) {
        console.error(`SEED=${seed}, the last events:\n${trail.map(event => JSON.stringify(event)).join('\n')}`)
        throw thrown
      }
      console.log(`pool.test: ${name}: ${JSON.stringify(model.counts)}`)
      for (const count of Object.values(model.counts)) expect(count).toBeGreaterThan(0)
      bench.store.close()
    }, 600_000)
  }

  /** Does an event in both, and compares. */
  function step(bench: Bench, model: PoolModel, event: Event): void {
    bench.clock.now = T0 + model.pass(event)
    switch (event.do) {
      case 'acquire': {
        const { key, service, wanted, bound } = event
        const grant = bench.pool.acquire(KEYS[key]!, service, wanted, port => !bound.includes(port))
        model.acquired(event, grant)
        break
      }
      case 'release': {
        expect(bench.pool.release(event.port, event.epoch)).toBe(model.released(event))
        break
      }
      case 'free': {
        model.freed(event, bench.pool.free(event.port))
        break
      }
      case 'expire': {
        bench.pool.expire()
        model.saved()
        break
      }
      case 'kill': {
        bench.kill()
        model.killed()
        break
      }
      case 'stop': {
        bench.stop()
        model.stopped()
        break
      }
    }
    if (event.check) model.listed(bench.pool.list())
  }
})

function countWrites(bench: Bench): () => number {
  let count = 0
  const write = bench.store.savePool.bind(bench.store)
  bench.store.savePool = state => {
    count++
    write(state)
  }
  return () => count
}

/** mulberry32: numbers as Math.random gives them, and the same ones for a seed. */
function generator(from: number): () => number {
  let state = from >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
