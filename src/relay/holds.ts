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

type Hold = { readonly since: number; readonly bytes: number; readonly timer: ReturnType<typeof setTimeout> }

export class Holds {
  readonly #held = new Map<Member, Hold>()
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
    while (this.#held.size > this.#limits.sessions) this.#giveUp(() => 1)
    while (this.#bytes > this.#limits.bytes) this.#giveUp(({ bytes }) => bytes)
  }

  /** It is held no longer; how long it was, in ms, or null when it was not. */
  release(member: Member): number | null {
    const hold = this.#held.get(member)
    if (hold === undefined) return null
    clearTimeout(hold.timer)
    this.#held.delete(member)
    this.#bytes -= hold.bytes
    return performance.now() - hold.since
  }

  /** The oldest session of the key whose sessions weigh the most. */
  #giveUp(weight: (hold: Hold) => number): void {
    const weights = new Map<string, number>()
    for (const [{ fingerprint }, hold] of this.#held) {
      weights.set(fingerprint, (weights.get(fingerprint) ?? 0) + weight(hold))
    }
    const most = Math.max(...weights.values())
    for (const [member] of this.#held) {
      if (weights.get(member.fingerprint) === most) return this.#expire(member, 'the relay holds too much')
    }
  }

  #expire(member: Member, reason: string): void {
    this.release(member)
    this.#onExpired(member, reason)
  }
}
