// The door of the relay: one INIT or RESUME, once, within 5 s and 4 KiB, and nothing kept of whoever does not get in. What a
// stranger is told gives nothing away: all that is not to be told apart is one REFUSED, 50 ms after its INIT.
import { WarrenError } from '../errors.ts'
import {
  FirstFrame,
  type Init,
  LIMIT,
  type Resume,
  readFirst,
  refusalFrame,
  SESSION_CODE,
  VERSION,
  Violation,
} from '../frame/index.ts'
import { EXPORTER_LENGTH, exporterLabel, hashToken, isCanonicalKey, transcript, verify } from '../identity/index.ts'
import type { Connection, Ended, Handler } from '../net/index.ts'
import type { Member } from './sessions.ts'
import type { Store } from './store.ts'
import type { Strangers } from './strangers.ts'

/** From the end of the handshake to a whole INIT, in ms. */
const INIT_MS = 5_000
const REFUSAL_MS = 50
/** How long the refusal may take to leave. */
const FAREWELL_MS = 2_000
/** An agent sends INIT or RESUME behind the handshake, in the same flight. */
const PROMPT_MS = 1_000
const ROLE_AGENT = 1
/** Refusals whose reason an agent is told. */
const TOLD: ReadonlySet<number> = new Set([SESSION_CODE.SPENT, SESSION_CODE.EXPIRED])

export type Admitted = { init: Init; enrolled: boolean; connection: Connection }

export type AdmissionOptions = {
  relayKeyHash: Uint8Array
  store: Store
  strangers: Strangers
  /** One more session of this key may be added. */
  room: (key: Uint8Array) => boolean
  admitted: (who: Admitted) => Handler
  /** The session of that id, or why there is none. */
  find: (session: Buffer) => Member | typeof SESSION_CODE.UNKNOWN | typeof SESSION_CODE.REPLACED
  /** A proven agent wants its session back; false: from a position that is gone. */
  resumed: (member: Member, resume: Resume, connection: Connection) => boolean
  refused: (from: string, key: Uint8Array | null, reason: string) => void
}

/** A connection that has not proven a key yet. */
export class Stranger implements Handler {
  readonly #options: AdmissionOptions
  readonly #connection: Connection
  readonly #first = new FirstFrame(LIMIT.stranger)
  #timer: ReturnType<typeof setTimeout>
  /** Counted among the strangers. */
  #counted = true
  #answered = false
  readonly #since = performance.now()

  constructor(connection: Connection, options: AdmissionOptions) {
    this.#options = options
    this.#connection = connection
    this.#timer = setTimeout(() => this.#dismiss('silent'), INIT_MS)
  }

