// How much a session may have in flight: enough to fill the link, and little enough that a small frame behind it does not
// wait. W = 1.25 × best rate × smallest round trip + a slack of 50 ms' worth (docs/protocol.md, "The window in flight").
import { TUNING } from './wire.ts'

const SLACK_MS = 50
const SLACK_MIN = 32 * 1024
const SLACK_MAX = 256 * 1024

/** Rates are kept per slice of the time for which the best one counts. */
const SLICES = 10
const SLICE_MS = TUNING.rateWindow / SLICES

export class Window {
  /** Bytes that bulk may have in flight; always an integer. */
  size: number = TUNING.window
  /** Smallest round trip seen on this connection, in ms; Infinity while unknown. */
  rtt = Number.POSITIVE_INFINITY
  /** Last round trip, in ms. */
  lastRtt = Number.POSITIVE_INFINITY
  /** Best rate of each slice, in bytes per ms. */
  readonly #best = new Float64Array(SLICES)
  #slice = 0
  #sliceEnd = 0
  /** The running sample: from `#since` with `#from` receipted, until `#until` is receipted. */
  #until = -1
  #from = 0
  #since = 0
  /** How long the sample before took, in ms. */
  #before = 0

  /** A PING came back after `ms`. */
  roundTrip(ms: number): void {
    this.lastRtt = ms
    if (ms < this.rtt) {
      this.rtt = ms
      this.#resize()
    }
  }

  /**
   * The peer has receipted `tail` of the `head` bytes encoded; told once for all receipts that arrived together. A sample
   * runs until the last byte encoded at its start is receipted, and for a round trip at least. The bytes that it counts
   * were encoded during it or during the one before, so their rate is taken over the longer of the two: receipts that
   * were held up and then come in a burst, in whatever pieces, feign no rate that was not sent. `waiting`: there was more
   * to send than fits; a rate without a backlog says nothing about the link unless it beats the best.
   */
  receipted(tail: number, head: number, waiting: boolean, now: number): void {
    if (this.#until >= 0 && tail >= this.#until) {
      const ms = now - this.#since
      const least = this.rtt === Number.POSITIVE_INFINITY ? 0 : this.rtt
      // Shorter than a round trip it goes on while there is more in flight, and otherwise counts as one.
      if (ms < least && head > tail) return
      const over = Math.max(ms, this.#before, least)
      if (over > 0) this.#sample((tail - this.#from) / over, waiting, now)
      this.#before = ms
      this.#until = -1
    }
    this.sent(tail, head, now)
  }

  /**
   * Everything below `head` is encoded. Where one receipt takes all that is in flight, as it does with a window below
   * what a receipt waits for, a sample can only begin here.
   */
  sent(tail: number, head: number, now: number): void {
    if (this.#until >= 0 || head === tail) return
    this.#until = head
    this.#from = tail
    this.#since = now
  }

  /** A new connection: its path has a rate and a round trip of its own. */
  reset(): void {
    this.size = TUNING.window
    this.rtt = Number.POSITIVE_INFINITY
    this.lastRtt = Number.POSITIVE_INFINITY
    this.#best.fill(0)
    this.#until = -1
    this.#before = 0
  }

  get #bestRate(): number {
    let best = 0
    for (let i = 0; i < SLICES; i++) best = Math.max(best, this.#best[i]!)
    return best
  }

  #sample(rate: number, waiting: boolean, now: number): void {
    const best = this.#bestRate
    if (!waiting && (best === 0 || rate <= best)) return
    if (now >= this.#sliceEnd) {
      // One slice at a time, however long nothing was measured: an idle link has not become a slower one.
      this.#slice = (this.#slice + 1) % SLICES
      this.#best[this.#slice] = 0
      this.#sliceEnd = now + SLICE_MS
    }
    if (rate > this.#best[this.#slice]!) this.#best[this.#slice] = rate
    this.#resize()
  }

  #resize(): void {
    const rate = this.#bestRate
    if (rate === 0 || this.rtt === Number.POSITIVE_INFINITY) return
    const slack = Math.min(SLACK_MAX, Math.max(SLACK_MIN, rate * SLACK_MS))
    this.size = Math.min(TUNING.windowMax, Math.floor(1.25 * rate * this.rtt + slack))
  }
}
