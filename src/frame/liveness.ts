// Whether the peer lives, and how far away it is: when it was heard last, when it is asked by a PING, when its silence is
// long enough to count. No clock of its own; a tick that comes late says that this process was held up, not that the peer
// was silent (docs/protocol.md, "Liveness").
import { LIMIT } from './wire.ts'

/** PINGs that may be unanswered at once and still be matched to their PONG. */
const PINGS = 8
const STARTING_PINGS = 3
const UNRECEIPTED_PING_MS = 1000
/**
 * A silent peer is asked after this part of the limit. What it may be held up for without being given up is the rest, less
 * a round trip: four fifths of the limit, 4 s of 5.
 */
const QUIET = 8
/** A tick that is late by no more, in ms, comes as timers do: what each of many is late would add up to half of the time. */
const TIMER_MS = 20
/** A second tick that is late by this part of the limit does not count. */
const LATE = 10

export class Liveness {
  /** A PING is to be encoded. */
  pingDue = true
  /** When the next tick was said to be due. */
  promised = Number.POSITIVE_INFINITY
  readonly #deadAfter: number
  #heardAt: number
  #suspect = false
  #pingAt: number
  #startingPings = STARTING_PINGS - 1
  #pingCount = 0
  readonly #pingSentAt = new Float64Array(PINGS).fill(-1)

  /** `deadAfter`: silent for so many ms, the peer is dead. */
  constructor(deadAfter: number, now: number) {
    this.#deadAfter = deadAfter
    this.#heardAt = now
    this.#pingAt = now
  }

  /** While the peer is suspected, the poll between two ticks is what is waited for. */
  get suspect(): boolean {
    return this.#suspect
  }

  get heardAt(): number {
    return this.#heardAt
  }

  /** When the peer will have been silent for too long. */
  get deadline(): number {
    return this.#heardAt + this.#deadAfter
  }

  heard(now: number): void {
    this.#heardAt = now
    this.#suspect = false
  }

  /** What a tick finds. `suspect`: look once more, at `promised`. */
  check(now: number): 'alive' | 'suspect' | 'dead' {
    const late = now - this.promised
    if (late > TIMER_MS) this.#heardAt = Math.min(now, this.#heardAt + late)
    if (now - this.#heardAt < this.#deadAfter) {
      this.#suspect = false
      return 'alive'
    }
    // One more poll: what arrived meanwhile lies in the socket, unread. Timers run before that poll when the loop was
    // held up, so a second tick that is itself late proves nothing.
    if (this.#suspect && late < this.#deadAfter / LATE) return 'dead'
    this.#suspect = true
    this.promised = now + 1
    return 'suspect'
  }

  /** When the peer is to be asked next. `unreceipted`: frames are on their way that it will answer by a receipt. */
  nextPing(unreceipted: boolean): number {
    const silence = Math.max(this.#heardAt, this.#pingAt) + this.#deadAfter / QUIET
    return unreceipted ? Math.min(silence, this.#pingAt + UNRECEIPTED_PING_MS) : silence
  }

  ask(now: number): void {
    this.#pingAt = now
    this.pingDue = true
  }

  /** The PING that is due goes out now: its opaque. */
  takePing(now: number): number {
    this.pingDue = false
    this.#pingCount = (this.#pingCount + 1) % LIMIT.streamId
    this.#pingSentAt[this.#pingCount % PINGS] = now
    return this.#pingCount
  }

  /** The round trip in ms, or null for a PONG that was not asked for on this connection. */
  pong(opaque: number): number | null {
    const age = this.#pingCount - opaque
    if (age < 0 || age >= PINGS) return null
    const sentAt = this.#pingSentAt[opaque % PINGS]!
    if (sentAt < 0) return null
    this.#pingSentAt[opaque % PINGS] = -1
    if (this.#startingPings > 0) {
      this.#startingPings--
      this.ask(this.#heardAt)
    }
    return Math.max(0, this.#heardAt - sentAt)
  }

  /** A new connection. */
  restart(now: number): void {
    this.heard(now)
    this.ask(now)
    this.#startingPings = STARTING_PINGS - 1
    this.#pingSentAt.fill(-1)
    this.promised = Number.POSITIVE_INFINITY
  }

  /** Between two connections nothing is suspected. */
  rest(): void {
    this.#suspect = false
  }
}