  onData(buf: Buffer): boolean {
    // After INIT an agent says nothing until ACK.
    if (this.#answered) return true
    try {
      const frame = this.#first.push(buf)
      if (frame === null) return true
      if (frame.rest.length > 0) throw new Violation('bytes after INIT')
      const first = readFirst(frame.body)
      if ('init' in first) this.#decide(first.init)
      else this.#resume(first.resume)
    } catch (thrown) {
      // A disk that is full or gone: who is in stays in, and who is not comes back later.
      if (thrown instanceof WarrenError) return this.#unavailable(thrown)
      if (!(thrown instanceof Violation)) throw thrown
      if (thrown.code === SESSION_CODE.VERSION)
        this.#refuse(null, thrown.code, `it speaks ${thrown.message}`, 0, `version ${VERSION}`)
      else {
        this.#options.refused(this.#connection.remoteHost, null, thrown.message)
        this.#dismiss('refused')
      }
    }
    return true
  }

  onDrain(): void {}

  onEnd(): void {
    if (!this.#answered) this.#dismiss('silent')
  }

  onClose(how: Ended): void {
    clearTimeout(this.#timer)
    // Who was refused, and keeps its place until it is taken, is like one that said nothing.
    if (!this.#answered || how === 'timeout') this.#options.strangers.punish(this.#connection.remoteHost, 'silent')
    this.#uncount()
  }

  #decide(init: Init): void {
    const { store, relayKeyHash } = this.#options
    const { body } = init
    const reject = (reason: string) => this.#refuse(body.key, SESSION_CODE.REFUSED, reason, REFUSAL_MS)
    if (body.role !== ROLE_AGENT) return reject('a role that this relay does not serve')
    if (!isCanonicalKey(body.key)) return reject('a key that nobody can have')
    const exporter = this.#connection.exporter(exporterLabel('init'), EXPORTER_LENGTH)
    const signed = transcript('init', 'agent', exporter, relayKeyHash, init.signed)
    if (!verify(init.signature, signed, body.key)) return reject('the signature does not fit')
    const status = store.keyStatus(body.key, 'agent')
    if (status === 'revoked') return reject('the key is revoked')
    if (status === 'unknown') {
      if (body.token === undefined) return reject('the key is not known, and there is no token')
      switch (store.enrol(hashToken(body.token), body.key, body.name, 'agent')) {
        case 'spent':
          return this.#refuse(body.key, SESSION_CODE.SPENT, 'the invite is spent', REFUSAL_MS)
        case 'expired':
          return this.#refuse(body.key, SESSION_CODE.EXPIRED, 'the invite has expired', REFUSAL_MS)
        case 'unknown':
          return reject('the token is not one of this relay')
        case 'enrolled':
      }
    }
    if (!this.#options.room(body.key))
      return this.#refuse(body.key, SESSION_CODE.BUSY, 'the relay has no room for a session', 0)
    this.#letIn()
    this.#options.admitted({ init, enrolled: status === 'unknown', connection: this.#connection })
  }

  #unavailable(error: WarrenError): boolean {
    this.#refuse(null, SESSION_CODE.BUSY, `the relay cannot use its state: ${error.message}`, 0)
    return true
  }

  #resume(resume: Resume): void {
    const { store, relayKeyHash, find, resumed } = this.#options
    const member = find(resume.body.session)
    if (typeof member === 'number') return this.#refuse(null, member, 'no such session to resume', 0)
    const exporter = this.#connection.exporter(exporterLabel('resume'), EXPORTER_LENGTH)
    const signed = transcript('resume', 'agent', exporter, relayKeyHash, resume.signed)
    const reject = (reason: string) => this.#refuse(member.key, SESSION_CODE.REFUSED, reason, REFUSAL_MS)
    if (!verify(resume.signature, signed, member.key)) return reject('the signature does not fit')
    if (store.keyStatus(member.key, 'agent') !== 'allowed') return reject('the key is no longer allowed')
    if (resume.body.attempt <= member.attempt) return reject('an attempt that was made before')
    if (!resumed(member, resume, this.#connection))
      return this.#refuse(member.key, SESSION_CODE.RANGE, 'a position that is gone', 0)
    this.#letIn()
  }

  #letIn(): void {
    this.#answered = true
    clearTimeout(this.#timer)
    this.#uncount()
    this.#options.strangers.forgive(this.#connection.remoteHost)
  }

  /** Only the relay's own log says why its state fails, or what was wrong with a registration. */
  #refuse(
    key: Uint8Array | null,
    code: number,
    reason: string,
    afterMs: number,
    told = TOLD.has(code) ? reason : '',
  ): void {
    this.#answered = true
    const from = this.#connection.remoteHost
    this.#options.refused(from, key, reason)
    if (code === SESSION_CODE.REFUSED || code === SESSION_CODE.SPENT || code === SESSION_CODE.EXPIRED)
      this.#options.strangers.punish(from, 'refused')
    // Those that cost nothing, because honest agents may meet them in crowds, are for who asks at once.
    else if (performance.now() - this.#since > PROMPT_MS) this.#options.strangers.punish(from, 'silent')
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      const frame = refusalFrame(code, told)
      this.#connection.write(frame, 0, frame.length)
      this.#connection.shutdown()
      this.#connection.linger(FAREWELL_MS, FAREWELL_MS)
    }, afterMs)
  }

  /** Without a word. */
  #dismiss(offence: 'refused' | 'silent'): void {
    this.#answered = true
    this.#options.strangers.punish(this.#connection.remoteHost, offence)
    this.#connection.abort()
  }

  #uncount(): void {
    if (!this.#counted) return
    this.#counted = false
    this.#options.strangers.leave(this.#connection.remoteHost)
  }
}
