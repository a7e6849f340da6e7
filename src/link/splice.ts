// Joins an outer connection (a visitor's, or the one to the local service) and a stream, both directions: FIN as FIN,
// RST as RST, and nothing kept that the other side has not asked for.
import { type Pieces, RESET_CODE, type ResetCode, type Session, type Sink, type Stream } from '../frame/index.ts'
import { type Connection, type Dialing, type Ended, type Handler, release } from '../net/index.ts'
import type { StreamEnd } from '../telemetry/events.ts'

/** Without progress for so long, a connection that is finished both ways but not flushed is given up. */
const LINGER_MS = 30_000
const KEEPALIVE_MS = 60_000
/** Behind a chunk of so many bytes there is likely more. */
const MORE_LIKELY = 65_536

const END_OF: Record<ResetCode, StreamEnd> = {
  [RESET_CODE.ABORTED]: 'reset',
  [RESET_CODE.REFUSED]: 'refused',
  [RESET_CODE.TIMEOUT]: 'timeout',
  [RESET_CODE.UNREACHABLE]: 'unreachable',
  [RESET_CODE.LOCAL_LIMIT]: 'limit',
  [RESET_CODE.NO_TUNNEL]: 'denied',
  [RESET_CODE.DENIED]: 'denied',
  [RESET_CODE.BUSY]: 'busy',
  [RESET_CODE.PROTOCOL]: 'reset',
}

/** Told once, when both the stream and the connection are done with. */
export type OnDone = (splice: Splice) => void

export class Splice implements Handler, Sink {
  /** The tunnel's id. */
  readonly tunnel: number
  readonly visitor: string
  /** When it began, in ms of performance.now(). */
  readonly since = performance.now()
  /** Bytes read from the outer connection. */
  read = 0
  /** How it ended; null while it lasts. */
  ended: StreamEnd | null = null
  /** The dial to the local service while it lasts; given up when the stream is. */
  dialing: Dialing | null = null
  readonly #onDone: OnDone
  #connection: Connection | null = null
  #stream: Stream | null = null
  #sourceEnded = false
  /** The session is between two connections. */
  #held = false

  constructor(tunnel: number, visitor: string, onDone: OnDone) {
    this.tunnel = tunnel
    this.visitor = visitor
    this.#onDone = onDone
  }

  /** Bytes written to the outer connection. */
  get written(): number {
    return this.#stream?.taken ?? 0
  }

  /** A visitor's connection is there first: opens a stream for it. False (and a reset) when the session takes none. */
  open(connection: Connection, session: Session, edge: string): boolean {
    this.#attach(connection)
    this.#stream = session.open({ tunnel: this.tunnel, visitor: this.visitor, edge }, this)
    if (this.#stream !== null) return true
    this.ended = 'busy'
    connection.abort()
    return false
  }

  /** A stream is there first: its bytes wait, within the first credit, for connect(). */
  accept(stream: Stream): void {
    this.#stream = stream
    stream.sink = this
  }

  /** The local service answered. False when the stream is gone by now. */
  connect(connection: Connection): boolean {
    this.dialing = null
    if (this.ended !== null) return false
    this.#attach(connection)
    this.#stream!.flush()
    if (this.#stream!.delivered) connection.shutdown()
    return true
  }

  /** The local service cannot be reached. */
  refuse(code: ResetCode): void {
    if (this.ended !== null) return
    this.#stream!.abort(code)
    this.#done(END_OF[code])
  }

  /** Ends it at once, both ways. */
  abort(code: ResetCode = RESET_CODE.ABORTED): void {
    if (this.ended !== null) return
    this.ended = END_OF[code]
    this.#stream?.abort(code)
    if (this.#connection === null) this.#done(this.ended)
    else this.#connection.abort()
  }

  #attach(connection: Connection): void {
    this.#connection = connection
    connection.handler = this
    if (this.#held) connection.pause()
    connection.keepAlive(KEEPALIVE_MS)
    connection.resetIfKilled()
  }

  // ---- The outer connection.

  onData(buf: Buffer): boolean {
    this.read += buf.length
    const copied = this.#stream!.offer(buf)
    if (copied && (buf.length < MORE_LIKELY || !this.#stream!.takeMore())) return true
    this.#connection!.pause()
    return copied
  }

  onDrain(): void {
    this.#stream!.flush()
  }

  onEnd(): void {
    this.#sourceEnded = true
    this.#stream!.finish()
    this.#lingerIfFinished()
  }

  onClose(how: Ended): void {
    if (how !== 'closed' || !this.#sourceEnded || !this.#stream?.delivered) {
      this.ended ??= how === 'timeout' ? 'timeout' : 'reset'
      this.#stream?.abort(RESET_CODE.ABORTED)
    }
    this.#done(this.ended ?? 'fin')
  }

  // ---- The stream.

  data(pieces: Pieces): number {
    return this.#connection?.writeParts(pieces) ?? 0
  }

  free(buf: Buffer): void {
    release(buf)
    this.#readOn()
  }

  get takes(): boolean {
    return this.#connection?.takes ?? false
  }

  take(into: readonly Buffer[], first: number, at: number, len: number): number {
    const taken = this.#connection!.take(into, first, at, len)
    this.read += taken
    return taken
  }

  more(): void {
    this.#readOn()
  }

  hold(): void {
    this.#held = true
    this.#connection?.pause()
  }

  go(): void {
    this.#held = false
    this.#readOn()
  }

  ending(): void {
    if (this.#connection !== null) this.#lingerIfFinished()
  }

  end(): void {
    if (this.#connection === null) return
    this.#connection.shutdown()
    this.#lingerIfFinished()
  }

  reset(code: ResetCode): void {
    this.ended ??= this.#stream!.orphaned ? 'lost' : END_OF[code]
    if (this.#connection === null) this.#done(this.ended)
    else this.#connection.abort()
  }

  // ----

  /** Unless the stream still has a chunk of ours, or takes from the source itself. */
  #readOn(): void {
    if (!this.#held && this.#stream!.backlog === 0 && !this.#stream!.pulls) this.#connection?.resume()
  }

  #lingerIfFinished(): void {
    if (this.#sourceEnded && this.#stream!.finReceived) this.#connection!.linger(LINGER_MS)
  }

  #done(how: StreamEnd): void {
    this.ended = how
    this.dialing?.cancel()
    this.dialing = null
    this.#onDone(this)
  }
}
