// Ports, leased to a key and a service name. A lease is live while a session holds it and away afterwards: its key gets
// it back at once, and nobody else before it has rested in quarantine since it was last held. The rows in the store are
// the truth; what is here is their index, so that a thousand agents that come back at once cost no scan of the range.
// Quarantine has a clock of its own; the store remembers it, at most CLOCK_SAVED_MS late.
import { WarrenError } from '../errors.ts'
import { fingerprint } from '../identity/index.ts'
import { Bag } from './bag.ts'
import { QuarantineClock } from './quarantine.ts'
import type { Lease, Store } from './store.ts'

export type Wanted = { readonly service: string; readonly wanted: number | null }

export type Grant =
  /** `replaced`: the live lease of the same key and service that ended by it, on this port or another. */
  | { readonly ok: true; readonly port: number; readonly epoch: number; readonly replaced: Held | null }
  /**
   * `taken`: another's, in quarantine, or bound by something else. `range`: not one of the relay's ports. `share`: the key has
   * as many as one may have.
   */
  | { readonly ok: false; readonly why: Refused }

export type Refused = 'taken' | 'range' | 'empty' | 'share'

export type Held = { readonly port: number; readonly epoch: number }

export type LeaseRow = {
  readonly port: number
  readonly fingerprint: string
  /** The key's name. */
  readonly name: string
  readonly service: string
  readonly state: 'live' | 'away'
  readonly epoch: number
  readonly since: number
  /** When others may have it; null while it is live. */
  readonly restsUntil: number | null
}

export type PoolOptions = {
  readonly quarantineMs: number
  /** The wall clock in ms. */
  readonly now: () => number
  /** Ports that a key may have, live or away; from then on it gets one of its own that are away, or none. */
  readonly perKey?: number
  /** As Math.random, for tests that can be repeated. */
  readonly random?: () => number
}

const DAY_MS = 86_400_000
export const QUARANTINE = { defaultMs: 7 * DAY_MS, leastMs: DAY_MS } as const

const CLOCK_SAVED_MS = 10 * 60_000
/** As many tunnels as one INIT may ask for: without a limit one key could take the whole range, and leave it in quarantine. */
export const PER_KEY = 256

/** The ports whose leases an acquire changed, each with the one it had before. */
type Changed = Map<number, Lease | null>

/** Whether a port can be had from the system: it tries to bind it, and keeps it when it could. */
export type Free = (port: number) => boolean

export class Pool {
  readonly #leases = new Map<number, Lease>()
  readonly #byOwner = new Map<string, Set<number>>()
  readonly #byKey = new Map<string, Set<number>>()
  /** In the range and away, within quarantine; the one held longest ago first. */
  readonly #resting = new Set<number>()
  /** In the range and past quarantine, in the same order: still the old owner's, until somebody else gets it. */
  readonly #rested = new Set<number>()
  /** In the range and of no lease. */
  readonly #unused = new Bag()
  /** Released and not yet on disk. Nothing is lost by a crash: there the lease still counts as live. */
  readonly #unsaved = new Map<number, Lease>()
  readonly #quarantineMs: number
  readonly #clock: QuarantineClock
  readonly #perKey: number
  readonly #random: () => number
  #clockOnDisk = 0
  #epoch = 0
  /** An acquire failed half way: the rows are to be read again first. */
  #stale = false

  constructor(
    private readonly store: Store,
    private readonly range: { readonly from: number; readonly to: number },
    options: PoolOptions,
  ) {
    if (!(options.quarantineMs >= QUARANTINE.leastMs)) {
      throw new WarrenError('W-USAGE', 'the quarantine of a port is at least one day')
    }
    const { from, to } = range
    if (!(Number.isInteger(from) && Number.isInteger(to) && from >= 1 && from <= to && to <= 65_535)) {
      throw new WarrenError('W-USAGE', `the ports ${from}-${to} are not a range within 1-65535`)
    }
    this.#quarantineMs = options.quarantineMs
    this.#clock = new QuarantineClock(options.now)
    this.#perKey = options.perKey ?? PER_KEY
    this.#random = options.random ?? Math.random
    this.#load()
    this.#adopt()
  }

