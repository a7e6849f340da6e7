// What a screen knows: a pure reducer over the events of a relay or an agent. `now` comes with each event and each tick,
// so that a frame is a function of the model alone.
import type { Code } from '../errors.ts'
import type { Event, StreamEnd } from '../telemetry/events.ts'

export type Session =
  | { readonly state: 'starting' }
  | { readonly state: 'connecting'; readonly relay: string }
  | {
      readonly state: 'connected'
      readonly relay: string
      readonly rtt: number | null
      /** The last break that its streams outlived, for as long as it is news. */
      readonly resumed: { readonly streams: number; readonly afterMs: number; readonly at: number } | null
    }
  | {
      readonly state: 'held'
      readonly relay: string
      readonly streams: number
      readonly reason: string
      readonly until: number
    }
  | {
      readonly state: 'lost'
      readonly relay: string
      readonly code: Code
      readonly reason: string
      readonly retryAt: number
    }
  | { readonly state: 'refused'; readonly relay: string; readonly code: Code; readonly reason: string }

type Sample = { readonly at: number; readonly sent: number; readonly received: number }

/** How much went through, and how fast: `samples` are the totals at a few moments of the last seconds. */
export type Traffic = {
  readonly open: number
  readonly total: number
  readonly sent: number
  readonly received: number
  /** The bytes are of open streams too, and are told by `tick`; otherwise they are known of a stream when it closes. */
  readonly measured: boolean
  readonly samples: readonly Sample[]
}

/** Bytes so far to visitors and from them, by tunnel, those of open streams included; a relay's are of all, under ''. */
export type Measure = ReadonlyMap<string, { readonly sent: number; readonly received: number }>

export type Tunnel = {
  readonly name: string
  readonly address: string
  readonly local: string
  /** Why an agent has it no more; null while it is open. */
  readonly closed: string | null
  readonly traffic: Traffic
}

export type Visit = {
  readonly visitor: string
  readonly tunnel: string
  readonly since: number
  readonly ended: {
    readonly end: StreamEnd
    readonly sent: number
    readonly received: number
    readonly ms: number
  } | null
}

export type Agent = {
  readonly key: string
  readonly name: string
  readonly from: string
  /** Its link broke, and so many of its streams are held for it; null while it is connected. */
  readonly held: number | null
}

export type Model = {
  readonly role: 'agent' | 'relay'
  readonly version: string
  readonly now: number
  readonly session: Session
  /** What a relay says of itself when it is ready. */
  readonly relay: { readonly control: string; readonly ports: string; readonly fingerprint: string } | null
  /** Open to the public, in the order of their coming; on a relay those of all agents. An agent's stay when they close. */
  readonly tunnels: readonly Tunnel[]
  /** Local services that do not answer, by the name of their tunnel. */
  readonly down: ReadonlyMap<string, { readonly local: string; readonly reason: string }>
  /** A relay's connected agents. */
  readonly agents: readonly Agent[]
  /** All streams together. */
  readonly traffic: Traffic
  /** The latest visitors, newest first. */
  readonly visits: readonly Visit[]
  readonly warning: { readonly code: Code | null; readonly message: string; readonly at: number } | null
  readonly draining: { readonly streams: number; readonly until: number } | null
  /** It is over: this is the last frame. */
  readonly stopped: boolean
}

const MOST_VISITS = 5
/** Rates are an average over this long. */
const RATE_MS = 3000
/** A warning stays this long. */
const WARNING_MS = 60_000
const NO_TRAFFIC: Traffic = { open: 0, total: 0, sent: 0, received: 0, measured: false, samples: [] }

export function newModel(role: 'agent' | 'relay', version: string, now: number): Model {
  return {
    role,
    version,
    now,
    session: { state: 'starting' },
    relay: null,
    tunnels: [],
    down: new Map(),
    agents: [],
    traffic: NO_TRAFFIC,
    visits: [],
    warning: null,
    draining: null,
    stopped: false,
  }
}

