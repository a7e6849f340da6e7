// The relay: builds what it needs, joins the parts, and ends them in order.
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { formatHostPort, type HostPort } from '../config/index.ts'
import { WarrenError } from '../errors.ts'
import {
  ALPN,
  ackFrame,
  BOUND,
  MEMORY_LIMITS,
  Memory,
  RESET_CODE,
  type Resume,
  resumedFrame,
  SESSION_CODE,
  Session,
  TUNING,
  VERSION,
} from '../frame/index.ts'
import { fingerprint, formatInvite, hashToken, loadOrCreateCertificate, newToken } from '../identity/index.ts'
import { type Break, Carrier } from '../link/index.ts'
import {
  type Connection,
  descriptors,
  type Handler,
  type Listener,
  listenTls,
  refuseUnsafeEnvironment,
} from '../net/index.ts'
import type { Emit } from '../telemetry/events.ts'
import type { Log } from '../telemetry/log.ts'
import { type AdmissionOptions, type Admitted, Stranger } from './admission.ts'
import { Operator, serveOperator } from './control.ts'
import { Holds } from './holds.ts'
import { Pool, QUARANTINE } from './pool.ts'
import { type Member, Sessions } from './sessions.ts'
import { Store } from './store.ts'
import { Strangers } from './strangers.ts'
import { Tunnels } from './tunnels.ts'

const HANDSHAKE_MS = 5_000
const EXPIRE_MS = 60_000
/** Descriptors that no session may take: the database, the operator's socket, what the system needs. */
const SESSION_RESERVE = 32
/** Processes of one key at once. */
const SESSIONS_PER_KEY = 64
const FIRST_INVITE_MS = 10 * 60_000
/** How often a drain looks whether the last stream is done. */
const DRAIN_LOOK_MS = 50
/** After a FIN the agent's process is likely gone: no use in holding for long. */
const HOLD_AFTER_FIN_MS = 3_000

export type RelayOptions = {
  /** The control port's address; port 0 takes a free one. */
  listen: HostPort
  ports: { from: number; to: number }
  /** What agents and visitors are told; null: found out. */
  publicHost: string | null
  /** Where public ports listen. */
  bind: string
  state: string
  deadAfterMs: number
  /** How long the open streams of an agent outlive its link; 0: not at all. */
  holdMs: number
  /** Sessions held at once, and the bytes that they may keep together. */
  holds: { sessions: number; bytes: number }
  drainMs: number
  /** `first-start`: an invite when no key is known yet. */
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
  readonly closed: Promise<null>
}

