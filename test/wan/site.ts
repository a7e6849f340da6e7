// A relay and an agent at the two ends of a long link, and what can happen to the link between them: silence, a reset,
// another address. Visitors are beside the relay, services beside the agent.
import type { Event } from '../../src/telemetry/events.ts'
import { type Agent, parseAddress, portRange, type Relay, startAgent, startRelay, until } from '../e2e/warren.ts'
import { Oracle, type Result } from '../oracle/oracle.ts'
import type { Script } from '../oracle/script.ts'
import { ok } from '../programs/programs.ts'
import { type Link, Wan } from './wanlink.ts'

/** The agent's host has one of these at a time. */
const AGENT_HOSTS = ['10.77.0.1', '10.77.0.3'] as const

export type SiteOptions = {
  link?: Link
  /** As the flags take them. */
  hold?: string
  deadAfter?: string
}

/** A cut of n seconds takes n seconds, and so does watching that nothing happens for as long. Never waits for a state. */
export function lasting(ms: number): Promise<void> {
  return Bun.sleep(ms)
}

/** The agent's view of what its link went through. */
export type Breaks = {
  held: number
  resumed: number
  expired: number
  /** Bytes that the agent sent a second time. */
  replayed: number
  /** How long each hold took, in ms. */
  afterMs: number[]
}

export class Site implements AsyncDisposable {
  readonly wan: Wan
  readonly relay: Relay
  readonly agent: Agent
  #host = 0

  private constructor(wan: Wan, relay: Relay, agent: Agent) {
    this.wan = wan
    this.relay = relay
    this.agent = agent
  }

  /** `locals`: what the agent exposes, as `warren tcp` takes it. */
  static async open(wan: Wan, locals: string[], options: SiteOptions = {}): Promise<Site> {
    const { hold = '30s', deadAfter = '5s' } = options
    const more = ['--hold', hold, '--dead-after', deadAfter]
    const { host, prefix } = wan.b
    const relay = await startRelay({ prefix, host, ports: portRange(locals.length + 20), more })
    try {
      return new Site(wan, relay, await startAgent(relay.invite!, locals, { prefix: wan.a.prefix, more }))
    } catch (thrown) {
      await relay[Symbol.asyncDispose]()
      throw new Error(`${thrown}\n${relay.said}`)
    }
  }

  /** Everything is dropped for so long, or what one side sends. */
  async cut(ms: number, only?: 'a' | 'b'): Promise<void> {
    await this.wan.cut(only)
    await lasting(ms)
    await this.wan.heal()
  }

  /** Resets the connection that carries the session, as any host on its way could. False: there was none. */
  async reset(): Promise<boolean> {
    const { port } = parseAddress(this.relay.control)
    const filter = ['state', 'established', 'dport', '=', `:${port}`]
    return (await ok([...this.wan.a.prefix, 'ss', '-K', '-H', '-t', ...filter])).trim() !== ''
  }

  /** The agent's host loses its address and has another one from now on. */
  async roam(): Promise<void> {
    const from = AGENT_HOSTS[this.#host]!
    this.#host = 1 - this.#host
    const ip = [...this.wan.a.prefix, 'ip', 'addr']
    await ok([...ip, 'del', `${from}/24`, 'dev', 'wan0'])
    await ok([...ip, 'add', `${AGENT_HOSTS[this.#host]}/24`, 'dev', 'wan0'])
  }

  /** Both sides notice that the link is silent; how long after `began` each did, in ms. */
  async noticed(began: number, from: Marks, ms: number): Promise<{ agent: number; relay: number }> {
    const since = () => performance.now() - began
    const [agent, relay] = await Promise.all([
      this.agent.event('session', event => event.state === 'held', from.agent, ms).then(since),
      this.relay.event('agent', event => event.state === 'held', from.relay, ms).then(since),
    ])
    return { agent, relay }
  }

  /** Waits until the agent's session goes on; both sides have said so then. */
  async resumed(from: Marks): Promise<void> {
    await this.agent.event('session', event => event.state === 'resumed', from.agent)
    await this.relay.event('agent', event => event.state === 'resumed', from.relay)
  }

  /** Where the events of both stand now. */
  get marks(): Marks {
    return { agent: this.agent.events.length, relay: this.relay.events.length }
  }

  breaks(from: Marks): Breaks {
    const breaks: Breaks = { held: 0, resumed: 0, expired: 0, replayed: 0, afterMs: [] }
    for (const event of this.agent.events.slice(from.agent)) {
      if (event.event !== 'session') continue
      if (event.state === 'held') breaks.held++
      if (event.state === 'expired' || event.state === 'lost') breaks.expired++
      if (event.state !== 'resumed') continue
      breaks.resumed++
      breaks.replayed += event.replayed
      breaks.afterMs.push(event.afterMs)
    }
    return breaks
  }

  /** Either side is between two connections, as far as it has said. */
  get isHeld(): boolean {
    const agent = this.agent.events.findLast(event => event.event === 'session')
    const relay = this.relay.events.findLast(event => event.event === 'agent')
    return agent?.state === 'held' || relay?.state === 'held'
  }

  /** Streams that are open now, as the relay's events have it. */
  openStreams(from: Marks): number {
    return this.relay.events.slice(from.relay).reduce((sum, event) => sum + opens(event), 0)
  }

  get said(): string {
    return `${this.relay.said}\n${this.agent.said}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]()
    await this.relay[Symbol.asyncDispose]()
  }
}

export type Marks = { agent: number; relay: number }

function opens(event: Event): number {
  if (event.event !== 'stream') return 0
  return event.state === 'open' ? 1 : -1
}

/** A site whose tunnels lead to the oracle's endpoints: what they send is compared byte by byte, and each end's kind. */
export class Streams implements AsyncDisposable {
  readonly site: Site
  readonly oracle: Oracle

  private constructor(site: Site, oracle: Oracle) {
    this.site = site
    this.oracle = oracle
  }

  static async open(slots: number, options: SiteOptions = {}): Promise<Streams> {
    const wan = await Wan.open(options.link ?? {})
    const namespaces = { visitor: wan.b.namespace, service: wan.a.namespace }
    const oracle = await Oracle.open({ slots, timeoutMs: 90_000, namespaces, serviceHost: '127.0.0.1' })
    const locals = oracle.ports.map((port, i) => `s${i}=127.0.0.1:${port}`)
    const site = await Site.open(wan, locals, options)
    const ways = await Promise.all(locals.map((_, i) => site.agent.tunnel(`s${i}`)))
    await oracle.via(ways)
    return new Streams(site, oracle)
  }

  /** Runs the scripts all at once; `during` begins when every one of them has its stream, at both ends. */
  async run(scripts: Script[], during: () => Promise<void>, timeoutMs = 120_000): Promise<Result> {
    const { site, oracle } = this
    const from = site.marks
    const running = oracle.scripts(0, scripts, timeoutMs)
    await until(() => {
      const opened = site.agent.events.slice(from.agent).filter(event => event.event === 'stream')
      return opened.length >= scripts.length
    }, `${scripts.length} streams are open`)
    await during()
    return running
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.oracle.close()
    await this.site[Symbol.asyncDispose]()
    await this.site.wan[Symbol.asyncDispose]()
  }
}