export function reduce(before: Model, event: Event, now: number): Model {
  const model: Model = { ...before, now }
  switch (event.event) {
    case 'ready':
      return { ...model, relay: { control: event.control, ports: event.ports, fingerprint: event.fingerprint } }
    case 'session':
      return onSession(model, event)
    case 'rtt':
      return model.session.state === 'connected' ? { ...model, session: { ...model.session, rtt: event.rtt } } : model
    case 'tunnel':
      return onTunnel(model, event)
    case 'tunnel-closed':
      return onTunnelClosed(model, event)
    case 'local': {
      const down = new Map(model.down)
      if (event.state === 'down') down.set(event.name, { local: event.local, reason: event.reason })
      else down.delete(event.name)
      return { ...model, down }
    }
    case 'stream':
      return onStream(model, event)
    case 'agent':
      return onAgent(model, event)
    case 'draining':
      return { ...model, draining: { streams: event.streams, until: model.draining?.until ?? now + event.graceMs } }
    case 'warning':
      return { ...model, warning: { code: event.code, message: event.message, at: now } }
  }
}

/** Time went by: rates are sampled, and what is old goes. An agent measures by tunnel; a relay shows the sum alone. */
export function tick(model: Model, measure: Measure | null, now: number): Model {
  const tunnels = model.tunnels.map(tunnel => {
    const moved = measure?.get(tunnel.name)
    return { ...tunnel, traffic: sample(moved ? { ...tunnel.traffic, ...moved, measured: true } : tunnel.traffic, now) }
  })
  return {
    ...model,
    now,
    traffic: sample(measure === null ? model.traffic : { ...model.traffic, ...sum(measure), measured: true }, now),
    tunnels,
    warning: model.warning !== null && now - model.warning.at < WARNING_MS ? model.warning : null,
  }
}

/** Bytes a second, to visitors and from them. */
export function rates(traffic: Traffic): { sent: number; received: number } {
  const first = traffic.samples[0]
  const last = traffic.samples.at(-1)
  if (first === undefined || last === undefined || last.at <= first.at) return { sent: 0, received: 0 }
  const seconds = (last.at - first.at) / 1000
  return { sent: (last.sent - first.sent) / seconds, received: (last.received - first.received) / seconds }
}

function sum(measure: Measure): { sent: number; received: number } {
  const all = { sent: 0, received: 0 }
  for (const { sent, received } of measure.values()) {
    all.sent += sent
    all.received += received
  }
  return all
}

function sample(traffic: Traffic, now: number): Traffic {
  const { sent, received } = traffic
  const recent = traffic.samples.filter(one => now - one.at <= RATE_MS && now > one.at)
  return { ...traffic, samples: [...recent, { at: now, sent, received }] }
}

function onSession(model: Model, event: Event & { event: 'session' }): Model {
  const { relay } = event
  switch (event.state) {
    case 'connecting':
      // While attempts go on failing, why the last one did says more than that another one began.
      return model.session.state === 'lost' ? model : { ...model, session: { state: 'connecting', relay } }
    case 'connected':
      return { ...model, session: { state: 'connected', relay, rtt: event.rtt, resumed: null } }
    case 'lost': {
      const { code, reason, retryInMs } = event
      return { ...model, session: { state: 'lost', relay, code, reason, retryAt: model.now + retryInMs } }
    }
    case 'held': {
      const { streams, reason } = event
      return { ...model, session: { state: 'held', relay, streams, reason, until: model.now + event.holdMs } }
    }
    case 'resumed': {
      const { streams, afterMs } = event
      const resumed = { streams, afterMs, at: model.now }
      return { ...model, session: { state: 'connected', relay, rtt: null, resumed } }
    }
    case 'expired': {
      // Nobody lost anything.
      if (event.streams === 0) return model
      const what = event.streams === 1 ? '1 open stream was' : `${event.streams} open streams were`
      const message = `${what} reset: ${event.reason}`
      return { ...model, warning: { code: 'W-RELAY-LOST', message, at: model.now } }
    }
    case 'refused':
      return { ...model, session: { state: 'refused', relay, code: event.code, reason: event.reason } }
  }
}

