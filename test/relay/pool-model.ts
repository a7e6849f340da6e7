// The pool as a table and nothing else, to compare the real one with: who had which port, until when for certain (`low`)
// and until when at most (`high`; where only the pool can know, for ever). Time is true time; the wall clock that the
// pool sees may be set back and put right again.
import { expect } from 'bun:test'
import type { Grant, LeaseRow } from '../../src/relay/pool.ts'

type When = { readonly ms: number; readonly offset: number; readonly check: boolean }
type Acquire = { do: 'acquire'; key: number; service: string; wanted: number | null; bound: readonly number[] }
type Release = { do: 'release'; port: number; epoch: number }
type Free = { do: 'free'; port: number }

export type Event = When & (Acquire | Release | Free | { do: 'expire' } | { do: 'kill' } | { do: 'stop' })

type Hold = { key: number; service: string; live: boolean; epoch: number; low: number; high: number; saved: boolean }

type Setup = { from: number; to: number; quarantineMs: number; perKey: number; storms: boolean }

const MINUTE = 60_000
const HOUR = 60 * MINUTE

export class PoolModel {
  readonly counts = { granted: 0, reused: 0, returned: 0, taken: 0, empty: 0, kills: 0 }
  readonly #holds = new Map<number, Hold>()
  #now = 0
  #offset = 0
  #epoch = 0

  constructor(private readonly setup: Setup) {}

