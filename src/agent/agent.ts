// The agent: keeps a session with its relay alive, and joins the streams that the relay opens to the local services.
import { randomBytes } from 'node:crypto'
import { formatHostPort, type TunnelSpec } from '../config/index.ts'
import { type Code, ERRORS, WarrenError } from '../errors.ts'
import { type AckBody, LIMIT, Memory, type Over, RESET_CODE, SESSION_CODE, Session } from '../frame/index.ts'
import type { KeyPair } from '../identity/index.ts'
import { type Break, Carrier, Splice } from '../link/index.ts'
import { type Connection, type Dialing, type Handler, refuseUnsafeEnvironment } from '../net/index.ts'
import type { Emit, Event } from '../telemetry/events.ts'
import type { Log } from '../telemetry/log.ts'
import { Backoff } from './backoff.ts'
import type { Greeted } from './greeting.ts'
import { BREAKS, codeOf, refusalError, tunnelError } from './reasons.ts'
import { register } from './registration.ts'
import { type Resumable, Resuming } from './resumption.ts'
import { Roaming } from './roaming.ts'
import { AgentState, type Invited } from './state.ts'
import { type Traffic, Tunnels } from './tunnels.ts'

/** How often it is asked for what another process took, or could not be had, in ms. */
const ASK_AGAIN_MS = 30_000
const DRAIN_LOOK_MS = 50
/** After a FIN the relay's process is likely gone: no use in holding for long. */
const HOLD_AFTER_FIN_MS = 3_000
const NOTHING = Buffer.alloc(0)
const RTT_EVENT_MS = 1_000

export type AgentOptions = {
  tunnels: TunnelSpec[]
  /** An invite, or HOST:PORT of a relay that was met before; null: the one used last. */
  relay: string | null
  state: string
  /** What the relay's operator sees it as. */
  name: string
  deadAfterMs: number
  /** How long open streams outlive a broken link; 0: not at all. */
  holdMs: number
  drainMs: number
}

export interface Agent {
  /** No new streams; the open ones get `drainMs`. Resolves when the session is over. */
  drain(): Promise<void>
  /** Ends everything at once. */
  stop(): void
  /** Null when it was asked to end; otherwise why trying again cannot help. */
  readonly closed: Promise<WarrenError | null>
  /** Bytes so far to visitors and from them, by tunnel name, those of open streams included. */
  traffic(): ReadonlyMap<string, { readonly sent: number; readonly received: number }>
}

/** Throws a WarrenError when it cannot start; what happens later is told by events, and by `closed`. */
export async function startAgent(options: AgentOptions, emit: Emit, log: Log): Promise<Agent> {
  refuseUnsafeEnvironment()
  const { length } = options.tunnels
  if (length > LIMIT.tunnels)
    throw new WarrenError('W-USAGE', `${length} services are more than the ${LIMIT.tunnels} that one agent may have`)
  const state = AgentState.open(options.state)
  // The key first: who is let in by it and not by an invite hands it over before there is a relay to know.
  const key = state.key(options.name)
  return new RunningAgent(options, state.relay(options.relay), state, key, emit, log)
}

/** One session with the relay, from its ACK on. */
type Live = Resumable & {
  readonly carrier: Carrier
  readonly since: number
  readonly splices: Set<Splice>
  hold: Hold | null
}

/** What a session waits by, between two connections. */
type Hold = { readonly since: number; readonly timer: ReturnType<typeof setTimeout>; readonly resuming: Resuming }

class RunningAgent implements Agent {
  readonly closed: Promise<WarrenError | null>
  readonly #options: AgentOptions
  readonly #relay: Invited
  readonly #address: string
  readonly #state: AgentState
  readonly #key: KeyPair
  readonly #emit: Emit
  readonly #log: Log
  readonly #instance = randomBytes(16)
  readonly #memory = new Memory()
  readonly #tunnels: Tunnels
  readonly #backoff = new Backoff(Math.random)
  readonly #roaming: Roaming
  readonly #asking: ReturnType<typeof setInterval>
  /** The session that new streams come from; the relay may still be draining older ones. */
  #live: Live | null = null
  readonly #all = new Set<Live>()
  #attempt: Dialing | null = null
  #timer: ReturnType<typeof setTimeout> | undefined
  /** The relay has taken this agent in once: a refusal of a tunnel later on is not this command line's mistake. */
  #served = false
  #ending = false
  #over = false
  #rttAt = 0
  #resolveClosed: (error: WarrenError | null) => void = () => {}

