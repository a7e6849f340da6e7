// The relay: builds what it needs, joins the parts, and ends them in order.
import { mkdirSync } from 'node:fs'
import { formatHostPort, type HostPort } from '../config/index.ts'
import { WarrenError } from '../errors.ts'
import { ALPN, SESSION_CODE } from '../frame/index.ts'
import {
  fingerprint,
  formatInvite,
  hashToken,
  isInvitable,
  loadOrCreateCertificate,
  newToken,
} from '../identity/index.ts'
import { descriptors, type Listener, listenTls, refuseUnsafeEnvironment } from '../net/index.ts'
import type { Emit } from '../telemetry/events.ts'
import type { Log } from '../telemetry/log.ts'
import { Tally } from '../telemetry/tally.ts'
import { type AdmissionOptions, Stranger } from './admission.ts'
import { hasRun, Operator, serveOperator } from './control.ts'
import { PortEdge } from './edges/port.ts'
import { Members, type MembersOptions } from './members.ts'
import { ownHost } from './own-host.ts'
import { Pool, QUARANTINE } from './pool.ts'
import { Sessions } from './sessions.ts'
import { Store } from './store.ts'
import { Strangers } from './strangers.ts'
import { Tunnels } from './tunnels.ts'

const HANDSHAKE_MS = 5_000
const EXPIRE_MS = 60_000
/** Descriptors that no session may take: the database, the operator's socket, what the system needs. */
const SESSION_RESERVE = 32
/** Strangers may have one of so many descriptors. */
const STRANGERS_PART = 4
/** Processes of one key at once. */
const SESSIONS_PER_KEY = 64
/** Refusals of one second that are told; some cost a stranger nothing, and a log is not to be filled by them. */
const REFUSALS_TOLD = 20
const FIRST_INVITE_MS = 10 * 60_000
/** How often a drain looks whether the last stream is done. */
const DRAIN_LOOK_MS = 50
const GOODBYE = 'the relay is shutting down'

export type RelayOptions = MembersOptions & {
  /** The control port's address; port 0 takes a free one. */
  listen: HostPort
  ports: { from: number; to: number }
  /** What agents and visitors are told; null: found out. */
  publicHost: string | null
  /** Where public ports listen. */
  bind: string
  state: string
  drainMs: number
  /** `first-start`: an invite when no relay has listened with this state before, and no key is known. */
  invite: 'first-start' | 'never'
}

export interface Relay {
  /** HOST:PORT of the control port, as agents are told. */
  readonly control: string
  /** Of the relay's key: what the pin is made of. */
  readonly fingerprint: string
  readonly firstInvite: string | null
  /** No new streams; GOAWAY; the open ones get `drainMs`. Resolves when all is closed. */
  drain(): Promise<void>
  /** Ends everything at once. */
  stop(): void
  /** Bytes so far to visitors and from them, of all tunnels together, under the name ''. */
  traffic(): ReadonlyMap<string, { readonly sent: number; readonly received: number }>
  readonly closed: Promise<null>
}

/** Throws a WarrenError when it cannot start. */
export async function startRelay(options: RelayOptions, emit: Emit, log: Log): Promise<Relay> {
  refuseUnsafeEnvironment()
  const publicHost = options.publicHost ?? ownHost(options.listen.host, log)
  if (!isInvitable(publicHost)) {
    throw new WarrenError(
      'W-USAGE',
      `no invite can name a relay '${publicHost}'; give --public-host a name or address that one can`,
    )
  }
  mkdirSync(options.state, { recursive: true, mode: 0o700 })
  // The lock first: of two relays that start at once, one must not make a certificate under the other.
  const store = Store.open(options.state, Date.now)
  try {
    PortEdge.probe(options.bind, options.ports.to)
    const certificate = await loadOrCreateCertificate(options.state)
    return new RunningRelay({ ...options, publicHost }, certificate, store, emit, log)
  } catch (thrown) {
    store.close()
    throw thrown
  }
}

