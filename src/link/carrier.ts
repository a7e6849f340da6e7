// Drives a session over a connection: what arrives goes to receive(), what the session has to send is transmitted once
// a turn of the event loop, and one timer calls tick(). Gathering by setImmediate is what makes it fast: an immediate
// write costs 65 % more CPU a request. A connection that breaks is replaced by another one; the session stays.
import { type Session, TUNING } from '../frame/index.ts'
import type { Connection, Ended, Handler, Path } from '../net/index.ts'

/** How long nothing may move while a session's last frames leave after its end, and how long that may take at most, in ms. */
const FAREWELL_MS = 2_000
const FAREWELL_MOST_MS = 10_000

/** A window is sent in no less than a round trip divided by this. */
const PACE = 1.2

/**
 * BBR takes the best rate of its last ten round trips for the path's. When a packet is lost while there is little to send,
 * what little there was becomes that rate, and from there it grows by a quarter in eight round trips: bulk then crawls for
 * the rest of the connection. After so many round trips of gaps, or of most that was written still waiting, it starts over, ...
 */
const HELD_BACK_ROUND_TRIPS = 4
/** ... once in so many ms: where the path is that slow, starting over finds the same again. */
const RELEARN_MS = 5_000

/** How a connection broke: by FIN its process is likely gone; a reset or silence is more likely the link. */
export type Break = 'fin' | 'reset' | 'silence'

const NOTHING = Buffer.alloc(0)

