// The operator's requests: over the running relay's unix socket (0600), one line of JSON each way, or on its state when
// it is down. Both run the same code, so a command says and does the same.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import * as v from 'valibot'
import { asWarrenError, type Code, WarrenError } from '../errors.ts'
import {
  certificateKeyHash,
  fingerprint,
  formatInvite,
  hashToken,
  looksLikeKeyLine,
  newToken,
  parsePublicKeyLine,
  readStateFile,
  writeStateFile,
} from '../identity/index.ts'
import { type Connection, dial, type Handler, type Listener, listen } from '../net/index.ts'
import type { Log } from '../telemetry/log.ts'
import { Pool, QUARANTINE } from './pool.ts'
import { keyName, Store } from './store.ts'

/** Bytes of a request line, and of an answer. */
const MOST_REQUEST = 65_536
const MOST_ANSWER = 64 * 1024 * 1024
const ANSWER_MS = 10_000
const SOCKET = 'control.sock'
/** What of a relay's start a command has to know when it is down. */
const REMEMBERED = 'relay.json'

const name = v.pipe(v.string(), v.maxLength(256))
const request = v.variant('do', [
  v.strictObject({
    do: v.literal('invite'),
    ttlMs: v.pipe(v.number(), v.integer(), v.minValue(1)),
    uses: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(10_000)),
    role: v.literal('agent'),
  }),
  v.strictObject({ do: v.literal('keys') }),
  /** `key`: a public key line, or who a known key is. `name` null: the one it has, else the line's comment. */
  v.strictObject({ do: v.literal('allow'), key: v.pipe(v.string(), v.maxLength(1024)), name: v.nullable(name) }),
  v.strictObject({ do: v.literal('revoke'), who: name }),
  v.strictObject({ do: v.literal('rename'), who: name, name }),
  v.strictObject({ do: v.literal('leases') }),
  v.strictObject({ do: v.literal('free'), port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)) }),
])
export type Request = v.InferOutput<typeof request>
const known = v.object({ do: v.picklist(request.options.map(one => one.entries.do.literal)) })
const UNREADABLE = 'a value of the request is too long or not of its kind, or the relay is of another version'

export type Answer = { ok: unknown } | { code: Code; message: string }

const remembered = v.object({
  host: v.string(),
  port: v.number(),
  ports: v.object({ from: v.number(), to: v.number() }),
})

export type OperatorOptions = {
  store: Store
  /** Made when a request needs it: by a command, it writes what a relay that was killed left as live. */
  pool: () => Pool
  relay: { host: string; port: number; pin: Uint8Array }
  ports: { from: number; to: number }
  /** How many a key has now. */
  sessions: (key: Uint8Array) => number
  /** The live sessions of a key are to end. */
  revoked: (key: Uint8Array) => void
  /** A port is nobody's any more. */
  freed: (port: number) => void
}

/** Whether a relay has listened with this state before. */
export function hasRun(state: string): boolean {
  return existsSync(join(state, REMEMBERED))
}

/** Carries out an operator's requests. */
export class Operator {
  readonly #options: OperatorOptions

  constructor(options: OperatorOptions) {
    this.#options = options
  }

  /** Notes in the state folder what commands need while the relay is down. */
  remember(state: string): void {
    const { relay, ports } = this.#options
    const text = `${JSON.stringify({ host: relay.host, port: relay.port, ports })}\n`
    writeStateFile(join(state, REMEMBERED), text, 0o600, 'replace', 'W-STATE')
  }

