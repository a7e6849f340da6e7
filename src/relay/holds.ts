// Sessions whose connection broke, held for a while so that their agents can resume them. Bounded in number and in bytes:
// the oldest is given up first. Only a registered session gets here, so a stranger can make the relay hold nothing.
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
    for (const [oldest] of this.#held) {
      if (this.#held.size <= this.#limits.sessions && this.#bytes <= this.#limits.bytes) break
      this.#expire(oldest, 'the relay holds too much')
    }
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

  #expire(member: Member, reason: string): void {
    this.release(member)
    this.#onExpired(member, reason)
  }
}
