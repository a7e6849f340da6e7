// Who may knock: limits on connections that have not proven a key yet, and penalties for addresses that waste them, in
// the manner of OpenSSH's MaxStartups and PerSourcePenalties. No socket, no clock of its own.

export const STRANGERS = {
  /** Connections that have not registered yet, from everywhere and from one address. */
  most: 2_048,
  mostPerAddress: 256,
  /** A penalty adds up, and bites once it is `least`; it is never longer than `longest`. Times in ms. */
  refused: 5_000,
  silent: 1_000,
  least: 15_000,
  longest: 600_000,
  /** Addresses that are remembered; the one whose penalty ends first is forgotten for a new one. */
  remembered: 65_536,
} as const

export type Offence = 'refused' | 'silent'

export class Strangers {
  readonly #now: () => number
  readonly #most: number
  readonly #knocking = new Map<string, number>()
  readonly #penalties = new Map<string, number>()
  #total = 0

  /** `now`: a monotonic clock in ms. `most`: where the system has room for fewer at once than STRANGERS says. */
  constructor(now: () => number, most = Number.POSITIVE_INFINITY) {
    this.#now = now
    this.#most = Math.min(most, STRANGERS.most)
  }

  /** Connections that have not registered yet. */
  get total(): number {
    return this.#total
  }

  /** Addresses with a penalty. */
  get remembered(): number {
    return this.#penalties.size
  }

  /** Takes a connection in, or says no: over a limit, or under a penalty. Each that was taken in has to leave(). */
  enter(host: string): boolean {
    const address = network(host)
    const here = this.#knocking.get(address) ?? 0
    if (this.#total >= this.#most || here >= STRANGERS.mostPerAddress || this.#punished(address)) return false
    this.#knocking.set(address, here + 1)
    this.#total += 1
    return true
  }

  leave(host: string): void {
    const address = network(host)
    const here = this.#knocking.get(address) ?? 0
    if (here <= 1) this.#knocking.delete(address)
    else this.#knocking.set(address, here - 1)
    this.#total -= 1
  }

  punish(host: string, offence: Offence): void {
    const address = network(host)
    const now = this.#now()
    const until = Math.min(
      now + STRANGERS.longest,
      Math.max(now, this.#penalties.get(address) ?? 0) + STRANGERS[offence],
    )
    this.#penalties.delete(address)
    if (this.#penalties.size >= STRANGERS.remembered) this.#forgetOne(now)
    this.#penalties.set(address, until)
  }

  /** Whether connections from there are turned away. */
  punished(host: string): boolean {
    return this.#punished(network(host))
  }

  /** Somebody there proved a key: what came from there before was most likely theirs, dials that they gave up. */
  forgive(host: string): void {
    this.#penalties.delete(network(host))
  }

  #punished(address: string): boolean {
    const until = this.#penalties.get(address)
    if (until === undefined) return false
    const left = until - this.#now()
    if (left <= 0) this.#penalties.delete(address)
    return left >= STRANGERS.least
  }

  #forgetOne(now: number): void {
    let soonest: string | undefined
    let soonestEnd = Number.POSITIVE_INFINITY
    let looked = 0
    for (const [address, until] of this.#penalties) {
      if (until < soonestEnd) {
        soonest = address
        soonestEnd = until
      }
      // Insertion order is nearly the order of ends: a look at the oldest is enough, and costs the same at any size.
      if (until <= now || ++looked === 64) break
    }
    if (soonest !== undefined) this.#penalties.delete(soonest)
  }
}

/** What counts as one address: an IPv4 address, or the /64 that one IPv6 host has to itself. */
export function network(host: string): string {
  if (!host.includes(':')) return host
  const [before = '', after] = host.split('%')[0]!.split('::')
  const groups = before === '' ? [] : before.split(':')
  if (after !== undefined) {
    const rest = after === '' ? [] : after.split(':')
    while (groups.length + rest.length < 8) groups.push('0')
    groups.push(...rest)
  }
  return `${groups
    .slice(0, 4)
    .map(group => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}