  /**
   * Leases a port to a key and service, durable when it returns. `wanted` null: the one that they had, else one from
   * the pool. A second acquire of the same key and service takes over. `free` is asked for the port before it is
   * granted, except for one that is live: this relay itself has that bound.
   */
  acquire(publicKey: Uint8Array, service: string, wanted: number | null, free: Free): Grant {
    const [grant] = this.acquireAll(publicKey, [{ service, wanted }], free)
    if (grant === undefined) throw new WarrenError('W-INTERNAL', 'the pool gave no answer')
    return grant
  }

  /** Several at once, in one transaction: all that could be granted are, and the answers are in the order asked. */
  acquireAll(publicKey: Uint8Array, wants: readonly Wanted[], free: Free): Grant[] {
    this.#expireUntil(this.#time())
    const changed: Changed = new Map()
    try {
      const grants = wants.map(want => this.#take(publicKey, want, free, changed))
      if (changed.size > 0) this.#save(changed.keys())
      return grants
    } catch (thrown) {
      this.#stale = true
      try {
        this.#reload()
      } catch {
        // What went wrong first says more, and the next call reads the rows before it does anything. A release that comes
        // meanwhile must find the lease that it is of.
        for (const [port, lease] of changed) this.#put(port, lease)
      }
      throw thrown
    }
  }

  /**
   * Ends the hold of a session that went away; the lease stays its key's, away. False when `epoch` is not the port's
   * current one: a late cleanup never frees the next owner's.
   */
  release(port: number, epoch: number): boolean {
    // The release is in memory; the next expire() writes it, or throws.
    this.#look()
    const lease = this.#leases.get(port)
    if (lease === undefined || lease.epoch !== epoch || !lease.live) return false
    this.#unsaved.set(port, this.#leave(lease))
    return true
  }

  /** Lets go of leases whose quarantine has passed, and of what waits to be written. How many. Call it every minute. */
  expire(): number {
    const count = this.#expireUntil(this.#time())
    this.flush()
    return count
  }

  /**
   * The operator's word: the port is nobody's from now on, without quarantine. A live one stays; end its session (or
   * revoke its key) first.
   */
  free(port: number): 'freed' | 'live' | 'none' {
    this.#expireUntil(this.#time())
    const lease = this.#leases.get(port)
    if (lease === undefined || this.#rested.has(port)) return 'none'
    if (lease.live) return 'live'
    this.store.savePool({ clock: this.#clock.time, epoch: this.#epoch, leases: [], dropped: [port] })
    this.#clockOnDisk = this.#clock.time
    this.#put(port, null)
    return 'freed'
  }

  /** All leases that others may not have, by port. */
  list(): LeaseRow[] {
    if (this.#stale) this.#reload()
    this.#look()
    this.#expireUntil(this.#clock.time)
    const names = new Map(this.store.listKeys().map(key => [key.fingerprint, key.name]))
    return [...this.#leases.values()]
      .filter(lease => lease.live || lease.heldAt + this.#quarantineMs > this.#clock.time)
      .sort((a, b) => a.port - b.port)
      .map(({ port, key, service, live, epoch, since, heldAt }) => {
        const print = fingerprint(key)
        return {
          port,
          fingerprint: print,
          name: names.get(print) ?? '',
          service,
          state: live ? 'live' : 'away',
          epoch,
          since,
          restsUntil: live ? null : heldAt + this.#quarantineMs,
        }
      })
  }

  /** Writes the releases that wait for the next write. */
  flush(): void {
    if (this.#unsaved.size > 0) this.#save([])
    else this.store.flush()
  }

  /** The relay ends: every lease is away from now on. The store stays open. */
  close(): void {
    this.#time()
    for (const lease of [...this.#leases.values()].filter(candidate => candidate.live)) {
      this.#unsaved.set(lease.port, this.#leave(lease))
    }
    this.flush()
  }

  #take(publicKey: Uint8Array, want: Wanted, free: Free, changed: Changed): Grant {
    const key = hex(publicKey)
    const mine = this.#of(this.#byOwner.get(owner(key, want.service)))
    const before = mine.find(lease => lease.live) ?? null
    const port =
      want.wanted === null ? this.#choose(key, before, mine, free) : this.#ask(key, want.service, want.wanted, free)
    if (typeof port === 'string') return { ok: false, why: port }

    if (before !== null && before.port !== port) {
      if (!changed.has(before.port)) changed.set(before.port, before)
      this.#leave(before)
    }
    this.#epoch += 1
    const epoch = this.#epoch
    const since = this.#clock.time
    if (!changed.has(port)) changed.set(port, this.#leases.get(port) ?? null)
    this.#put(port, { port, key: publicKey, service: want.service, live: true, epoch, since, heldAt: since })
    return { ok: true, port, epoch, replaced: before && { port: before.port, epoch: before.epoch } }
  }

  /** A certain port, or why not. */
  #ask(key: string, service: string, port: number, free: Free): number | Refused {
    if (!this.#inRange(port)) return 'range'
    const lease = this.#leases.get(port)
    const own = lease !== undefined && hex(lease.key) === key
    if (lease !== undefined && !own && !this.#rested.has(port)) return 'taken'
    if (own && lease.live) return lease.service === service ? port : 'taken'
    if (!this.#mayHave(key, port)) return 'share'
    return free(port) ? port : 'taken'
  }

  /** The port that key and service had, or another one. */
  #choose(key: string, before: Lease | null, mine: readonly Lease[], free: Free): number | Refused {
    if (before !== null) return before.port
    const last = mine.filter(lease => this.#inRange(lease.port)).reduce<Lease | null>(laterHeld, null)
    // Not another one instead: an address that changes by itself is worse than an error that says why.
    if (last !== null && this.#mayHave(key, last.port)) return free(last.port) ? last.port : 'taken'
    const held = this.#heldBy(key)
    if (held.length < this.#perKey) return this.#draw(free)
    const own = held.filter(lease => this.#resting.has(lease.port)).sort((a, b) => a.heldAt - b.heldAt)
    return own.find(lease => free(lease.port))?.port ?? 'share'
  }

  /** A port that was never used, at random; else the one held longest ago of those past quarantine. */
  #draw(free: Free): number | 'empty' {
    const drawn = this.#unused.draw(this.#random, free)
    if (drawn !== null) return drawn
    for (const port of this.#rested) if (free(port)) return port
    return 'empty'
  }

  #leave(lease: Lease): Lease {
    const left = { ...lease, live: false, since: this.#clock.time, heldAt: this.#clock.latest }
    this.#put(lease.port, left)
    return left
  }

  /** Whether `port`, which is nobody else's, is within the key's share: one that rests for it counts already. */
  #mayHave(key: string, port: number): boolean {
    return this.#resting.has(port) || this.#heldBy(key).length < this.#perKey
  }

  /** Leases that count against a key's share. */
  #heldBy(key: string): Lease[] {
    return this.#of(this.#byKey.get(key)).filter(lease => lease.live || this.#resting.has(lease.port))
  }

  #of(ports: ReadonlySet<number> | undefined): Lease[] {
    const leases: Lease[] = []
    for (const port of ports ?? []) {
      const lease = this.#leases.get(port)
      if (lease !== undefined) leases.push(lease)
    }
    return leases
  }

  #inRange(port: number): boolean {
    return Number.isInteger(port) && port >= this.range.from && port <= this.range.to
  }

  #time(): number {
    if (this.#stale) this.#reload()
    this.#clock.look()
    if (this.#clock.time - this.#clockOnDisk >= CLOCK_SAVED_MS) this.#save([])
    return this.#clock.time
  }

  /** As #time(), where a disk that is full is no reason to stop. */
  #look(): void {
    try {
      this.#time()
    } catch {
      // Whoever writes next hears of it.
    }
  }

  #expireUntil(now: number): number {
    let count = 0
    for (const port of this.#resting) {
      const lease = this.#leases.get(port)
      if (lease === undefined || lease.heldAt + this.#quarantineMs > now) break
      this.#resting.delete(port)
      this.#rested.add(port)
      count += 1
    }
    return count
  }

  #save(changed: Iterable<number>): void {
    const leases = this.#of(new Set([...this.#unsaved.keys(), ...changed]))
    this.store.savePool({ clock: this.#clock.time, epoch: this.#epoch, leases, dropped: [] })
    this.#clockOnDisk = this.#clock.time
    this.#unsaved.clear()
  }

  /** The rows again, and on top of them the releases that they do not have yet. */
  #reload(): void {
    const released = [...this.#unsaved.values()]
    this.#load()
    for (const lease of released) {
      const row = this.#leases.get(lease.port)
      if (row?.live && row.epoch === lease.epoch) {
        this.#put(row.port, lease)
        this.#unsaved.set(row.port, lease)
      }
    }
    this.#stale = false
  }

  #load(): void {
    const { clock, epoch, leases } = this.store.pool()
    for (const index of [
      this.#leases,
      this.#byOwner,
      this.#byKey,
      this.#resting,
      this.#rested,
      this.#unused,
      this.#unsaved,
    ]) {
      index.clear()
    }
    for (let port = this.range.from; port <= this.range.to; port++) this.#unused.add(port)
    this.#clockOnDisk = clock
    this.#clock.restore(clock, CLOCK_SAVED_MS)
    this.#epoch = epoch
    for (const lease of leases) this.#put(lease.port, lease)
  }

  /** What was live when the last relay ended is away, and was held until now for all that is known. */
  #adopt(): void {
    const now = this.#time()
    const left = [...this.#leases.values()].filter(lease => lease.live)
    for (const lease of left) this.#leave(lease)
    if (left.length > 0) this.#save(left.map(lease => lease.port))
    this.#expireUntil(now)
  }

  /** The only change of a port's lease: keeps every index true. */
  #put(port: number, next: Lease | null): void {
    const last = this.#leases.get(port)
    if (last !== undefined) {
      const key = hex(last.key)
      removeFrom(this.#byOwner, owner(key, last.service), port)
      removeFrom(this.#byKey, key, port)
      this.#resting.delete(port)
      this.#rested.delete(port)
      this.#leases.delete(port)
    } else if (next !== null) this.#unused.remove(port)
    if (next === null) {
      if (this.#inRange(port)) this.#unused.add(port)
      return
    }
    const key = hex(next.key)
    this.#leases.set(port, next)
    addTo(this.#byOwner, owner(key, next.service), port)
    addTo(this.#byKey, key, port)
    // Added last because the clock never goes back: nothing here was held later (or, in doubt, minutes later).
    if (!next.live && this.#inRange(port)) this.#resting.add(port)
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** The key's hex has one length, so that no service name can make it another's. */
function owner(key: string, service: string): string {
  return key + service
}

function laterHeld(a: Lease | null, b: Lease): Lease {
  return a === null || b.heldAt > a.heldAt || (b.heldAt === a.heldAt && b.epoch > a.epoch) ? b : a
}

function addTo(index: Map<string, Set<number>>, name: string, port: number): void {
  const ports = index.get(name)
  if (ports === undefined) index.set(name, new Set([port]))
  else ports.add(port)
}

function removeFrom(index: Map<string, Set<number>>, name: string, port: number): void {
  const ports = index.get(name)
  ports?.delete(port)
  if (ports?.size === 0) index.delete(name)
}