class RunningRelay implements Relay {
  readonly control: string
  readonly fingerprint: string
  readonly firstInvite: string | null
  readonly closed: Promise<null>
  readonly #options: RelayOptions
  readonly #store: Store
  readonly #emit: Emit
  readonly #log: Log
  readonly #pool: Pool
  readonly #tunnels: Tunnels
  readonly #members: Members
  readonly #listener: Listener
  readonly #operator: Listener
  readonly #expiry: ReturnType<typeof setInterval>
  #resolveClosed: (over: null) => void = () => {}
  /** In this second. */
  readonly #refusals = new Tally(count => {
    if (count > REFUSALS_TOLD)
      this.#log.warn('more agents were refused than is told', { refused: count - REFUSALS_TOLD })
  })
  #lastTurnedAway = { from: '', reason: '' }
  readonly #turnedAway = new Tally(connections =>
    this.#log.warn('turned away at the control port', {
      connections,
      last: this.#lastTurnedAway.from,
      reason: this.#lastTurnedAway.reason,
    }),
  )
  #draining = false
  #stopped = false

  constructor(
    options: RelayOptions & { publicHost: string },
    certificate: { keyPem: string; certPem: string; pin: Buffer },
    store: Store,
    emit: Emit,
    log: Log,
  ) {
    this.#options = options
    this.#store = store
    this.#emit = emit
    this.#log = log
    const sessions = new Sessions()
    this.closed = new Promise(resolve => {
      this.#resolveClosed = resolve
    })
    this.fingerprint = `SHA256:${certificate.pin.toString('base64').replace(/=+$/, '')}`
    const { publicHost } = options
    this.#pool = new Pool(store, options.ports, { quarantineMs: QUARANTINE.defaultMs, now: Date.now })
    this.#tunnels = new Tunnels(
      { bind: options.bind, publicHost, ports: options.ports },
      this.#pool,
      member => sessions.replaced(member),
      emit,
      log,
    )
    this.#members = new Members(options, store, sessions, this.#tunnels, emit)
    const strangers = new Strangers(() => performance.now(), Math.floor(descriptors.limit() / STRANGERS_PART))
    const admission: AdmissionOptions = {
      relayKeyHash: certificate.pin,
      store,
      strangers,
      room: key =>
        !this.#draining &&
        !descriptors.near(SESSION_RESERVE) &&
        sessions.ofKey(fingerprint(key)).length < SESSIONS_PER_KEY,
      admitted: who => this.#members.register(who),
      find: id => {
        const hex = id.toString('hex')
        return sessions.byId(hex) ?? (sessions.wasReplaced(hex) ? SESSION_CODE.REPLACED : SESSION_CODE.UNKNOWN)
      },
      resumed: (member, resume, connection) => this.#members.resume(member, resume, connection),
      refused: (from, key, reason) => this.#refused(from, key, reason),
    }
    this.#listener = listenTls(
      {
        host: options.listen.host,
        port: options.listen.port,
        key: certificate.keyPem,
        cert: certificate.certPem,
        alpn: ALPN,
        handshakeMs: HANDSHAKE_MS,
        admit: host => {
          if (descriptors.near(SESSION_RESERVE)) return this.#turnAway(host, 'no file descriptors left but the reserve')
          if (strangers.enter(host)) return true
          return this.#turnAway(
            host,
            strangers.punished(host) ? 'refused or silent too often' : 'too many that have not registered',
          )
        },
        onHandshakeEnd: (host, ok) => {
          if (ok) return
          strangers.punish(host, 'silent')
          strangers.leave(host)
        },
      },
      connection => new Stranger(connection, admission),
    )
    this.control = formatHostPort(publicHost, this.#listener.port)
    const operator = new Operator({
      store,
      pool: () => this.#pool,
      relay: { host: publicHost, port: this.#listener.port, pin: certificate.pin },
      ports: options.ports,
      sessions: key => sessions.ofKey(fingerprint(key)).length,
      revoked: key => this.#members.revoke(key),
      freed: port => this.#tunnels.close(port),
    })
    let served: Listener | null = null
    try {
      const first = options.invite === 'first-start' && !hasRun(options.state) && store.listKeys().length === 0
      this.firstInvite = first ? this.#makeInvite(publicHost, certificate.pin) : null
      served = serveOperator(options.state, operator, log)
      this.#operator = served
      operator.remember(options.state)
    } catch (thrown) {
      this.#listener.stop()
      served?.stop()
      throw thrown
    }
    this.#expiry = setInterval(() => this.#expire(), EXPIRE_MS)
    emit({
      event: 'ready',
      control: this.control,
      ports: `${options.ports.from}-${options.ports.to}`,
      fingerprint: this.fingerprint,
      invite: this.firstInvite,
    })
  }

  async drain(): Promise<void> {
    if (this.#draining || this.#stopped) return void (await this.closed)
    this.#draining = true
    this.#listener.stop()
    this.#tunnels.stop()
    const until = performance.now() + this.#options.drainMs
    this.#members.goaway(GOODBYE)
    this.#emit({ event: 'draining', streams: this.#members.streams, graceMs: this.#options.drainMs })
    while (!this.#stopped && this.#members.busy && performance.now() < until) await Bun.sleep(DRAIN_LOOK_MS)
    this.#end()
    await this.closed
  }

  stop(): void {
    this.#end()
  }

  traffic(): ReadonlyMap<string, { readonly sent: number; readonly received: number }> {
    return new Map([['', this.#members.traffic]])
  }

  #end(): void {
    if (this.#stopped) return
    this.#stopped = true
    clearInterval(this.#expiry)
    this.#listener.stop()
    this.#operator.stop()
    this.#tunnels.stop()
    this.#members.end(GOODBYE)
    // One turn more, so that the farewells leave.
    setTimeout(() => {
      try {
        this.#pool.close()
        this.#store.close()
      } catch (thrown) {
        // After a crash the leases count as held until now, which is what they are.
        this.#log.error('the state cannot be written', { reason: thrown instanceof Error ? thrown.message : '' })
      }
      this.#resolveClosed(null)
    }, DRAIN_LOOK_MS)
  }

  #refused(from: string, key: Uint8Array | null, reason: string): void {
    if (this.#refusals.add() > REFUSALS_TOLD) return
    this.#emit({ event: 'agent', state: 'refused', key: key === null ? '' : fingerprint(key), name: '', from, reason })
  }

  /** It is told nothing, so that only the relay's log can say why an agent cannot connect. */
  #turnAway(from: string, reason: string): boolean {
    this.#lastTurnedAway = { from, reason }
    this.#turnedAway.add()
    return false
  }

  #expire(): void {
    try {
      this.#pool.expire()
    } catch (thrown) {
      this.#log.error('the state cannot be written', { reason: thrown instanceof Error ? thrown.message : '' })
    }
  }

  #makeInvite(host: string, pin: Uint8Array): string {
    const token = newToken()
    this.#store.addInvite(hashToken(token), { role: 'agent', uses: 1, expiresAt: Date.now() + FIRST_INVITE_MS })
    return formatInvite({ host, port: this.#listener.port, pin, token, shared: false })
  }
}
