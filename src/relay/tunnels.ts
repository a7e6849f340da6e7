// Tunnels: which lease is open at which edge, for which session. A tunnel outlives its session by a moment, in which
// visitors wait for the agent to come back; ownership is per lease, so one process takes over just what it names.
import { formatHostPort } from '../config/index.ts'
import { WarrenError } from '../errors.ts'
import { SESSION_CODE, type TunnelAnswer, type TunnelAsked, UNBIND } from '../frame/index.ts'
import { type OnDone, Splice } from '../link/index.ts'
import { type Connection, descriptors, type Handler } from '../net/index.ts'
import type { Emit, StreamEnd } from '../telemetry/events.ts'
import type { Log } from '../telemetry/log.ts'
import { Tally } from '../telemetry/tally.ts'
import { PortEdge, TURNED_AWAY } from './edges/port.ts'
import { type Grant, PER_KEY, type Pool, type Refused } from './pool.ts'
import type { Member } from './sessions.ts'

/** So long a visitor waits for an agent that is away, in ms. */
const HOLD_MS = 3_000
/** Visitors of one tunnel that may wait at once. */
const WAITING = 16_384
/** Descriptors kept for sessions: a visitor that would need one of them is reset. */
const RESERVE = 128
/** ... and kept for sessions alone: a new public port would need one of them. */
const PORT_RESERVE = 64
const REPLACED = 'another process of this key took over'
const CLOSING = 'the relay is shutting down'

export class Tunnel {
  readonly name: string
  readonly owner: string
  readonly edge: PortEdge
  /** HOST:PORT, as visitors are told. */
  readonly address: string
  epoch: number
  /** What a visitor's splice calls at its end. */
  onDone: OnDone = () => {}
  /** Null while its agent is away. */
  member: Member | null = null
  /** The agent's id of it. */
  id = 0
  readonly waiting = new Set<Waiting>()
  holdTimer: ReturnType<typeof setTimeout> | undefined

  constructor(name: string, owner: string, edge: PortEdge, address: string, epoch: number) {
    this.name = name
    this.owner = owner
    this.edge = edge
    this.address = address
    this.epoch = epoch
  }
}

/** A visitor that came while the agent was away: not read from, and gone when it leaves. */
class Waiting implements Handler {
  readonly visitor: Connection
  /** What was read before the pause took hold. */
  readonly early: Buffer[] = []
  readonly #tunnel: Tunnel
  readonly #timer: ReturnType<typeof setTimeout>

  constructor(visitor: Connection, tunnel: Tunnel) {
    this.visitor = visitor
    this.#tunnel = tunnel
    this.#timer = setTimeout(() => visitor.abort(), HOLD_MS)
    visitor.pause()
    visitor.resetIfKilled()
    tunnel.waiting.add(this)
  }

  onData(buf: Buffer): boolean {
    this.early.push(buf)
    return false
  }

  onDrain(): void {}

  onEnd(): void {}

  onClose(): void {
    this.leave()
  }

