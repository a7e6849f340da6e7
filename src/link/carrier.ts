// Drives a session over a connection: what arrives goes to receive(), what the session has to send is transmitted once
// a turn of the event loop, and one timer calls tick(). Gathering by setImmediate is what makes it fast: an immediate
// write costs 65 % more CPU a request (docs/performance.md).
import type { Session } from '../frame/index.ts'
import type { Connection, Ended, Handler } from '../net/index.ts'

/** How long a session's last frames may take to leave after its end, in ms. */
const FAREWELL_MS = 2_000

export class Carrier implements Handler {
  readonly #connection: Connection
  /** Null until start(): the session needs the carrier's wake() first. */
  #session: Session | null = null
  /** Bytes that go out before the session's: ACK, which is not part of its positions. */
  #preamble: Buffer | null = null
  #preambleAt = 0
  #scheduled = false
  #blocked = false
  #closing = false
  #armedFor = Number.POSITIVE_INFINITY
  #timer: ReturnType<typeof setTimeout> | undefined
  readonly #write = (buf: Buffer, at: number, len: number): number => this.#connection.write(buf, at, len)
  readonly #onImmediate = (): void => {
    this.#scheduled = false
    this.#transmit()
  }
  readonly #onTimer = (): void => {
    this.#armedFor = Number.POSITIVE_INFINITY
    this.#session?.tick(performance.now())
    this.#arm()
  }

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /** `rest`: what arrived behind the registration in the same chunk. */
  start(session: Session, preamble: Buffer | null, rest: Buffer): void {
    this.#session = session
    this.#preamble = preamble
    this.#connection.handler = this
    if (rest.length > 0) session.receive(rest, performance.now())
    this.wake()
    this.#arm()
  }

  /** The session has something to send. */
  wake(): void {
    if (this.#scheduled || this.#blocked) return
    this.#scheduled = true
    setImmediate(this.#onImmediate)
  }

  /** The session is over: its last frames go out, then the connection ends. */
  finish(): void {
    if (this.#closing) return
    this.#closing = true
    this.#connection.linger(FAREWELL_MS)
    this.wake()
  }

  /** Ends the connection at once. */
  abort(): void {
    this.#closing = true
    this.#connection.abort()
  }

  onData(buf: Buffer): boolean {
    const free = this.#session!.receive(buf, performance.now())
    this.#arm()
    return free
  }

  onDrain(): void {
    this.#blocked = false
    this.#transmit()
  }

  onEnd(): void {
    this.#session!.lost()
    this.#connection.abort()
  }

  onClose(_how: Ended): void {
    clearTimeout(this.#timer)
    this.#closing = true
    this.#session!.lost()
  }

  #transmit(): void {
    if (this.#preamble !== null) {
      const len = this.#preamble.length - this.#preambleAt
      this.#preambleAt += this.#connection.write(this.#preamble, this.#preambleAt, len)
      if (this.#preambleAt < this.#preamble.length) {
        this.#blocked = true
        return
      }
      this.#preamble = null
    }
    this.#blocked = !this.#session!.transmit(this.#write, performance.now())
    if (this.#closing && !this.#blocked) this.#connection.shutdown()
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