/** On a relay two agents may use one name; an agent's tunnel keeps its name when its address changes. */
function isSame(model: Model, tunnel: Tunnel, event: { name: string; address: string }): boolean {
  return model.role === 'agent' ? tunnel.name === event.name : tunnel.address === event.address
}

function onTunnel(model: Model, event: Event & { event: 'tunnel' }): Model {
  const { name, address, local } = event
  const known = model.tunnels.findIndex(tunnel => isSame(model, tunnel, event))
  const tunnel = { name, address, local, closed: null, traffic: model.tunnels[known]?.traffic ?? NO_TRAFFIC }
  return { ...model, tunnels: known === -1 ? [...model.tunnels, tunnel] : model.tunnels.with(known, tunnel) }
}

/** A person asked for an agent's, and is told why it is gone; a relay's come and go. */
function onTunnelClosed(model: Model, event: Event & { event: 'tunnel-closed' }): Model {
  const tunnels =
    model.role === 'agent'
      ? model.tunnels.map(tunnel => (isSame(model, tunnel, event) ? { ...tunnel, closed: event.reason } : tunnel))
      : model.tunnels.filter(tunnel => !isSame(model, tunnel, event))
  return { ...model, tunnels }
}

function onStream(model: Model, event: Event & { event: 'stream' }): Model {
  const changed = { ...model, traffic: count(model.traffic, event), visits: visit(model, event) }
  // A relay's stream names its tunnel, but not whose it is: there only the sum is shown.
  const index = model.role === 'agent' ? model.tunnels.findIndex(tunnel => tunnel.name === event.tunnel) : -1
  const tunnel = model.tunnels[index]
  if (tunnel === undefined) return changed
  return { ...changed, tunnels: model.tunnels.with(index, { ...tunnel, traffic: count(tunnel.traffic, event) }) }
}

function count(traffic: Traffic, event: Event & { event: 'stream' }): Traffic {
  if (event.state === 'open') return { ...traffic, open: traffic.open + 1, total: traffic.total + 1 }
  const open = Math.max(0, traffic.open - 1)
  if (traffic.measured) return { ...traffic, open }
  return {
    ...traffic,
    open,
    sent: traffic.sent + event.sent,
    received: traffic.received + event.received,
  }
}

function visit(model: Model, event: Event & { event: 'stream' }): readonly Visit[] {
  const { visitor, tunnel } = event
  if (event.state === 'open') {
    return [{ visitor, tunnel, since: model.now, ended: null }, ...model.visits].slice(0, MOST_VISITS)
  }
  const { end, sent, received, ms } = event
  const index = model.visits.findIndex(one => one.visitor === visitor && one.tunnel === tunnel && one.ended === null)
  const open = model.visits[index]
  return open === undefined ? model.visits : model.visits.with(index, { ...open, ended: { end, sent, received, ms } })
}

function onAgent(model: Model, event: Event & { event: 'agent' }): Model {
  const { state, key, name, from } = event
  // Without a key it was no agent: whoever scans the internet is no news.
  if (state === 'refused') {
    if (key === '') return model
    return { ...model, warning: { code: null, message: `refused ${from}: ${event.reason ?? ''}`, at: model.now } }
  }
  // One key may have several sessions, each from an address of its own, and a session that is resumed has a new one.
  const at = event.was ?? from
  const before = model.agents.findIndex(agent => agent.key === key && agent.from === at)
  const others = before === -1 ? model.agents : model.agents.toSpliced(before, 1)
  if (state === 'gone') return { ...model, agents: others }
  return { ...model, agents: [...others, { key, name, from, held: state === 'held' ? (event.streams ?? 0) : null }] }
}