/** Throws a WarrenError when it cannot start. */
export async function startRelay(options: RelayOptions, emit: Emit, log: Log): Promise<Relay> {
  refuseUnsafeEnvironment()
  mkdirSync(options.state, { recursive: true, mode: 0o700 })
  // The lock first: of two relays that start at once, one must not make a certificate under the other.
  const store = Store.open(options.state, Date.now)
  try {
    const first = !existsSync(join(options.state, 'relay.key'))
    const certificate = await loadOrCreateCertificate(options.state)
    return new RunningRelay(options, certificate, store, first && options.invite === 'first-start', emit, log)
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
  readonly #sessions = new Sessions()
  readonly #holds: Holds
  readonly #memory = new Memory(MEMORY_LIMITS)
  readonly #listener: Listener
  readonly #operator: Listener
  readonly #expiry: ReturnType<typeof setInterval>
  #resolveClosed: (over: null) => void = () => {}
  #draining = false
  #stopped = false

  constructor(
    options: RelayOptions,
    certificate: { keyPem: string; certPem: string; pin: Buffer },
    store: Store,
    invite: boolean,
    emit: Emit,
    log: Log,
  ) {
    this.#options = options
    this.#store = store
    this.#emit = emit
    this.#log = log
    this.#holds = new Holds(options.holds, (member, reason) => member.session.lost(reason))
    this.closed = new Promise(resolve => {
      this.#resolveClosed = resolve
    })
    this.fingerprint = `SHA256:${certificate.pin.toString('base64').replace(/=+$/, '')}`
    const publicHost = options.publicHost ?? ownHost(options.listen.host)
    this.#pool = new Pool(store, options.ports, { quarantineMs: QUARANTINE.defaultMs, now: Date.now })
    this.#tunnels = new Tunnels(
      { bind: options.bind, publicHost, ports: options.ports },
      this.#pool,
      m => this.#sessions.replaced(m),
      emit,
      log,
    )
    const strangers = new Strangers(() => performance.now())
    const admission: AdmissionOptions = {
      relayKeyHash: certificate.pin,
      store,
      strangers,
      room: key =>
        !this.#draining &&
        !descriptors.near(SESSION_RESERVE) &&
        this.#sessions.ofKey(fingerprint(key)).length < SESSIONS_PER_KEY,
      admitted: who => this.#register(who),
      find: id => {
        const hex = id.toString('hex')
        return (
          this.#sessions.byId(hex) ?? (this.#sessions.wasReplaced(hex) ? SESSION_CODE.REPLACED : SESSION_CODE.UNKNOWN)
        )
      },
      resumed: (member, resume, connection) => this.#resume(member, resume, connection),
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
        admit: host => strangers.enter(host),
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
      pool: this.#pool,
      relay: { host: publicHost, port: this.#listener.port, pin: certificate.pin },
      ports: options.ports,
      revoked: key => this.#revoke(key),
      freed: port => this.#tunnels.close(port),
    })
    try {
      operator.remember(options.state)
      this.firstInvite = invite ? this.#makeInvite(publicHost, certificate.pin) : null
      this.#operator = serveOperator(options.state, operator, log)
    } catch (thrown) {
      this.#listener.stop()
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
    for (const member of this.#sessions.all())
      member.session.goaway(SESSION_CODE.SHUTDOWN, 'the relay is shutting down')
    this.#emit({ event: 'draining', streams: this.#streams(), graceMs: this.#options.drainMs })
    while (!this.#stopped && this.#busy() && performance.now() < until) await Bun.sleep(DRAIN_LOOK_MS)
    this.#end()
    await this.closed
  }

  stop(): void {
    this.#end()
  }

  #end(): void {
    if (this.#stopped) return
    this.#stopped = true
    clearInterval(this.#expiry)
    this.#listener.stop()
    this.#operator.stop()
    this.#tunnels.stop()
    for (const member of this.#sessions.all()) {
      member.session.close(SESSION_CODE.SHUTDOWN, 'the relay is shutting down')
      for (const splice of [...member.splices]) splice.abort()
    }
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

  /** Bytes that are encoded and not yet receipted are a stream's still, though it has ended here. */
  #busy(): boolean {
    return this.#sessions.all().some(({ splices, session }) => splices.size > 0 || !session.quiet)
  }

  #streams(): number {
    let streams = 0
    for (const member of this.#sessions.all()) streams += member.splices.size
    return streams
  }

  #register({ init, enrolled, connection }: Admitted): Handler {
    const { body } = init
    const id = randomBytes(16)
    const carrier = new Carrier(how => this.#broken(member, how))
    const print = fingerprint(body.key)
    const from = formatHostPort(connection.remoteHost, connection.remotePort)
    const session = new Session(
      {
        opener: true,
        peerFirstCredit: body.credit,
        deadAfter: this.#options.deadAfterMs,
        memory: this.#memory,
        events: {
          opened: stream => stream.abort(RESET_CODE.PROTOCOL),
          wake: () => carrier.wake(),
          full: () => carrier.full(),
          silent: () => carrier.break('silence'),
          over: how => {
            carrier.finish()
            this.#gone(member, how.by === 'violation' ? `it broke the protocol: ${how.text}` : how.text)
          },
          goaway: () => this.#tunnels.leave(member),
          bind: tunnel => {
            const [answer] = this.#tunnels.grant(body.key, member, [tunnel])
            if (answer !== undefined) session.send({ type: BOUND, answer })
            this.#tunnels.admitWaiting(member)
          },
          unbind: id => this.#tunnels.release(member, id),
        },
      },
      performance.now(),
    )
    const member: Member = {
      key: body.key,
      fingerprint: print,
      name: this.#store.key(body.key)?.name ?? body.name,
      instance: Buffer.from(body.instance).toString('hex'),
      from,
      id: id.toString('hex'),
      attempt: 0,
      session,
      carrier,
      tunnels: new Map(),
      splices: new Set(),
    }
    this.#store.touchKey(body.key)
    this.#sessions.add(member)
    this.#emit({ event: 'agent', state: enrolled ? 'enrolled' : 'connected', key: print, name: member.name, from })
    const answers = this.#tunnels.grant(body.key, member, body.tunnels)
    const ack = ackFrame({
      version: VERSION,
      session: id,
      credit: TUNING.firstCredit,
      capabilities: [],
      tunnels: answers,
    })
    carrier.start(session, connection, ack, NOTHING)
    this.#tunnels.admitWaiting(member)
    return carrier
  }

  #broken(member: Member, how: Break): void {
    const ms = how === 'fin' ? Math.min(HOLD_AFTER_FIN_MS, this.#options.holdMs) : this.#options.holdMs
    const { fingerprint: key, name, from, splices } = member
    // One that was replaced is most likely the leftover of a process that was started anew.
    const nothing = splices.size === 0 && member.tunnels.size === 0
    if (ms === 0 || nothing || this.#sessions.wasReplaced(member.id) || this.#stopped)
      return member.session.lost(BREAKS[how])
    this.#emit({ event: 'agent', state: 'held', key, name, from, reason: BREAKS[how], streams: splices.size })
    this.#holds.hold(member, ms)
  }

  #resume(member: Member, { body }: Resume, connection: Connection): boolean {
    const { session, carrier } = member
    // The relay may not have noticed yet that the old connection is dead. From here on nothing of it counts.
    carrier.detach()
    member.attempt = body.attempt
    const heldMs = this.#holds.release(member) ?? 0
    if (!session.resumable(body.position)) {
      session.lost('the position to resume from is gone')
      return false
    }
    const replayed = carrier.resume(connection, body.position, resumedFrame(session.position()), NOTHING)
    const { fingerprint: key, name, splices } = member
    member.from = formatHostPort(connection.remoteHost, connection.remotePort)
    const afterMs = Math.round(heldMs)
    this.#emit({
      event: 'agent',
      state: 'resumed',
      key,
      name,
      from: member.from,
      streams: splices.size,
      replayed,
      afterMs,
    })
    this.#tunnels.admitWaiting(member)
    return true
  }

  #gone(member: Member, reason: string): void {
    this.#holds.release(member)
    this.#tunnels.leave(member)
    this.#sessions.remove(member)
    this.#emit({
      event: 'agent',
      state: 'gone',
      key: member.fingerprint,
      name: member.name,
      from: member.from,
      reason,
    })
  }

  #refused(from: string, key: Uint8Array | null, reason: string): void {
    this.#emit({ event: 'agent', state: 'refused', key: key === null ? '' : fingerprint(key), name: '', from, reason })
  }

  #revoke(key: Uint8Array): void {
    for (const member of this.#sessions.ofKey(fingerprint(key)))
      member.session.close(SESSION_CODE.REVOKED, 'the key was revoked')
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

const NOTHING = Buffer.alloc(0)
const BREAKS: Record<Break, string> = {
  fin: 'the agent closed the connection',
  reset: 'the connection broke',
  silence: 'the link fell silent',
}

/** The host that others most likely reach this machine by, when nobody said: the listening one, or its first address. */
function ownHost(listenHost: string): string {
  if (listenHost !== '::' && listenHost !== '0.0.0.0') return listenHost
  const addresses = Object.values(networkInterfaces()).flatMap(list => list ?? [])
  const outward = addresses.filter(a => !a.internal && !a.address.startsWith('fe80'))
  const found = outward.find(a => a.family === 'IPv4') ?? outward[0]
  if (found !== undefined) return found.address
  if (addresses.length > 0) return '127.0.0.1'
  throw new WarrenError('W-USAGE', 'this machine has no address: say what it is reached by with --public-host')
}