  answer(line: string): Answer {
    try {
      const asked: unknown = JSON.parse(line)
      const parsed = v.safeParse(request, asked)
      if (!parsed.success)
        throw v.is(known, asked)
          ? new WarrenError('W-USAGE', UNREADABLE)
          : new WarrenError('W-VERSION', 'the relay does not know this request')
      return { ok: this.#carryOut(parsed.output) }
    } catch (thrown) {
      const error = asWarrenError(thrown)
      return { code: error.code, message: error.message }
    }
  }

  #carryOut(r: Request): unknown {
    const { store, pool, relay } = this.#options
    switch (r.do) {
      case 'invite': {
        const token = newToken()
        const expiresAt = Date.now() + r.ttlMs
        store.addInvite(hashToken(token), { role: r.role, uses: r.uses, expiresAt })
        return { invite: formatInvite({ ...relay, token, shared: r.uses > 1 }), expiresAt }
      }
      case 'keys':
        return store
          .listKeys()
          .map(({ publicKey, ...row }) => ({ ...row, sessions: this.#options.sessions(publicKey) }))
      case 'allow': {
        const { publicKey, comment } = looksLikeKeyLine(r.key)
          ? parsePublicKeyLine(r.key)
          : { publicKey: store.find(r.key), comment: '' }
        const before = store.key(publicKey)?.name
        const row = store.allowKey(publicKey, r.name ?? before ?? keyName(comment), 'agent')
        return { fingerprint: row.fingerprint, name: row.name }
      }
      case 'revoke': {
        const key = store.revokeKey(r.who)
        this.#options.revoked(key)
        return { fingerprint: fingerprint(key) }
      }
      case 'rename': {
        const row = store.renameKey(r.who, r.name)
        return { fingerprint: row.fingerprint, name: row.name }
      }
      case 'leases':
        return pool().list()
      case 'free': {
        const result = pool().free(r.port)
        if (result === 'none') throw new WarrenError('W-NOT-FOUND', `port ${r.port} is not leased`)
        if (result === 'live') throw new WarrenError('W-LEASE-LIVE', `port ${r.port} is in use by its agent`)
        this.#options.freed(r.port)
        return { port: r.port }
      }
    }
  }
}

/** Serves requests on the state folder's socket. */
export function serveOperator(state: string, operator: Operator, log: Log): Listener {
  // The state's lock is held: what a relay that was killed has left there is nobody's.
  return listen(
    { path: join(state, SOCKET), mode: 0o600, alone: true },
    connection => new OperatorCall(connection, operator, log),
  )
}

/** Sends all of a text, then FIN, whatever the socket takes at a time. */
class Sending {
  readonly #connection: Connection
  readonly #bytes: Buffer
  #at = 0

  constructor(connection: Connection, text: string) {
    this.#connection = connection
    this.#bytes = Buffer.from(text)
  }

  go(): void {
    const left = this.#bytes.length - this.#at
    if (left > 0) this.#at += this.#connection.write(this.#bytes, this.#at, left)
    if (this.#at === this.#bytes.length) this.#connection.shutdown()
  }
}

class OperatorCall implements Handler {
  readonly #connection: Connection
  readonly #operator: Operator
  readonly #log: Log
  #text = ''
  #answer: Sending | null = null

  constructor(connection: Connection, operator: Operator, log: Log) {
    this.#connection = connection
    this.#operator = operator
    this.#log = log
    connection.linger(ANSWER_MS)
  }

  onData(buf: Buffer): boolean {
    if (this.#answer !== null) return true
    this.#text += buf.toString('utf8')
    const end = this.#text.indexOf('\n')
    if (end < 0) {
      if (this.#text.length > MOST_REQUEST) this.#connection.abort()
      return true
    }
    const answer = this.#operator.answer(this.#text.slice(0, end))
    if ('code' in answer) this.#log.debug('operator refused', { code: answer.code, reason: answer.message })
    this.#answer = new Sending(this.#connection, `${JSON.stringify(answer)}\n`)
    this.#answer.go()
    return true
  }

  onDrain(): void {
    this.#answer?.go()
  }

  onEnd(): void {
    if (this.#answer === null) this.#connection.abort()
  }

  onClose(): void {}
}

/** Asks the relay of this state folder, whether it runs or not. */
export async function ask(state: string, r: Request): Promise<Answer> {
  return (await askRunning(join(state, SOCKET), r)) ?? askState(state, r)
}

/** Null when no relay runs. */
function askRunning(path: string, r: Request): Promise<Answer | null> {
  return new Promise((resolve, reject) => {
    dial({ path }, ANSWER_MS, result => {
      if ('fail' in result) {
        if (result.fail === 'refused' || result.fail === 'not-found' || result.fail === 'unreachable') resolve(null)
        else reject(new WarrenError('W-STATE', `the running relay does not answer at ${path} (${result.detail})`))
        return
      }
      const sending = new Sending(result.ok, `${JSON.stringify(r)}\n`)
      const chunks: Buffer[] = []
      let size = 0
      result.ok.linger(ANSWER_MS)
      setImmediate(() => sending.go())
      return {
        onData(buf) {
          size += buf.length
          if (size > MOST_ANSWER) result.ok.abort()
          chunks.push(buf)
          return false
        },
        onDrain: () => sending.go(),
        onEnd() {},
        onClose() {
          try {
            resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')) as Answer)
          } catch {
            reject(new WarrenError('W-STATE', 'the running relay broke off its answer'))
          }
        },
      }
    })
  })
}

function askState(state: string, r: Request): Answer {
  try {
    const text = readStateFile(join(state, REMEMBERED), 'private', 'W-STATE')
    const cert = readStateFile(join(state, 'relay.crt'), 'public', 'W-STATE')
    const known = text === null ? null : v.safeParse(remembered, JSON.parse(text))
    if (cert === null || !known?.success) {
      throw new WarrenError('W-STATE', `no relay has run on ${state} yet; start one, or name its folder with --state`)
    }
    const { host, port, ports } = known.output
    const store = Store.open(state, Date.now, 'command')
    try {
      const operator = new Operator({
        store,
        // It takes what was live for away, which is true: the relay is down.
        pool: () => new Pool(store, ports, { quarantineMs: QUARANTINE.defaultMs, now: Date.now }),
        relay: { host, port, pin: certificateKeyHash(cert) },
        ports,
        sessions: () => 0,
        revoked: () => {},
        freed: () => {},
      })
      return operator.answer(JSON.stringify(r))
    } finally {
      store.close()
    }
  } catch (thrown) {
    const error = asWarrenError(thrown)
    return { code: error.code, message: error.message }
  }
}
