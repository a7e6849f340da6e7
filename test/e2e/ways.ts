// The ways that the oracle's scripts take: straight, through one tunnel, through three chained ones, over a long link.
import { Oracle, type Way } from '../oracle/oracle.ts'
import { Wan } from '../wan/wanlink.ts'
import { type Agent, portRange, type Relay, type Start, startAgent, startRelay } from './warren.ts'

export const WAYS = ['direct', 'tunnel', 'chain3', 'wan'] as const
export type WayName = (typeof WAYS)[number]

export type OpenWay = AsyncDisposable & {
  oracle: Oracle
  relays: Relay[]
  agents: Agent[]
  /** Logs of all of them: for the message of a failure. */
  said: () => string
}

type Ends = { relay: Start & { host?: string }; agent: Start; service: string }

/** A relay and an agent with one tunnel to each port; gives the public ends of the tunnels in the same order. */
export async function tunnelsTo(
  ports: number[],
  ends: Ends = { relay: {}, agent: {}, service: '127.0.0.1' },
): Promise<{ relay: Relay; agent: Agent; ways: Way[] }> {
  const relay = await startRelay({ ...ends.relay, ports: portRange(ports.length + 40) })
  const locals = ports.map((port, i) => `s${i}=${ends.service}:${port}`)
  const agent = await startAgent(relay.invite!, locals, ends.agent)
  const ways: Way[] = []
  for (let i = 0; i < ports.length; i++) ways.push(await agent.tunnel(`s${i}`))
  return { relay, agent, ways }
}

/** `slots`: scripts in flight. `loss` and `delay` are those of the long link. */
export async function openWay(
  name: WayName,
  slots: number,
  link: { loss: number; delay: number; seed?: number } = { loss: 1, delay: 20 },
): Promise<OpenWay> {
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
  return opened(oracle, relays, agents, null)
}

async function openWan(slots: number, link: { loss: number; delay: number; seed?: number }): Promise<OpenWay> {
  const wan = await Wan.open(link)
  // The service and its agent are at one end, the relay and its visitors at the other: what is long is the session.
  const namespaces = { visitor: wan.b.namespace, service: wan.a.namespace }
  const oracle = await Oracle.open({ slots, timeoutMs: 90_000, namespaces, serviceHost: '127.0.0.1' })
  const { relay, agent, ways } = await tunnelsTo(oracle.ports, {
    relay: { prefix: wan.b.prefix, host: wan.b.host },
    agent: { prefix: wan.a.prefix },
    service: '127.0.0.1',
  })
  await oracle.via(ways)
  return opened(oracle, [relay], [agent], wan)
}

function opened(oracle: Oracle, relays: Relay[], agents: Agent[], wan: Wan | null): OpenWay {
  return {
    oracle,
    relays,
    agents,
    said: () => [...relays, ...agents].map(warren => warren.said).join('\n'),
    async [Symbol.asyncDispose]() {
      await oracle.close()
      for (const warren of [...agents, ...relays]) await warren[Symbol.asyncDispose]()
      await wan?.[Symbol.asyncDispose]()
    },
  }
}
