// The tunnels of an agent, one for each service: what the relay is asked for and what it answers, what another process of
// the key took, and how much went through.
import { formatHostPort, formatLocal, type TunnelSpec } from '../config/index.ts'
import { BIND, type Session, type TunnelAnswer, type TunnelAsked } from '../frame/index.ts'
import type { Splice } from '../link/index.ts'
import { listeningPorts } from '../net/index.ts'
import type { Emit } from '../telemetry/events.ts'
import { tunnelError } from './reasons.ts'
import { Service } from './services.ts'

/** Bytes of INIT's 4 KiB for tunnels, and what one takes besides its name. */
const INIT_ROOM = 3_072
const TUNNEL_BYTES = 32

/** How often it is looked whether services of this machine still have a listener, in ms. */
const LOOK_MS = 2_000

const TAKEN = 'another process of this key took it'

export type Traffic = { sent: number; received: number }

export class Tunnels {
  readonly #services: readonly Service[]
  readonly #emit: Emit
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(specs: readonly TunnelSpec[], emit: Emit) {
    this.#services = specs.map((spec, id) => new Service(id, spec, emit))
    this.#emit = emit
  }

  get(id: number): Service | undefined {
    return this.#services[id]
  }

  /** Looks whether the services answer, and from then on whether somebody goes on listening for them. */
  watch(): void {
    for (const service of this.#services) service.check()
    if (this.#services.some(service => service.ownPort !== null))
      this.#timer = setInterval(() => this.look(listeningPorts()), LOOK_MS)
  }

  /** `ports`: those of this machine that somebody listens at; null: nobody can be asked. */
  look(ports: ReadonlySet<number> | null): void {
    if (ports === null) return clearInterval(this.#timer)
    for (const service of this.#services) {
      const { ownPort } = service
      if (ownPort !== null) service.listened(ports.has(ownPort))
    }
  }

  stop(): void {
    clearInterval(this.#timer)
    for (const service of this.#services) service.stop()
  }

  /** As many as fit into INIT; `bindOthers` asks for the rest. */
  first(): TunnelAsked[] {
    let room = INIT_ROOM
    const asked: TunnelAsked[] = []
    for (const service of this.#services) {
      room -= Buffer.byteLength(service.spec.name) + TUNNEL_BYTES
      if (room < 0) break
      asked.push(service.asked(service.taken))
    }
    return asked
  }

  /** A new session: all that an older one had is to be answered anew. */
  unbind(): void {
    for (const service of this.#services) service.claimed = false
  }

  bindOthers(session: Session, answers: readonly TunnelAnswer[]): void {
    const asked = new Set(answers.map(answer => answer.id))
    for (const service of this.#services) if (!asked.has(service.id)) bind(session, service, service.taken)
  }

  /** Asks once more for what this session did not get, or lost to another process that may be gone by now. */
  askAgain(session: Session): void {
    for (const service of this.#services) if (!service.claimed) bind(session, service, true)
  }

  answered(answer: TunnelAnswer): void {
    const service = this.get(answer.id)
    if (service === undefined) return
    service.claimed = !('refused' in answer)
    const { spec } = service
    if ('refused' in answer) {
      const { code, message } = tunnelError(answer)
      this.#tellClosed(service, code === 'W-REPLACED' ? TAKEN : message)
      // That it is still the other's is no news.
      if (code !== 'W-REPLACED') this.#emit({ event: 'warning', code, message })
    } else {
      service.taken = false
      const address = formatHostPort(answer.host, answer.port)
      service.address = address
      this.#emit({ event: 'tunnel', name: spec.name, address, local: formatLocal(spec.local) })
    }
  }

  /** Another process of this key has it now. */
  taken(id: number): void {
    const service = this.get(id)
    if (service === undefined) return
    service.claimed = false
    service.taken = true
    this.#tellClosed(service, TAKEN)
  }

  yieldAll(): void {
    for (const { id } of this.#services) this.taken(id)
  }

  #tellClosed(service: Service, reason: string): void {
    const { address } = service
    if (address === null) return
    service.address = null
    this.#emit({ event: 'tunnel-closed', name: service.spec.name, address, reason })
  }

  get allTaken(): boolean {
    return this.#services.every(service => service.taken)
  }

  closed(splice: Splice): void {
    const service = this.get(splice.tunnel)
    if (service !== undefined) {
      service.sent += splice.read
      service.received += splice.written
    }
    this.#emit({
      event: 'stream',
      state: 'closed',
      visitor: splice.visitor,
      tunnel: service?.spec.name ?? '',
      sent: splice.read,
      received: splice.written,
      ms: Math.round(performance.now() - splice.since),
      end: splice.ended ?? 'fin',
    })
  }

  /** Bytes so far by tunnel name, with those of the streams that are `open`. */
  traffic(open: Iterable<Splice>): Map<string, Traffic> {
    const all = new Map<string, Traffic>()
    for (const { spec, sent, received } of this.#services) all.set(spec.name, { sent, received })
    for (const splice of open) {
      const tunnel = all.get(this.get(splice.tunnel)?.spec.name ?? '')
      if (tunnel === undefined) continue
      tunnel.sent += splice.read
      tunnel.received += splice.written
    }
    return all
  }
}

function bind(session: Session, service: Service, yields: boolean): void {
  service.claimed = true
  session.send({ type: BIND, tunnel: service.asked(yields) })
}