export class Carrier implements Handler {
  /** Null between two connections. */
  #connection: Connection | null = null
  /** Under it. */
  #path: Path | null = null
  /** Null until start(): the session needs the carrier's wake() first. */
  #session: Session | null = null
  readonly #onBroken: (how: Break) => void
  /** Bytes that go out before the session's: ACK or RESUMED, which are not part of its positions. */
  #preamble: Buffer = NOTHING
  #scheduled = false
  #blocked = false
  #closing = false
  /** The connection may hold all that the session may have in flight. */
  #roomy = false
  /** The window that it is paced for; 0 while it is near, or has little to send. */
  #pacedFor = 0
  /** Since when the connection is held back, by loss or by what the system takes the path's rate for. */
  #heldBackAt = Number.POSITIVE_INFINITY
  #relearnAt = 0
  #armedFor = Number.POSITIVE_INFINITY
  #timer: ReturnType<typeof setTimeout> | undefined
  readonly #write = (buf: Buffer, at: number, len: number): number => this.#connection!.write(buf, at, len)
  readonly #onImmediate = (): void => {
    this.#scheduled = false
    this.#transmit()
  }
  readonly #onTimer = (): void => {
    this.#armedFor = Number.POSITIVE_INFINITY
    const now = performance.now()
    this.#ask(now)
    this.#session!.tick(now)
    this.#arm()
  }

  /** `onBroken`: the session is detached; it waits for resume(), or for its owner to give it up. */
  constructor(onBroken: (how: Break) => void) {
    this.#onBroken = onBroken
  }

  /** The first connection. `rest`: what arrived behind the registration in the same chunk. */
  start(session: Session, connection: Connection, preamble: Buffer, rest: Buffer): void {
    this.#session = session
    this.#carryOn(connection, preamble, rest)
  }

  /** Goes on over another connection, from the peer's position; returns how many bytes are replayed. */
  resume(connection: Connection, peerPosition: number, preamble: Buffer, rest: Buffer): number {
    const replayed = this.#session!.attach(peerPosition, performance.now())
    this.#carryOn(connection, preamble, rest)
    return replayed
  }

  /** Makes the connection mute for good: only then does the session's position stand still. */
  detach(): void {
    if (this.#connection === null) return
    const connection = this.#connection
    this.#connection = null
    this.#path = null
    clearTimeout(this.#timer)
    this.#armedFor = Number.POSITIVE_INFINITY
    this.#session!.detach()
    connection.mute()
  }

  /** The connection is to be taken for broken. */
  break(how: Break): void {
    if (this.#connection === null) return
    this.detach()
    if (this.#closing) this.#session!.lost()
    else this.#onBroken(how)
  }

  /** The address that the connection was made from; null without one. */
  get localHost(): string | null {
    return this.#connection?.localHost ?? null
  }

  /** The session has something to send. */
  wake(): void {
    if (this.#scheduled || this.#blocked) return
    this.#scheduled = true
    setImmediate(this.#onImmediate)
  }

  /** The session has something to send that should not wait for the end of this turn of the event loop. */
  full(): void {
    if (this.#connection === null || this.#preamble.length > 0) return
    this.#blocked = !this.#session!.push(this.#write, performance.now())
  }

  /** The session is over: its last frames go out, then the connection ends. */
  finish(): void {
    if (this.#closing) return
    this.#closing = true
    this.#connection?.linger(FAREWELL_MS, FAREWELL_MOST_MS)
    this.wake()
  }

  onData(buf: Buffer): boolean {
    const now = performance.now()
    this.#ask(now)
    const free = this.#session!.receive(buf, now)
    this.#arm()
    return free
  }

  onDrain(): void {
    this.#blocked = false
    this.#transmit()
  }

  onEnd(): void {
    this.break('fin')
  }

  onClose(how: Ended): void {
    this.break(how === 'closed' ? 'fin' : 'reset')
  }

  #carryOn(connection: Connection, preamble: Buffer, rest: Buffer): void {
    const { path } = connection
    this.#connection = connection
    this.#path = path
    this.#preamble = preamble
    this.#blocked = false
    this.#roomy = false
    this.#pacedFor = 0
    this.#heldBackAt = Number.POSITIVE_INFINITY
    connection.handler = this
    this.#session!.confirm(path.missing, performance.now())
    if (rest.length > 0) this.#session!.receive(rest, performance.now())
    this.wake()
    this.#arm()
  }

  #ask(now: number): void {
    const session = this.#session!
    if (!session.asks(now)) {
      if (this.#pacedFor !== 0 && session.turns.window.near) this.#pace(0)
      return
    }
    const path = this.#path!
    const { window } = session.turns
    // Only here: the path is long, and there is more to send than fits.
    if (!this.#roomy) path.hold(TUNING.windowMax)
    this.#roomy = true
    session.confirm(path.missing, now)
    if (window.doubtful) window.systemRoundTrip(path.roundTrip)
    this.#relearn(path, window.rtt, now)
    // At the start TCP itself finds out how fast it may be, and what comes after a short one should not be held to that.
    this.#pace(window.starting ? 0 : window.size)
  }

  /** For a window of `size` bytes; 0: as fast as it goes. */
  #pace(size: number): void {
    if (size === this.#pacedFor) return
    this.#pacedFor = size
    const { rtt } = this.#session!.turns.window
    this.#path!.pace(size === 0 ? Number.MAX_SAFE_INTEGER : (PACE * size * 1000) / rtt)
  }

  #relearn(path: Path, rtt: number, now: number): void {
    if (!path.heldBack) this.#heldBackAt = Number.POSITIVE_INFINITY
    else if (this.#heldBackAt > now) this.#heldBackAt = now
    if (now - this.#heldBackAt < HELD_BACK_ROUND_TRIPS * rtt || now < this.#relearnAt) return
    path.relearn()
    this.#heldBackAt = Number.POSITIVE_INFINITY
    this.#relearnAt = now + RELEARN_MS
  }

  #transmit(): void {
    const connection = this.#connection
    if (connection === null) return
    while (this.#preamble.length > 0) {
      const taken = connection.write(this.#preamble, 0, this.#preamble.length)
      this.#preamble = this.#preamble.subarray(taken)
      if (taken > 0) continue
      this.#blocked = true
      return
    }
    this.#blocked = !this.#session!.transmit(this.#write, performance.now())
    if (this.#closing && !this.#blocked) connection.shutdown()
    this.#arm()
  }

  /** The timer never moves to later: a deadline that has moved is found when it fires, and costs nothing meanwhile. */
  #arm(): void {
    const at = this.#session!.deadline()
    if (at >= this.#armedFor) return
    clearTimeout(this.#timer)
    this.#armedFor = at
    this.#timer = setTimeout(this.#onTimer, Math.max(1, Math.ceil(at - performance.now())))
  }
}
