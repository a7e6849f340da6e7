// A registered session's life: from its ACK, over broken connections and holds, to its end.
import { randomBytes } from 'node:crypto'
import { formatHostPort } from '../config/index.ts'
import {
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
import { fingerprint } from '../identity/index.ts'
import { type Break, Carrier } from '../link/index.ts'
import type { Connection, Handler } from '../net/index.ts'
import type { Emit } from '../telemetry/events.ts'
import type { Admitted } from './admission.ts'
import { Asks } from './asks.ts'
import { Holds } from './holds.ts'
import type { Member, Sessions } from './sessions.ts'
import type { Store } from './store.ts'
import type { Tunnels } from './tunnels.ts'

/** After a FIN the agent's process is likely gone: no use in holding for long. */
const HOLD_AFTER_FIN_MS = 3_000
const NOTHING = Buffer.alloc(0)
const BREAKS: Record<Break, string> = {
  fin: 'the agent closed the connection',
  reset: 'the connection broke',
  silence: 'the link fell silent',
}

export type MembersOptions = {
  deadAfterMs: number
  /** How long the open streams of an agent outlive its link; 0: not at all. */
  holdMs: number
  /** Sessions held at once, and the bytes that they may keep together. */
  holds: { sessions: number; bytes: number }
}

export class Members {
  readonly #options: MembersOptions
  readonly #store: Store
  readonly #sessions: Sessions
  readonly #tunnels: Tunnels
  readonly #emit: Emit
  readonly #holds: Holds
  readonly #memory = new Memory(MEMORY_LIMITS)
  #ended = false

  constructor(options: MembersOptions, store: Store, sessions: Sessions, tunnels: Tunnels, emit: Emit) {
    this.#options = options
    this.#store = store
    this.#sessions = sessions
    this.#tunnels = tunnels
    this.#emit = emit
    this.#holds = new Holds(options.holds, (member, reason) => member.session.lost(reason))
  }

  /** Bytes that are encoded and not yet receipted are a stream's still, though it has ended here. */
  get busy(): boolean {
    return this.#sessions.all().some(({ splices, session }) => splices.size > 0 || !session.quiet)
  }

  get streams(): number {
    let streams = 0
    for (const member of this.#sessions.all()) streams += member.splices.size
    return streams
  }

  /** Bytes so far to visitors and from them, those of open streams included. */
  get traffic(): { sent: number; received: number } {
    const all = { ...this.#tunnels.carried }
    for (const { splices } of this.#sessions.all()) {
      for (const splice of splices) {
        all.sent += splice.written
        all.received += splice.read
      }
    }
    return all
  }

  register({ init, enrolled, connection }: Admitted): Handler {
    const { body } = init
    const id = randomBytes(16)
    const carrier = new Carrier(how => this.#broken(member, how))
    const print = fingerprint(body.key)
    const from = formatHostPort(connection.remoteHost, connection.remotePort)
    const asks = new Asks(
      asked => {
        // It opens no streams any more, and whoever came to such a tunnel would be reset.
        if (session.saidGoaway) return
        for (const answer of this.#tunnels.grant(body.key, member, asked)) session.send({ type: BOUND, answer })
        this.#tunnels.admitWaiting(member)
      },
      id => this.#tunnels.release(member, id),
      () => session.close(SESSION_CODE.PROTOCOL, 'too many tunnel messages'),
      () => this.#sessions.ofKey(print).length,
    )
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
            asks.stop()
            this.#gone(member, how.by === 'violation' ? `it broke the protocol: ${how.text}` : how.text)
          },
          goaway: () => {
            asks.stop()
            this.#tunnels.leave(member)
          },
          bind: tunnel => asks.add(tunnel),
          unbind: id => asks.add(id),
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
    // An agent that has sent nothing was told of no session, or ended over what it was told. One that was replaced is most
    // likely the leftover of a process that was started anew.
    const nothing = splices.size === 0 && (member.tunnels.size === 0 || member.session.position() === 0)
    if (ms === 0 || nothing || this.#sessions.wasReplaced(member.id) || this.#ended)
      return member.session.lost(BREAKS[how])
    this.#emit({ event: 'agent', state: 'held', key, name, from, reason: BREAKS[how], streams: splices.size })
    this.#holds.hold(member, ms)
  }

  /** Its agent is back, over another connection. False: what it asks for is gone. */
  resume(member: Member, { body }: Resume, connection: Connection): boolean {
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
    const { fingerprint: key, name, splices, from: was } = member
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
      was,
    })
    this.#tunnels.admitWaiting(member)
    return true
  }

  #gone(member: Member, reason: string): void {
    this.#holds.release(member)
    this.#tunnels.leave(member)
    this.#sessions.remove(member)
    this.#store.touchKey(member.key)
    this.#emit({
      event: 'agent',
      state: 'gone',
      key: member.fingerprint,
      name: member.name,
      from: member.from,
      reason,
    })
  }

  revoke(key: Uint8Array): void {
    for (const member of this.#sessions.ofKey(fingerprint(key)))
      member.session.close(SESSION_CODE.REVOKED, 'the key was revoked')
  }

  /** No new streams from any of them. Nobody is let in any more, so those without a connection end, now and later. */
  goaway(why: string): void {
    this.#ended = true
    for (const { session } of this.#sessions.all()) {
      if (session.attached) session.goaway(SESSION_CODE.SHUTDOWN, why)
      else session.close(SESSION_CODE.SHUTDOWN, why)
    }
  }

  end(why: string): void {
    this.#ended = true
    for (const member of this.#sessions.all()) {
      member.session.close(SESSION_CODE.SHUTDOWN, why)
      for (const splice of [...member.splices]) splice.abort()
    }
  }
}
