// How every connection to a relay begins: dial it, prove it by its pin, send one signed frame, read one answer. INIT and
// RESUME are two such frames (registration.ts, resumption.ts).
import { formatHostPort } from '../config/index.ts'
import { WarrenError } from '../errors.ts'
import { ALPN, FirstFrame, LIMIT, SESSION_CODE, Violation } from '../frame/index.ts'
import { type Connection, type DialFailure, type Dialing, dialTls, type Ended, type Handler } from '../net/index.ts'

const DIAL_MS = 10_000

export type KnownRelay = { host: string; port: number; pin: Uint8Array }

/** A RESET on stream 0 instead of what was asked for. */
export type Refusal = { ok: false; code: number; text: string }

export type Greeting<Answer> = {
  /** The frame to send over this connection; null: somebody else was faster, hang up. */
  frame: (connection: Connection, relayKeyHash: Uint8Array) => Buffer | null
  /** Reads the answer's body; may throw a Violation. */
  read: (body: Buffer) => Answer | Refusal
  /** From the frame to its answer. */
  answerMs: number
}

export type Greeted<Answer> = { connection: Connection; answer: Answer | Refusal; rest: Buffer }

/** Told once, unless it is cancelled before. The Handler that it returns gets the connection; null: it is dropped. */
export type OnGreeted<Answer> = (result: { ok: Greeted<Answer> } | { error: WarrenError }) => Handler | null

export function greet<Answer>(relay: KnownRelay, greeting: Greeting<Answer>, done: OnGreeted<Answer>): Dialing {
  const address = formatHostPort(relay.host, relay.port)
  let waiting: Waiting<Answer> | null = null
  const dialing = dialTls(
    { host: relay.host, port: relay.port },
    { timeoutMs: DIAL_MS, alpn: ALPN, serverName: 'warren-relay' },
    result => {
      if ('fail' in result) {
        done({ error: dialError(address, result.fail, result.detail) })
        return
      }
      if (!result.peerKeyHash.equals(relay.pin)) {
        result.ok.abort()
        const message = `${address} has the key ${print(result.peerKeyHash)}, and ${print(relay.pin)} was pinned`
        done({ error: new WarrenError('W-RELAY-CHANGED', message) })
        return
      }
      const frame = greeting.frame(result.ok, result.peerKeyHash)
      if (frame === null) return
      waiting = new Waiting(result.ok, address, greeting, done)
      waiting.send(frame)
      return waiting
    },
  )
  return {
    cancel() {
      dialing.cancel()
      waiting?.cancel()
    },
  }
}

/** The frame is sent, its answer is not yet there. */
class Waiting<Answer> implements Handler {
  readonly #connection: Connection
  readonly #address: string
  readonly #greeting: Greeting<Answer>
  readonly #done: OnGreeted<Answer>
  readonly #first = new FirstFrame(LIMIT.control)
  #unsent: Buffer = Buffer.alloc(0)
  #over = false
  readonly #timer: ReturnType<typeof setTimeout>

  constructor(connection: Connection, address: string, greeting: Greeting<Answer>, done: OnGreeted<Answer>) {
    this.#connection = connection
    this.#address = address
    this.#greeting = greeting
    this.#done = done
    this.#timer = setTimeout(() => this.#fail('W-RELAY-LOST', 'does not answer'), greeting.answerMs)
  }

  send(frame: Buffer): void {
    this.#unsent = frame
    this.onDrain()
  }

  cancel(): void {
    if (this.#over) return
    this.#end()
    this.#connection.mute()
  }

  onData(buf: Buffer): boolean {
    if (this.#over) return true
    try {
      const frame = this.#first.push(buf)
      if (frame === null) return true
      const answer = this.#greeting.read(frame.body)
      this.#end()
      const handler = this.#done({ ok: { connection: this.#connection, answer, rest: frame.rest } })
      if (handler === null) this.#connection.mute()
      else this.#connection.handler = handler
      return false
    } catch (thrown) {
      if (!(thrown instanceof Violation)) throw thrown
      const code = thrown.code === SESSION_CODE.VERSION ? 'W-VERSION' : 'W-PROTOCOL'
      this.#fail(code, `answers with something else: ${thrown.message}`)
      return true
    }
  }

  onDrain(): void {
    if (this.#unsent.length === 0) return
    const taken = this.#connection.write(this.#unsent, 0, this.#unsent.length)
    this.#unsent = this.#unsent.subarray(taken)
  }

  onEnd(): void {
    this.#fail('W-RELAY-LOST', 'closed the connection instead of answering')
  }

  onClose(_how: Ended): void {
    this.#fail('W-RELAY-LOST', 'closed the connection instead of answering')
  }

  #fail(code: WarrenError['code'], what: string): void {
    if (this.#over) return
    this.#end()
    this.#connection.mute()
    this.#done({ error: new WarrenError(code, `${this.#address} ${what}`) })
  }

  #end(): void {
    this.#over = true
    clearTimeout(this.#timer)
  }
}

function dialError(address: string, fail: DialFailure, detail: string): WarrenError {
  if (fail === 'alpn' || fail === 'tls') return new WarrenError('W-NOT-WARREN', `${address} is not a relay: ${detail}`)
  // Told as an event only, which names the relay beside it.
  return new WarrenError('W-RELAY-UNREACHABLE', detail)
}

function print(keyHash: Uint8Array): string {
  return `SHA256:${Buffer.from(keyHash).toString('base64').replace(/=+$/, '')}`
}
