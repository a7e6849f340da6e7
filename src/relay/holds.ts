// Sessions whose connection broke, held for a while so that their agents can resume them. Bounded in number and in bytes:
// the oldest of the key that has the most is given up first, so that no key pushes out another's. Only a registered session
// gets here, so a stranger can make the relay hold nothing.
import type { Member } from './sessions.ts'

/** What a relay holds at most, unless it is told otherwise. */
export const HOLDS = {
  /** Sessions held at once. */
  sessions: 1_024,
  /** Bytes that they keep together: for a replay, and for streams that wait. */
  bytes: 256 * 1024 * 1024,
} as const

/** What a key has of them; its oldest first. */
type Share = { readonly members: Set<Member>; bytes: number }

type Hold = { readonly since: number; readonly bytes: number; readonly timer: ReturnType<typeof setTimeout> }

export class Holds {
  readonly #held = new Map<Member, Hold>()
  /** By fingerprint. */
  readonly #shares = new Map<string, Share>()
  readonly #limits: { sessions: number; bytes: number }
  readonly #onExpired: (member: Member, reason: string) => void
  #bytes = 0

  constructor(limits: { sessions: number; bytes: number }, onExpired: (member: Member, reason: string) => void) {
    this.#limits = limits
    this.#onExpired = onExpired
  }

  get size(): number {
    return this.#held.size
  }

  /** Bytes that held sessions keep. */
  get bytes(): number {
    return this.#bytes
  }

  hold(member: Member, ms: number): void {
    const timer = setTimeout(() => this.#expire(member, `not resumed within ${ms / 1000} s`), ms)
    const bytes = member.session.held
    this.#held.set(member, { since: performance.now(), bytes, timer })
    this.#bytes += bytes
    const share = this.#shares.get(member.fingerprint) ?? { members: new Set(), bytes: 0 }
    this.#shares.set(member.fingerprint, share)
    share.members.add(member)
    share.bytes += bytes
    while (this.#held.size > this.#limits.sessions) this.#giveUp(this.#withMostSessions())
    while (this.#bytes > this.#limits.bytes) this.#giveUp(this.#withMost(({ bytes }) => bytes))
  }

  /** It is held no longer; how long it was, in ms, or null when it was not. */
  release(member: Member): number | null {
    const hold = this.#held.get(member)
    if (hold === undefined) return null
    clearTimeout(hold.timer)
    this.#held.delete(member)
    this.#bytes -= hold.bytes
    const share = this.#shares.get(member.fingerprint)
    share?.members.delete(member)
    if (share?.members.size === 0) this.#shares.delete(member.fingerprint)
    else if (share !== undefined) share.bytes -= hold.bytes
    return performance.now() - hold.since
  }

  /** Its oldest session. */
  #giveUp(share: Share | undefined): void {
    for (const member of share?.members ?? []) return this.#expire(member, 'the relay holds too much')
  }

  #withMostSessions(): Share | undefined {
    // When a switch fails every agent breaks at once, and mostly each has a key of its own: the first has as many as any.
    if (this.#shares.size === this.#held.size) return this.#shares.values().next().value
    return this.#withMost(({ members }) => members.size)
  }

  /** Of those that have as much, the one that was held first. */
  #withMost(weight: (share: Share) => number): Share | undefined {
    let most: Share | undefined
    for (const share of this.#shares.values()) if (most === undefined || weight(share) > weight(most)) most = share
    return most
  }

  #expire(member: Member, reason: string): void {
    this.release(member)
    this.#onExpired(member, reason)
  }
}
