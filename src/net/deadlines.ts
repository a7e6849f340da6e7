// One timer for every deadline of the process's sockets: dials, handshakes, lingers, keepalive's first seconds. Ten thousand lingering connections
// cost a set and one timer, not ten thousand timers. Deadlines are rounded up, never down, so one sweep serves many.

export interface Timed {
  /** When it is due, by `performance.now()`. Written by `Deadlines` only. */
  due: number
  /** It is due: returns when it is due next, or 0 when it is over. */
  expire(now: number): number
}

/** No sweep comes sooner than this after the last one, and no deadline is met later than this (the loop permitting). */
const GRAIN = 25

class Deadlines {
  private readonly waiting = new Set<Timed>()
  private timer: Timer | null = null
  private at = Number.POSITIVE_INFINITY

  /** Sets or moves the deadline of `timed`. */
  set(timed: Timed, inMs: number): void {
    timed.due = Math.ceil((performance.now() + inMs) / GRAIN) * GRAIN
    this.waiting.add(timed)
    if (timed.due < this.at) this.arm(timed.due)
  }

  clear(timed: Timed): void {
    if (!this.waiting.delete(timed) || this.waiting.size > 0) return
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = null
    this.at = Number.POSITIVE_INFINITY
  }

  /** How many are waited for: what is left here after everything closed is a leak. */
  get size(): number {
    return this.waiting.size
  }

  private arm(at: number): void {
    if (this.timer !== null) clearTimeout(this.timer)
    this.at = at
    this.timer = setTimeout(sweep, Math.max(1, Math.ceil(at - performance.now())))
  }

  sweep(): void {
    const now = performance.now()
    this.timer = null
    this.at = Number.POSITIVE_INFINITY
    let next = Number.POSITIVE_INFINITY
    try {
      for (const timed of this.waiting) {
        if (timed.due <= now) {
          const due = timed.expire(now)
          if (due === 0) this.waiting.delete(timed)
          else timed.due = Math.ceil(Math.max(due, now + 1) / GRAIN) * GRAIN
        }
        if (timed.due < next && this.waiting.has(timed)) next = timed.due
      }
    } catch (thrown) {
      // A handler threw: the rest of the sweep must not be lost with it.
      next = now
      throw thrown
    } finally {
      if (this.waiting.size > 0 && next < this.at) this.arm(next)
    }
  }
}

export const deadlines = new Deadlines()

function sweep(): void {
  deadlines.sweep()
}
