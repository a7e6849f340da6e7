// How much a session may have in flight: enough to fill the link, and little enough that a small frame behind it does not
// wait. W = gain × best rate × smallest round trip + a slack, or the larger of the two on a short path (docs/protocol.md,
// "The window in flight"). In flight is what has not arrived at the peer: a receipt says so, and where a lost packet holds
// receipts up, the system may know more.
import { TUNING } from './wire.ts'

/** While the rate still grows, as fast as TCP itself starts; and from then on, so that it is found out when it can grow. */
const START_GAIN = 2
const GAIN = 1.1
/** The start is over after so many samples that did not beat the best by so much; far away one that does begins it again. */
const START_FLAT = 2
const START_GROWTH = 1.25

/** What covers receipts that come late: they are due after 32 KiB and 4 ms. */
const SLACK_MS = 6
const SLACK_MIN = 32 * 1024
const SLACK_MAX = 256 * 1024
/** Near by, while nobody is there to wait behind bulk: both ends work on more at a time, for less CPU. */
const SLACK_ALONE = 3 * 1024 * 1024
/** Below that, in ms, what both ends take for a turn is longer than the path, and what covers the one covers the other. */
const SHORT_MS = 1
/** A path with a round trip from here on, in ms, is far. */
const FAR_MS = 4
/** Bulk is alone when for so many ms no other stream had anything to send. */
const ALONE_MS = 250

/**
 * The path may have become longer when so many round trips in a row, one every 0.6 s or more, took longer than the window
 * covers, by so many ms. BBR needs ten seconds to see the same, and what is sent faster before that makes it take the path for slow.
 */
const DOUBTS = 12
const DOUBT_MS = SLACK_MS + 2
/** Bulk then waits until the path is empty and was measured, so often at most. */
const TRIPS = 3

/** Near by, a round trip is too short to measure a rate in: what one turn of the event loop hands over looks like it. */
const SAMPLE_MIN_MS = 5

/** Rates are kept per slice of the time for which the best one counts. */
const SLICES = 10
const SLICE_MS = TUNING.rateWindow / SLICES

export class Window {
  /** Bytes that bulk may have in flight; always an integer. */
  size: number = TUNING.window
  /** The path's round trip, in ms: the smallest seen since it is this path. Infinity while unknown. */
  rtt = Number.POSITIVE_INFINITY
  /** Last round trip, in ms. */
  lastRtt = Number.POSITIVE_INFINITY
  /** So many bytes of the session have arrived at the peer, though not every one below this position. */
  arrived = 0
  /** Best rate of each slice, in bytes per ms. */
  readonly #best = new Float64Array(SLICES)
  #slice = 0
  #sliceEnd = 0
  /** Samples in a row that did not grow; the start is over at START_FLAT. */
  #flat = 0
  /** The rate at which the start was over, or less if it has not been reached since, in bytes per ms. */
  #full = 0
  /** The running sample: from `#since` with `#from` arrived, until `#until` has. */
  #until = -1
  #from = 0
  #since = 0
  /** How long the sample before took, in ms. */
  #before = 0
  /** When a stream that is not bulk last sent something. */
  #smallAt = Number.NEGATIVE_INFINITY
  #alone = true
  /** Round trips in a row that the window does not cover. */
  #doubts = 0
  /** Bulk waits until so many bytes have arrived, and the path was measured; -1: it does not. */
  #drainTo = -1
  /** When they had; a PING sent before does not count. */
  #drainedAt = Number.POSITIVE_INFINITY
  /** Round trips measured on the empty path, the smallest of them, and whether one is on its way. */
  #trips = 0
  #least = Number.POSITIVE_INFINITY
  #asked = false

  /** What bulk may still send when everything below `head` is encoded. */
  room(head: number): number {
    return this.size - (head - this.arrived)
  }

  /**
   * A PING came back after `ms`, when of what is encoded the first `head` bytes will be receipted soon. What is in flight waits
   * in queues, and a round trip takes longer for that; that the path is longer can only be seen while it is empty. `crowded`:
   * it was not on the way back.
   */
  roundTrip(ms: number, head: number, now: number, crowded = false): void {
    this.lastRtt = ms
    if (ms < this.rtt) {
      this.rtt = ms
      this.#resize()
    }
    if (this.draining) this.#measure(ms, now, crowded)
    else this.#doubt(ms, head, now)
  }