  /** It waits no longer. */
  leave(): void {
    clearTimeout(this.#timer)
    this.#tunnel.waiting.delete(this)
  }
}

/** The pool could not be asked, or said no because another program has the port. */
type Failed = { readonly ok: false; readonly why: 'state' | 'bound' }

export type TunnelOptions = {
  /** Where public ports listen. */
  bind: string
  publicHost: string
  ports: { from: number; to: number }
}

export class Tunnels {
  readonly #options: TunnelOptions
  readonly #pool: Pool
  readonly #onReplaced: (member: Member) => void
  readonly #emit: Emit
  readonly #log: Log
  readonly #byPort = new Map<number, Tunnel>()
  readonly #byOwner = new Map<string, Tunnel>()
  /** Bytes to visitors and from them, of the streams that are closed. */
  readonly carried = { sent: 0, received: 0 }
  readonly #turnedAway = new Tally(visitors =>
    this.#log.warn('visitors reset: no file descriptors left but the reserve', {
      visitors,
      limit: descriptors.limit(),
    }),
  )
  #closed = false

  constructor(options: TunnelOptions, pool: Pool, onReplaced: (member: Member) => void, emit: Emit, log: Log) {
    this.#onReplaced = onReplaced
    this.#options = options
    this.#pool = pool
    this.#emit = emit
    this.#log = log
  }

  /** Gives a session the tunnels that it asks for, as far as they can be had; an answer for each. */
  grant(key: Uint8Array, member: Member, asked: readonly TunnelAsked[]): TunnelAnswer[] {
    if (this.#closed) return asked.map(({ id }) => ({ id, refused: 'W-RELAY-GOODBYE', why: CLOSING }))
    const answers: TunnelAnswer[] = []
    const wants: TunnelAsked[] = []
    for (const want of asked) {
      const before = this.#byOwner.get(ownerOf(member.fingerprint, want.name))
      const live = before?.member
      const has = member.tunnels.has(want.id) || live === member
      if (has || wants.some(w => w.id === want.id || w.name === want.name))
        answers.push({ id: want.id, refused: 'W-USAGE', why: 'the same tunnel twice' })
      else if (want.yields === true && live && live.instance !== member.instance)
        answers.push({ id: want.id, refused: 'W-REPLACED', why: 'another process of this key has it' })
      else if (before === undefined && descriptors.near(PORT_RESERVE + wants.length))
        answers.push({ id: want.id, refused: 'W-RELAY-BUSY', why: 'the relay has no file descriptor left for a port' })
      else wants.push(want)
    }
    const bound = new Map<number, PortEdge>()
    const elsewhere = new Set<number>()
    const free = (port: number): boolean => {
      if (this.#byPort.has(port) || bound.has(port)) return true
      const edge = PortEdge.bind(this.#options.bind, port)
      if (edge !== null) bound.set(port, edge)
      else elsewhere.add(port)
      return edge !== null
    }
    try {
      const grants = this.#acquire(key, wants, free)
      for (const [i, want] of wants.entries()) {
        const grant = grants[i]!
        const foreign = want.port !== null && elsewhere.has(want.port)
        answers.push(this.#settle(member, want, !grant.ok && foreign ? { ok: false, why: 'bound' } : grant, bound))
      }
    } finally {
      for (const edge of bound.values()) edge.stop()
    }
    return answers
  }

  /** Nothing is promised that is not on disk: while that fails, what is open goes on, and nothing new is granted. */
  #acquire(key: Uint8Array, wants: readonly TunnelAsked[], free: (port: number) => boolean): (Grant | Failed)[] {
    try {
      return this.#pool.acquireAll(
        key,
        wants.map(({ name, port }) => ({ service: name, wanted: port })),
        free,
      )
    } catch (thrown) {
      if (!(thrown instanceof WarrenError)) throw thrown
      this.#log.error('no lease can be granted', { code: thrown.code, reason: thrown.message })
      return wants.map(() => ({ ok: false, why: 'state' }))
    }
  }

  /** Takes one tunnel of a session back, at the agent's word. */
  release(member: Member, id: number): void {
    const tunnel = member.tunnels.get(id)
    if (tunnel === undefined) return
    member.tunnels.delete(id)
    this.#away(tunnel)
  }

  /** The session is over or drains: its tunnels are its key's still, and wait a moment for it. */
  leave(member: Member): void {
    for (const tunnel of member.tunnels.values()) this.#away(tunnel)
    member.tunnels.clear()
  }

  /** No visitor is let in any more. */
  stop(): void {
    this.#closed = true
    for (const tunnel of [...this.#byPort.values()]) this.#shut(tunnel, CLOSING)
  }

  /** `warren leases free`: an away tunnel of that port is closed at once. */
  close(port: number): void {
    const tunnel = this.#byPort.get(port)
    if (tunnel !== undefined && tunnel.member === null) this.#shut(tunnel, 'the lease was freed')
  }

  address(port: number): string {
    return formatHostPort(this.#options.publicHost, port)
  }

  #settle(member: Member, want: TunnelAsked, grant: Grant | Failed, bound: Map<number, PortEdge>): TunnelAnswer {
    if (!grant.ok) return { id: want.id, ...this.#refusal(want, grant.why) }
    const owner = ownerOf(member.fingerprint, want.name)
    const before = this.#byOwner.get(owner)
    if (before !== undefined && before.edge.port !== grant.port) {
      this.#takeFrom(before, member)
      this.#shut(before, `moved to ${this.address(grant.port)}`)
    }
    let tunnel = this.#byPort.get(grant.port)
    if (tunnel !== undefined && tunnel.owner !== owner) {
      // The lease changed hands while the old owner's visitors were still waiting.
      this.#shut(tunnel, 'the lease has another owner')
      tunnel = undefined
    }
    if (tunnel === undefined) {
      const edge = bound.get(grant.port) ?? PortEdge.bind(this.#options.bind, grant.port)
      if (edge === null) {
        this.#pool.release(grant.port, grant.epoch)
        return { id: want.id, ...this.#refusal(want, 'taken') }
      }
      bound.delete(grant.port)
      tunnel = new Tunnel(want.name, owner, edge, this.address(grant.port), grant.epoch)
      this.#byPort.set(grant.port, tunnel)
      this.#byOwner.set(owner, tunnel)
      const fresh = tunnel
      edge.visit = visitor => this.#visit(fresh, visitor)
    } else {
      this.#takeFrom(tunnel, member)
      clearTimeout(tunnel.holdTimer)
    }
    tunnel.epoch = grant.epoch
    tunnel.member = member
    tunnel.id = want.id
    // One for all visitors of this session: a closure each would be a good part of what an idle one costs.
    const mine = tunnel
    tunnel.onDone = splice => {
      member.splices.delete(splice)
      this.#ended(mine, member, splice)
    }
    member.tunnels.set(want.id, tunnel)
    this.#emit({
      event: 'tunnel',
      name: tunnel.name,
      address: tunnel.address,
      local: member.name,
      key: member.fingerprint,
    })
    return { id: want.id, host: this.#options.publicHost, port: grant.port, epoch: grant.epoch }
  }

  /** Visitors that waited go to the new session; called once it can carry them. */
  admitWaiting(member: Member): void {
    if (!member.session.attached) return
    for (const tunnel of member.tunnels.values())
      for (const waiting of [...tunnel.waiting]) {
        waiting.leave()
        const splice = this.#carry(tunnel, member, waiting.visitor)
        // The session may take no more: then the visitor was reset.
        if (splice.ended !== null) continue
        for (const buf of waiting.early) splice.onData(buf)
        splice.go()
      }
  }

  #refusal(want: TunnelAsked, why: Refused | Failed['why']): { refused: string; why: string } {
    const { from, to } = this.#options.ports
    switch (why) {
      case 'taken':
        return { refused: 'W-PORT-TAKEN', why: `${portOf(want.port)} (for ${want.name}) is taken` }
      case 'bound':
        this.#log.warn('another program has the port that an agent asks for', { port: want.port })
        return {
          refused: 'W-PORT-TAKEN',
          why: `${portOf(want.port)} (for ${want.name}) is bound by another program on the relay`,
        }
      case 'range':
        return { refused: 'W-PORT-RANGE', why: `public port ${want.port} (for ${want.name}) is not in ${from}-${to}` }
      case 'state':
        return { refused: 'W-RELAY-BUSY', why: 'the relay cannot write its state' }
      case 'empty':
        return { refused: 'W-POOL-EMPTY', why: `no port of ${from}-${to} is free (for ${want.name})` }
      case 'share':
        return {
          refused: 'W-POOL-EMPTY',
          why: `no port (for ${want.name}): this key has ${PER_KEY} ports, as many as one may have`,
        }
    }
  }

  /** Another session gets what this tunnel's had; one of the same process is a leftover of a broken connection. */
  #takeFrom(tunnel: Tunnel, next: Member): void {
    const last = tunnel.member
    if (last === null || last === next) return
    last.tunnels.delete(tunnel.id)
    tunnel.member = null
    if (last.instance === next.instance) {
      if (last.tunnels.size === 0) last.session.close(SESSION_CODE.REPLACED, 'a newer session of this process')
    } else if (last.tunnels.size === 0) {
      this.#onReplaced(last)
      // Between two connections the old process may be gone as well; its streams are.
      if (last.session.attached) last.session.goaway(SESSION_CODE.REPLACED, REPLACED)
      else last.session.close(SESSION_CODE.REPLACED, REPLACED)
    } else {
      last.session.send({ type: UNBIND, tunnel: tunnel.id })
    }
  }

  #away(tunnel: Tunnel): void {
    if (tunnel.member === null) return
    tunnel.member = null
    this.#pool.release(tunnel.edge.port, tunnel.epoch)
    if (this.#closed) return this.#shut(tunnel, CLOSING)
    clearTimeout(tunnel.holdTimer)
    tunnel.holdTimer = setTimeout(() => this.#shut(tunnel, 'its agent is away'), HOLD_MS)
  }

  /** Closes the edge; the lease goes on resting. */
  #shut(tunnel: Tunnel, reason: string): void {
    // Shut before, as a drain does with all; its agent goes later.
    if (this.#byPort.get(tunnel.edge.port) !== tunnel) return
    clearTimeout(tunnel.holdTimer)
    tunnel.edge.stop()
    this.#byPort.delete(tunnel.edge.port)
    if (this.#byOwner.get(tunnel.owner) === tunnel) this.#byOwner.delete(tunnel.owner)
    for (const { visitor } of [...tunnel.waiting]) visitor.abort()
    this.#emit({ event: 'tunnel-closed', name: tunnel.name, address: tunnel.address, reason })
  }

  #visit(tunnel: Tunnel, visitor: Connection): Handler {
    if (descriptors.near(RESERVE)) return this.#turnAway(visitor)
    const { member } = tunnel
    if (member?.session.attached) return this.#carry(tunnel, member, visitor)
    if (tunnel.waiting.size >= WAITING) {
      visitor.abort()
      return TURNED_AWAY
    }
    return new Waiting(visitor, tunnel)
  }

  #carry(tunnel: Tunnel, member: Member, visitor: Connection): Splice {
    const from = formatHostPort(visitor.remoteHost, visitor.remotePort)
    const splice = new Splice(tunnel.id, from, tunnel.onDone)
    member.splices.add(splice)
    this.#emit({ event: 'stream', state: 'open', visitor: from, tunnel: tunnel.name, key: member.fingerprint })
    splice.open(visitor, member.session, formatHostPort(visitor.localHost, tunnel.edge.port))
    return splice
  }

  #ended(tunnel: Tunnel, member: Member, splice: Splice): void {
    const end: StreamEnd = splice.ended ?? 'fin'
    this.carried.sent += splice.written
    this.carried.received += splice.read
    this.#emit({
      event: 'stream',
      state: 'closed',
      visitor: splice.visitor,
      tunnel: tunnel.name,
      key: member.fingerprint,
      sent: splice.written,
      received: splice.read,
      ms: Math.round(performance.now() - splice.since),
      end,
    })
  }

  /** Out of descriptors. */
  #turnAway(visitor: Connection): Handler {
    visitor.abort()
    this.#turnedAway.add()
    return TURNED_AWAY
  }
}

function portOf(wanted: number | null): string {
  return wanted === null ? 'the public port that it had' : `public port ${wanted}`
}

function ownerOf(fingerprint: string, service: string): string {
  return `${fingerprint} ${service}`
}