  /** Another event, by chance, but such that things happen. */
  invent(random: () => number, keys: number): Event {
    const { from, to, storms } = this.setup
    const below = (n: number) => Math.floor(random() * n)
    const port = () => from - 1 + below(to - from + 3)
    let offset = this.#offset
    if (storms && random() < 0.01) offset = offset < 0 ? 0 : -HOUR * (1 + below(24 * 30))
    // While the clock is wrong, the relay looks at it every minute or two, as it does; otherwise hours may pass at once.
    const kind = random()
    let ms = below(kind < 0.6 ? MINUTE : kind < 0.9 ? HOUR : 8 * HOUR)
    if (offset < 0) ms = offset === this.#offset ? below(2 * MINUTE) : 0
    const when = { ms, offset, check: random() < 0.02 }

    const what = random()
    if (what < 0.5) {
      const wanted = random() < 0.7 ? null : port()
      const bound = random() < 0.9 ? [] : Array.from({ length: 1 + below(3) }, port)
      return { ...when, do: 'acquire', key: below(keys), service: `s${below(2)}`, wanted, bound }
    }
    if (what < 0.75) {
      const live = [...this.#holds].filter(([, hold]) => hold.live)
      const [chosen, hold] = live[below(live.length)] ?? []
      if (chosen !== undefined && hold !== undefined && random() < 0.8) {
        return { ...when, do: 'release', port: chosen, epoch: hold.epoch }
      }
      return { ...when, do: 'release', port: chosen ?? port(), epoch: below(this.#epoch + 2) }
    }
    if (what < 0.76) return { ...when, do: 'free', port: port() }
    // Time that passes unseen, on a wrong clock, is the one thing that no clock could tell.
    if (what < 0.763) return { ...when, ms: offset < 0 ? 0 : ms, do: 'kill' }
    if (what < 0.766) return { ...when, do: 'stop' }
    return { ...when, do: 'expire' }
  }

  /** Lets the event's time pass; what the wall clock shows then. */
  pass(event: Event): number {
    this.#now += event.ms
    this.#offset = event.offset
    return this.#now + this.#offset
  }

  acquired(event: Acquire, grant: Grant): void {
    const { key, service, wanted, bound } = event
    const own = [...this.#holds].filter(([, hold]) => hold.key === key && hold.service === service)
    const live = own.find(([, hold]) => hold.live)
    if (!grant.ok) {
      this.#refused(event, grant.why, own)
      return
    }

    const { port, epoch } = grant
    const before = this.#holds.get(port)
    expect(this.#inRange(port)).toBe(true)
    expect(epoch).toBeGreaterThan(this.#epoch)
    if (wanted !== null) expect(port).toBe(wanted)
    if (live?.[0] !== port) expect(bound).not.toContain(port)
    expect(grant.replaced).toEqual(live === undefined ? null : { port: live[0], epoch: live[1].epoch })
    if (before !== undefined && before.key !== key) {
      // The promise: nobody else within quarantine, whatever happened in between.
      expect(before.live).toBe(false)
      expect(this.#now - before.low).toBeGreaterThanOrEqual(this.setup.quarantineMs)
      this.counts.reused++
    }
    if (before?.key === key && before.live) expect(before.service).toBe(service)
    if (wanted === null) this.#atHome(event, port, own)

    if (live !== undefined && live[0] !== port) this.#leave(live[1])
    this.#holds.set(port, { key, service, live: true, epoch, low: this.#now, high: this.#now, saved: true })
    this.#epoch = epoch
    this.counts.granted++
    this.saved()
  }

  /** Without a wish, a key and service get what they had. */
  #atHome({ key }: Acquire, port: number, own: [number, Hold][]): void {
    const live = own.find(([, hold]) => hold.live)
    if (live !== undefined) {
      expect(port).toBe(live[0])
      return
    }
    const reserved = own.filter(([, hold]) => this.#reserved(hold))
    if (reserved.length > 0) {
      expect(own.map(([each]) => each)).toContain(port)
      this.counts.returned++
    }
    const held = [...this.#holds.values()].filter(hold => hold.key === key && this.#reserved(hold))
    const full = held.length >= this.setup.perKey
    if (own.length > 0 && own.every(([, hold]) => hold.low === hold.high)) {
      const [last] = own.toSorted(([, a], [, b]) => b.high - a.high || b.epoch - a.epoch)
      if (last !== undefined && (!full || this.#reserved(last[1]))) expect(port).toBe(last[0])
    }
    if (full) expect(held.some(hold => hold === this.#holds.get(port))).toBe(true)
  }

  #refused({ key, service, wanted, bound }: Acquire, why: string, own: [number, Hold][]): void {
    const hold = wanted === null ? undefined : this.#holds.get(wanted)
    switch (why) {
      case 'range': {
        expect(wanted !== null && !this.#inRange(wanted)).toBe(true)
        break
      }
      case 'taken': {
        this.counts.taken++
        const others = hold !== undefined && hold.key !== key && !this.#expired(hold)
        const busy = hold !== undefined && hold.key === key && hold.live && hold.service !== service
        const ports = wanted === null ? own.map(([port]) => port) : [wanted]
        expect(others || busy || ports.some(port => bound.includes(port))).toBe(true)
        break
      }
      case 'share': {
        this.counts.empty++
        const mine = [...this.#holds].filter(([, each]) => each.key === key && !this.#expired(each))
        expect(mine.length).toBeGreaterThanOrEqual(this.setup.perKey)
        // One of its own that rests would have been given instead.
        const resting = mine.filter(([port, each]) => !each.live && this.#reserved(each) && !bound.includes(port))
        if (wanted === null) expect(resting).toEqual([])
        else expect(resting.map(([port]) => port)).not.toContain(wanted)
        break
      }
      case 'empty': {
        this.counts.empty++
        expect(wanted).toBeNull()
        for (let port = this.setup.from; port <= this.setup.to; port++) {
          const each = this.#holds.get(port)
          expect(bound.includes(port) || (each !== undefined && !this.#expired(each))).toBe(true)
        }
        break
      }
      default:
        throw new Error(`no such refusal: ${why}`)
    }
  }

  released({ port, epoch }: Release): boolean {
    const hold = this.#holds.get(port)
    if (hold === undefined || !hold.live || hold.epoch !== epoch) return false
    this.#leave(hold)
    hold.saved = false
    return true
  }

  freed({ port }: Free, answer: 'freed' | 'live' | 'none'): void {
    const hold = this.#holds.get(port)
    if (hold === undefined) expect(answer).toBe('none')
    else if (hold.live) expect(answer).toBe('live')
    else if (this.#reserved(hold)) expect(answer).toBe('freed')
    else if (this.#expired(hold)) expect(answer).toBe('none')
    if (answer === 'freed') this.#holds.delete(port)
  }

  saved(): void {
    for (const hold of this.#holds.values()) hold.saved = true
  }

  /** What was live was held until now; what was released and perhaps not written may count as held until now. */
  killed(): void {
    this.counts.kills++
    for (const hold of this.#holds.values()) {
      if (hold.live) this.#leave(hold)
      else if (!hold.saved) hold.high = Math.max(hold.high, this.#now)
      hold.saved = true
    }
  }

  stopped(): void {
    for (const hold of this.#holds.values()) if (hold.live) this.#leave(hold)
    this.saved()
  }

  listed(rows: readonly LeaseRow[]): void {
    const listed = new Map(rows.map(row => [row.port, row]))
    expect(listed.size).toBe(rows.length)
    for (const row of rows) {
      const hold = this.#holds.get(row.port)
      if (hold === undefined) throw new Error(`${row.port} is listed, and nobody had it`)
      expect(row).toMatchObject({ epoch: hold.epoch, service: hold.service, name: `key${hold.key}` })
      expect(row.state).toBe(hold.live ? 'live' : 'away')
      expect(this.#expired(hold)).toBe(false)
    }
    for (const [port, hold] of this.#holds) if (this.#reserved(hold)) expect(listed.has(port)).toBe(true)
    const owners = rows.filter(row => row.state === 'live').map(row => `${row.name} ${row.service}`)
    expect(new Set(owners).size).toBe(owners.length)
  }

  #leave(hold: Hold): void {
    hold.live = false
    hold.low = this.#now
    hold.high = this.setup.storms ? Number.POSITIVE_INFINITY : this.#now
  }

  #reserved(hold: Hold): boolean {
    return hold.live || this.#now < hold.low + this.setup.quarantineMs
  }

  #expired(hold: Hold): boolean {
    return !hold.live && this.#now >= hold.high + this.setup.quarantineMs
  }

  #inRange(port: number): boolean {
    return port >= this.setup.from && port <= this.setup.to
  }
}