  /** What the system takes for the connection's round trip, in ms: behind a lost packet a PING says little. */
  systemRoundTrip(ms: number): void {
    if (this.#covers(ms)) this.#doubts = 0
  }

  /** Round trips took longer than the window covers. */
  get doubtful(): boolean {
    return this.#doubts > 0
  }

  /** Bulk sends nothing for now. */
  get draining(): boolean {
    return this.#drainTo >= 0
  }

  /** The path is empty, and a PING is to be sent that measures it; once for each. */
  takePing(): boolean {
    if (this.#asked || this.#drainedAt === Number.POSITIVE_INFINITY) return false
    this.#asked = true
    return true
  }

  /** A stream that is not bulk sends something, and from now on does not want to wait. */
  small(now: number): void {
    this.#smallAt = now
    if (!this.#alone) return
    this.#alone = false
    this.#resize()
  }

  /**
   * Of the `head` bytes encoded `count` have arrived; told once for all receipts that came together. A sample runs until
   * as many as were encoded at its start have arrived, and for a round trip at least. The bytes that it counts were
   * encoded during it or during the one before, so their rate is taken over the longer of the two: receipts that were
   * held up and then come in a burst, in whatever pieces, feign no rate that was not sent. `waiting`: there was more to
   * send than fits; a rate without a backlog says nothing about the link unless it beats the best.
   */
  arrive(count: number, head: number, waiting: boolean, now: number): void {
    // What the system knew, receipts may take a while to say.
    if (count > this.arrived) this.arrived = count
    if (this.draining) this.#empty(now)
    if (this.#until >= 0 && this.arrived >= this.#until) {
      const ms = now - this.#since
      const least = this.rtt === Number.POSITIVE_INFINITY ? 0 : this.rtt
      // Shorter than that it goes on while there is more in flight; otherwise it counts as a round trip.
      if (ms < Math.max(least, SAMPLE_MIN_MS) && head > this.arrived) return
      const over = Math.max(ms, this.#before, least)
      if (over > 0) this.#sample((this.arrived - this.#from) / over, waiting, now)
      this.#before = ms
      this.#until = -1
    }
    this.sent(head, now)
  }

  /**
   * Everything below `head` is encoded. Where one receipt takes all that is in flight, as it does with a window below
   * what a receipt waits for, a sample can only begin here.
   */
  sent(head: number, now: number): void {
    if (this.#until >= 0 || head === this.arrived) return
    this.#until = head
    this.#from = this.arrived
    this.#since = now
  }

  /** A new connection, from `position` on: its path has a rate and a round trip of its own. */
  reset(position: number): void {
    this.size = TUNING.window
    this.rtt = Number.POSITIVE_INFINITY
    this.lastRtt = Number.POSITIVE_INFINITY
    this.arrived = position
    this.#best.fill(0)
    this.#flat = 0
    this.#until = -1
    this.#before = 0
    this.#doubts = 0
    this.#carryOn()
  }

  /** The path is a short one, as far as is known. */
  get near(): boolean {
    return this.rtt < FAR_MS
  }

  /** The rate still grows, as far as is known. */
  get starting(): boolean {
    return this.#flat < START_FLAT
  }

  #covers(ms: number): boolean {
    return ms <= GAIN * this.rtt + DOUBT_MS
  }

  #doubt(ms: number, head: number, now: number): void {
    this.#doubts = this.#covers(ms) ? 0 : this.#doubts + 1
    if (this.#doubts < DOUBTS) return
    this.#drainTo = head
    this.#trips = 0
    this.#least = Number.POSITIVE_INFINITY
    this.#empty(now)
  }

  #empty(now: number): void {
    if (this.arrived >= this.#drainTo) this.#drainedAt = Math.min(this.#drainedAt, now)
  }

  /**
   * One that is covered says that the path is what it was; one that is not may have been held up by anything. Two sides
   * that both send bulk must not take each other's queues for the path: the windows of both would grow without end.
   */
  #measure(ms: number, now: number, crowded: boolean): void {
    if (now - ms < this.#drainedAt) return
    this.#trips++
    this.#least = Math.min(this.#least, ms)
    if (!crowded && !this.#covers(ms) && this.#trips < TRIPS) {
      this.#asked = false
      return
    }
    if (!crowded && !this.#covers(this.#least)) {
      this.rtt = this.#least
      // The rate was that of a window for a shorter path.
      this.#flat = 0
      this.#resize()
    }
    this.#doubts = 0
    this.#carryOn()
  }

  #carryOn(): void {
    this.#drainTo = -1
    this.#drainedAt = Number.POSITIVE_INFINITY
    this.#asked = false
  }

  get #bestRate(): number {
    let best = 0
    for (let i = 0; i < SLICES; i++) best = Math.max(best, this.#best[i]!)
    return best
  }

  #sample(rate: number, waiting: boolean, now: number): void {
    const best = this.#bestRate
    if (!waiting && (best === 0 || rate <= best)) return
    if (this.starting) {
      this.#flat = rate >= best * START_GROWTH ? 0 : this.#flat + 1
      this.#full = Math.max(best, rate)
    } else if (!this.near && rate >= this.#full * START_GROWTH) {
      // The path was not full: lost packets had held receipts up, or somebody else has made room since.
      this.#flat = 0
    }
    if (now >= this.#sliceEnd) {
      // One slice at a time, however long nothing was measured: an idle link has not become a slower one.
      this.#slice = (this.#slice + 1) % SLICES
      this.#best[this.#slice] = 0
      this.#sliceEnd = now + SLICE_MS
    }
    if (rate > this.#best[this.#slice]!) this.#best[this.#slice] = rate
    this.#full = Math.min(this.#full, this.#bestRate)
    if (now - this.#smallAt > ALONE_MS) this.#alone = true
    this.#resize()
  }

  #resize(): void {
    const rate = this.#bestRate
    if (rate === 0 || this.rtt === Number.POSITIVE_INFINITY) return
    const most = this.#alone && this.near ? SLACK_ALONE : SLACK_MAX
    const slack = Math.min(most, SLACK_MIN + rate * SLACK_MS)
    const path = (this.starting ? START_GAIN : GAIN) * rate * this.rtt
    const size = Math.floor(this.rtt < SHORT_MS ? Math.max(path, slack) : path + slack)
    this.size = Math.min(TUNING.windowMax, this.starting ? Math.max(size, TUNING.window) : size)
  }
}
