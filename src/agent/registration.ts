// One try at a session: dial the relay, prove it by its pin, send INIT, read the answer. It ends in a connection that is
// ready for a session, or in an error that says whether trying again can help.
import { formatHostPort } from '../config/index.ts'
import { WarrenError } from '../errors.ts'
import {
  type AckBody,
  ALPN,
  FirstFrame,
  initFrame,
  LIMIT,
  packInitBody,
  readRegistration,
  SESSION_CODE,
  TUNING,
  type TunnelAsked,
  VERSION,
  Violation,
} from '../frame/index.ts'
import { EXPORTER_LENGTH, exporterLabel, type KeyPair, transcript } from '../identity/index.ts'
import { type Connection, type Dialing, dialTls, type Ended, type Handler } from '../net/index.ts'

const DIAL_MS = 10_000
/** From INIT to its answer, in ms. */
const ANSWER_MS = 10_000
const ROLE_AGENT = 1

export type Applicant = {
  host: string
  port: number
  pin: Uint8Array
  token: Uint8Array | null
  key: KeyPair
  instance: Uint8Array
  name: string
  capabilities: string[]
  tunnels: TunnelAsked[]
}

export type Registered = { connection: Connection; ack: AckBody; rest: Buffer }

/** `done` is called once, unless it is cancelled before. */
export function register(
  who: Applicant,
  done: (result: { ok: Registered } | { error: WarrenError }) => Handler | null,
): Dialing {
  const relay = formatHostPort(who.host, who.port)
  let waiting: Waiting | null = null
  const dialing = dialTls(
    { host: who.host, port: who.port },
    { timeoutMs: DIAL_MS, alpn: ALPN, serverName: 'warren-relay' },
    result => {
      if ('fail' in result) {
        done({ error: dialError(relay, result.fail, result.detail) })
        return
      }
      if (!result.peerKeyHash.equals(who.pin)) {
        result.ok.abort()
        const message = `${relay} has the key ${print(result.peerKeyHash)}, and ${print(who.pin)} was pinned`
        done({ error: new WarrenError('W-RELAY-CHANGED', message) })
        return
      }
      waiting = new Waiting(result.ok, relay, done)
      waiting.send(init(who, result.ok, result.peerKeyHash))
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

function init(who: Applicant, connection: Connection, relayKeyHash: Uint8Array): Buffer {
  const body = packInitBody({
    version: VERSION,
    role: ROLE_AGENT,
    key: Buffer.from(who.key.publicKey),
    instance: Buffer.from(who.instance),
    name: who.name,
    credit: TUNING.firstCredit,
    capabilities: who.capabilities,
    tunnels: who.tunnels,
    ...(who.token === null ? {} : { token: Buffer.from(who.token) }),
  })
  const exporter = connection.exporter(exporterLabel('init'), EXPORTER_LENGTH)
  return initFrame(body, who.key.sign(transcript('init', 'agent', exporter, relayKeyHash, body)))
}

/** INIT is sent, its answer is not yet there. */
class Waiting implements Handler {
  readonly #connection: Connection
  readonly #relay: string
  readonly #done: (result: { ok: Registered } | { error: WarrenError }) => Handler | null
  readonly #first = new FirstFrame(LIMIT.control)
  #unsent: Buffer = Buffer.alloc(0)
  #over = false
  readonly #timer = setTimeout(() => this.#fail('W-RELAY-LOST', 'does not answer the registration'), ANSWER_MS)

  constructor(
    connection: Connection,
    relay: string,
    done: (result: { ok: Registered } | { error: WarrenError }) => Handler | null,
  ) {
    this.#connection = connection
    this.#relay = relay
    this.#done = done
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
      const answer = readRegistration(frame.body)
      if (!answer.ok) {
        this.#refuse(answer.code, answer.text)
        return true
      }
      this.#end()
      const handler = this.#done({ ok: { connection: this.#connection, ack: answer.ack, rest: frame.rest } })
      if (handler === null) this.#connection.mute()
      else this.#connection.handler = handler
      return false
    } catch (thrown) {
      if (!(thrown instanceof Violation)) throw thrown
      const code = thrown.code === SESSION_CODE.VERSION ? 'W-VERSION' : 'W-PROTOCOL'
      this.#fail(code, `answers the registration with something else: ${thrown.message}`)
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

  #refuse(code: number, text: string): void {
    switch (code) {
      case SESSION_CODE.REFUSED:
        return this.#fail('W-REFUSED', "does not allow this machine's key")
      case SESSION_CODE.SPENT:
        return this.#fail('W-INVITE-SPENT', 'says that the invite is spent')
      case SESSION_CODE.EXPIRED:
        return this.#fail('W-INVITE-EXPIRED', 'says that the invite has expired')
      case SESSION_CODE.VERSION:
        return this.#fail('W-VERSION', `speaks another version of the protocol than ${VERSION} (${text})`)
      case SESSION_CODE.BUSY:
        return this.#fail('W-RELAY-BUSY', `takes no more sessions for now (${text})`)
      default:
        return this.#fail('W-PROTOCOL', `refused with the unknown code ${code}`)
    }
  }

  #fail(code: WarrenError['code'], what: string): void {
    if (this.#over) return
    this.#end()
    this.#connection.mute()
    this.#done({ error: new WarrenError(code, `${this.#relay} ${what}`) })
  }

  #end(): void {
    this.#over = true
    clearTimeout(this.#timer)
  }
}

function dialError(relay: string, fail: string, detail: string): WarrenError {
  if (fail === 'alpn' || fail === 'tls') return new WarrenError('W-NOT-WARREN', `${relay} is not a relay: ${detail}`)
  return new WarrenError('W-RELAY-UNREACHABLE', `${relay} cannot be reached: ${detail}`)
}

function print(keyHash: Uint8Array): string {
  return `SHA256:${Buffer.from(keyHash).toString('base64').replace(/=+$/, '')}`
}
