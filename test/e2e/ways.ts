// The ways that the oracle's scripts take: straight, through one tunnel, through three chained ones, over a long link.
import { Oracle, type Way } from '../oracle/oracle.ts'
import { Random } from '../oracle/random.ts'
import { mishaps, SHOWERS } from '../wan/cuts.ts'
import { Streams } from '../wan/site.ts'
import { type Agent, portRange, type Relay, startAgent, startRelay } from './warren.ts'

export const WAYS = ['direct', 'tunnel', 'chain3', 'wan'] as const
export type WayName = (typeof WAYS)[number]

export type OpenWay = AsyncDisposable & {
  oracle: Oracle
  relays: Relay[]
  agents: Agent[]
  /** Logs of all of them: for the message of a failure. */
  said: () => string
}

/** A relay and an agent with one tunnel to each port; gives the public ends of the tunnels in the same order. */
export async function tunnelsTo(ports: number[]): Promise<{ relay: Relay; agent: Agent; ways: Way[] }> {
  const relay = await startRelay({ ports: portRange(ports.length + 40) })
  const locals = ports.map((port, i) => `s${i}=127.0.0.1:${port}`)
  const agent = await startAgent(relay.invite!, locals)
  const ways: Way[] = []
  for (let i = 0; i < ports.length; i++) ways.push(await agent.tunnel(`s${i}`))
  return { relay, agent, ways }
}

/** What the long link is like; with `cuts` it is also cut, reset and moved all the time. */
export type LongLink = { loss: number; delay: number; seed?: number; cuts?: boolean }

/** `slots`: scripts in flight. */
export async function openWay(name: WayName, slots: number, link: LongLink = { loss: 1, delay: 20 }): Promise<OpenWay> {
  if (name === 'wan') return openWan(slots, link)
  const oracle = await Oracle.open({ slots, timeoutMs: 20_000 })
  const relays: Relay[] = []
  const agents: Agent[] = []
  let ways: Way[] | null = null
  let ports = oracle.ports
  for (let hop = 0; hop < (name === 'direct' ? 0 : name === 'tunnel' ? 1 : 3); hop++) {
    const tunnel = await tunnelsTo(ports)
    relays.push(tunnel.relay)
    agents.push(tunnel.agent)
    ways = tunnel.ways
    ports = ways.map(way => way.port)
  }
  await oracle.via(ways)
  return opened(oracle, relays, agents)
}

async function openWan(slots: number, { cuts = false, ...link }: LongLink): Promise<OpenWay> {
  const streams = await Streams.open(slots, cuts ? { link, deadAfter: '1500ms' } : { link })
  const { oracle, site } = streams
  let over = false
  const weather = cuts ? mishaps(new Random(link.seed ?? 1, 83), site, SHOWERS, () => over) : Promise.resolve([])
  return {
    oracle,
    relays: [site.relay],
    agents: [site.agent],
    said: () => site.said,
    async [Symbol.asyncDispose]() {
      over = true
      await weather
      await streams[Symbol.asyncDispose]()
    },
  }
}

function opened(oracle: Oracle, relays: Relay[], agents: Agent[]): OpenWay {
  return {
    oracle,
    relays,
    agents,
    said: () => [...relays, ...agents].map(warren => warren.said).join('\n'),
    async [Symbol.asyncDispose]() {
      await oracle.close()
      for (const warren of [...agents, ...relays]) await warren[Symbol.asyncDispose]()
    },
  }
}