  constructor(options: AgentOptions, relay: Invited, state: AgentState, key: KeyPair, emit: Emit, log: Log) {
    this.#options = options
    this.#relay = relay
    this.#address = formatHostPort(relay.host, relay.port)
    this.#state = state
    this.#key = key
    this.#emit = emit
    this.#log = log
    this.#tunnels = new Tunnels(options.tunnels, emit)
    this.closed = new Promise(resolve => {
      this.#resolveClosed = resolve
    })
    this.#tunnels.watch()
    this.#roaming = new Roaming(
      () => this.#live?.carrier.localHost ?? null,
      why => {
        // A clock that was set must not cost streams: with no hold, silence tells whether it was sleep.
        if (why === 'gone' || this.#options.holdMs > 0) this.#live?.carrier.break('reset')
      },
    )
    this.#asking = setInterval(() => this.#askAgain(), ASK_AGAIN_MS)
    this.#connect()
  }

  async drain(): Promise<void> {
    if (this.#ending) return
    this.#ending = true
    this.#giveUpConnecting()
    const until = performance.now() + this.#options.drainMs
    for (const live of this.#all) live.session.goaway(SESSION_CODE.SHUTDOWN, 'the agent is shutting down')
    this.#emit({ event: 'draining', streams: this.#streams(), graceMs: this.#options.drainMs })
    while (!this.#over && this.#busy() && performance.now() < until) await Bun.sleep(DRAIN_LOOK_MS)
    this.#end(null)
    // A turn of the loop for the farewell to leave.
    await Bun.sleep(DRAIN_LOOK_MS)
  }

  stop(): void {
    this.#end(null)
  }

  traffic(): Map<string, Traffic> {
    return this.#tunnels.traffic([...this.#all].flatMap(({ splices }) => [...splices]))
  }

  /** Bytes that are encoded and not yet receipted are a stream's still, though it has ended here. */
  #busy(): boolean {
    for (const { splices, session } of this.#all) if (splices.size > 0 || !session.quiet) return true
    return false
  }

  #streams(): number {
    let streams = 0
    for (const live of this.#all) streams += live.splices.size
    return streams
  }

  #end(error: WarrenError | null): void {
    if (this.#over) return
    this.#over = true
    this.#ending = true
    this.#giveUpConnecting()
    this.#roaming.stop()
    clearInterval(this.#asking)
    this.#tunnels.stop()
    for (const live of [...this.#all]) {
      live.session.close(SESSION_CODE.SHUTDOWN, 'the agent is shutting down')
      for (const splice of [...live.splices]) splice.abort()
    }
    this.#resolveClosed(error)
  }

  // ---- Connecting.

  #connect(): void {
    if (this.#ending || this.#attempt !== null || this.#live !== null) return
    this.#emit({ event: 'session', state: 'connecting', relay: this.#address })
    this.#attempt = register(
      this.#relay,
      {
        token: this.#relay.token,
        key: this.#key,
        instance: this.#instance,
        name: this.#options.name,
        capabilities: [],
        tunnels: this.#tunnels.first(),
      },
      result => {
        this.#attempt = null
        if ('error' in result) this.#failed(result.error)
        else {
          const { answer, connection, rest } = result.ok
          if (answer.ok) return this.#connected(connection, answer.ack, rest)
          this.#failed(refusalError(this.#address, answer))
        }
        return null
      },
    )
  }

  #giveUpConnecting(): void {
    clearTimeout(this.#timer)
    this.#attempt?.cancel()
    this.#attempt = null
  }

  #failed(error: WarrenError): void {
    // A relay that has taken this agent in is one: what answers in its place, as a balancer does, may pass.
    const passes = this.#served && error.code === 'W-NOT-WARREN'
    if (error.entry.agent === 'ends' && !passes) {
      this.#emit({ event: 'session', state: 'refused', relay: this.#address, code: error.code, reason: error.message })
      this.#end(error)
    } else this.#retry(error.code, error.message, 0)
  }

  #retry(code: Code, reason: string, leastMs: number): void {
    if (this.#ending) return
    const retryInMs = Math.max(leastMs, this.#backoff.next())
    this.#emit({ event: 'session', state: 'lost', relay: this.#address, code, reason, retryInMs })
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#connect(), retryInMs)
  }

  #connected(connection: Connection, ack: AckBody, rest: Buffer): Handler | null {
    try {
      this.#state.remember(this.#relay.host, this.#relay.port, this.#relay.pin)
    } catch (thrown) {
      // The tunnel works all the same; the next start would need an invite again.
      this.#log.error('the relay cannot be remembered', { reason: thrown instanceof Error ? thrown.message : '' })
    }
    const errors = ack.tunnels.flatMap(answer => ('refused' in answer ? [tunnelError(answer)] : []))
    const mistake = this.#served ? undefined : errors.find(error => error.entry.agent === 'ends')
    const [first] = errors
    if (mistake !== undefined) {
      connection.abort()
      this.#failed(mistake)
      return null
    }
    // INIT may not have had room for all of them, and the others may be to be had.
    if (first !== undefined && errors.length === this.#options.tunnels.length) {
      connection.abort()
      if (errors.every(error => error.code === 'W-REPLACED')) this.#tunnels.yieldAll()
      this.#retry(first.code, first.message, first.code === 'W-REPLACED' ? ASK_AGAIN_MS : 0)
      return null
    }
    this.#served = true

    const carrier = new Carrier(how => this.#broken(live, how))
    // One for all streams: a closure each would be a good part of what an idle stream costs.
    const onDone = (splice: Splice): void => {
      live.splices.delete(splice)
      this.#tunnels.closed(splice)
    }
    const live: Live = {
      carrier,
      id: ack.session,
      attempt: 0,
      resumedAt: Number.NEGATIVE_INFINITY,
      since: performance.now(),
      splices: new Set(),
      hold: null,
      session: new Session(
        {
          opener: false,
          peerFirstCredit: ack.credit,
          deadAfter: this.#options.deadAfterMs,
          memory: this.#memory,
          events: {
            opened: (stream, opening) => {
              const service = this.#tunnels.get(opening.tunnel)
              if (service === undefined) return stream.abort(RESET_CODE.NO_TUNNEL)
              const splice = new Splice(opening.tunnel, opening.visitor, onDone)
              live.splices.add(splice)
              this.#emit({ event: 'stream', state: 'open', visitor: opening.visitor, tunnel: service.spec.name })
              service.connect(stream, splice)
            },
            wake: () => carrier.wake(),
            full: () => carrier.full(),
            silent: () => carrier.break('silence'),
            over: how => {
              carrier.finish()
              this.#lost(live, how)
            },
            goaway: (code, text) => this.#goaway(live, code, text),
            bound: answer => this.#tunnels.answered(answer),
            unbind: id => this.#tunnels.taken(id),
            roundTrip: ms => this.#roundTrip(ms),
          },
        },
        performance.now(),
      ),
    }
    this.#live = live
    this.#all.add(live)
    this.#tunnels.unbind()
    this.#emit({ event: 'session', state: 'connected', relay: this.#address, rtt: null })
    for (const answer of ack.tunnels) this.#tunnels.answered(answer)
    this.#tunnels.bindOthers(live.session, ack.tunnels)
    carrier.start(live.session, connection, NOTHING, rest)
    this.#roaming.connected()
    return carrier
  }

  // ---- A session.

  #askAgain(): void {
    const session = this.#live?.session
    if (session?.attached && !this.#ending) this.#tunnels.askAgain(session)
  }

  #roundTrip(ms: number): void {
    const now = performance.now()
    if (now - this.#rttAt < RTT_EVENT_MS) return
    this.#rttAt = now
    this.#emit({ event: 'rtt', rtt: Math.round(ms * 100) / 100 })
  }

  /** The relay takes no more of this session; its streams go on, and a new session is begun meanwhile. */
  #goaway(live: Live, code: number, text: string): void {
    if (this.#live !== live) return
    this.#live = null
    this.#endWhenDrained(live)
    if (code === SESSION_CODE.REPLACED) {
      this.#tunnels.yieldAll()
      this.#retry('W-REPLACED', text, ASK_AGAIN_MS)
    } else {
      this.#backoff.goodbye()
      this.#retry('W-RELAY-GOODBYE', text, 0)
    }
  }

  async #endWhenDrained(live: Live): Promise<void> {
    while (this.#all.has(live) && (live.splices.size > 0 || !live.session.quiet)) await Bun.sleep(DRAIN_LOOK_MS)
    live.session.close(SESSION_CODE.SHUTDOWN, 'drained')
  }

  // ---- Between two connections.

  #broken(live: Live, how: Break): void {
    const holdMs = how === 'fin' ? Math.min(HOLD_AFTER_FIN_MS, this.#options.holdMs) : this.#options.holdMs
    const reason = BREAKS[how]
    if (holdMs === 0 || this.#over) return live.session.lost(reason)
    const streams = live.splices.size
    this.#emitOf(live, { event: 'session', state: 'held', relay: this.#address, streams, holdMs, reason })
    live.hold = {
      since: performance.now(),
      timer: setTimeout(() => this.#expire(live, `not resumed within ${holdMs / 1000} s`), holdMs),
      resuming: new Resuming(this.#relay, this.#key, live, answered => this.#resumed(live, answered)),
    }
  }

  #resumed(live: Live, { connection, answer, rest }: Greeted<{ ok: true; position: number }>): Handler | null {
    const { hold } = live
    if (hold === null) return null
    if (!answer.ok) {
      // A leftover of before another process had them says nothing of what the session since then has.
      if (answer.code === SESSION_CODE.REPLACED && this.#live === live) this.#tunnels.yieldAll()
      this.#expire(live, 'the relay no longer has the session')
      return null
    }
    if (!live.session.resumable(answer.position)) {
      this.#expire(live, "the relay's position is not in the ring")
      return null
    }
    clearTimeout(hold.timer)
    live.hold = null
    live.resumedAt = performance.now()
    const replayed = live.carrier.resume(connection, answer.position, NOTHING, rest)
    this.#roaming.connected()
    this.#emitOf(live, {
      event: 'session',
      state: 'resumed',
      relay: this.#address,
      streams: live.splices.size,
      replayed,
      afterMs: Math.round(performance.now() - hold.since),
    })
    return live.carrier
  }

  /** A session that another one has followed tells nothing more of itself but its streams. */
  #emitOf(live: Live, event: Event): void {
    if (this.#live === live) this.#emit(event)
  }

  #expire(live: Live, reason: string): void {
    const streams = live.splices.size
    this.#emitOf(live, { event: 'session', state: 'expired', relay: this.#address, streams, reason })
    live.session.lost(reason)
  }

  #lost(live: Live, how: Over): void {
    this.#all.delete(live)
    if (live.hold !== null) {
      clearTimeout(live.hold.timer)
      live.hold.resuming.stop()
      live.hold = null
    }
    if (this.#live !== live) return
    this.#live = null
    if (this.#ending) return
    const code = codeOf(how)
    const reason = how.text
    if (ERRORS[code].agent === 'ends') {
      this.#failed(new WarrenError(code, `${this.#address}: ${reason}`))
      return
    }
    if (code === 'W-RELAY-GOODBYE') this.#backoff.goodbye()
    else this.#backoff.sessionLasted(performance.now() - live.since)
    if (this.#tunnels.allTaken) this.#retry('W-REPLACED', reason, ASK_AGAIN_MS)
    else this.#retry(code, reason, 0)
  }
}
