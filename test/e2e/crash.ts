// kill -9 of a relay or an agent under load, at seeded random moments: the same port comes back, nothing leaks, and no
// connection ends cleanly before its last byte.
import { Random } from '../oracle/random.ts'
import { Load, type Stats } from './load.ts'
import { type Agent, portRange, type Relay, startAgent, startRelay, until } from './warren.ts'

export type Crashes = {
  stats: Stats
  /** From the crash until bytes flow again, in ms, for each round. */
  backAfterMs: number[]
}

const VISITORS = 40
/** A moment of a round: that many bytes after the round before. */
const BYTES = [1 << 20, 24 << 20] as const

export async function crashes(who: 'relay' | 'agent', rounds: number, seed: number): Promise<Crashes> {
  const random = new Random(seed, who === 'relay' ? 1 : 2)
  await using load = await Load.open(VISITORS, seed)
  const ports = portRange(60)
  let relay: Relay = await startRelay({ ports })
  const local = `t=127.0.0.1:${load.port}`
  let agent: Agent = await startAgent(relay.invite!, [local])
  try {
    const at = await agent.tunnel('t')
    const quiet = { relay: relay.sockets(), agent: agent.sockets() }
    await load.go(at)
    const flowed = async (bytes: number, what: string) => {
      const from = (await load.stats()).bytes
      const said = () => `${what}\n${relay.said}\n${agent.said}`
      try {
        await until(async () => (await load.stats()).bytes - from >= bytes, what, 30_000)
      } catch (thrown) {
        throw new Error(`${String(thrown)}\n${said()}`)
      }
    }
    const backAfterMs: number[] = []
    for (let round = 0; round < rounds; round++) {
      await flowed(random.between(...BYTES), `round ${round}: bytes flow`)
      const crashed = performance.now()
      if (who === 'agent') {
        await agent.crash()
        agent = await startAgent(null, [local], { state: agent.state })
        same(await agent.tunnel('t'), at)
      } else {
        const seen = agent.events.length
        await relay.crash()
        relay = await startRelay({ ports, state: relay.state, listen: relay.control })
        same(await agent.tunnel('t', seen), at)
      }
      await flowed(1 << 18, `round ${round}: bytes flow again`)
      backAfterMs.push(Math.round(performance.now() - crashed))
    }
    const stats = await load.stop()
    // Each start of an agent looks once whether the service answers, and a kill can fall into the one connect(2) that is
    // under way: its socket cannot be guarded earlier, and any client killed there leaves its server a connection that
    // ends without a byte. What is more was a stream of a visitor, which had sent.
    const allowed = who === 'agent' ? 1 + 2 * rounds : 1
    for (let i = allowed; i < stats.empty; i++) stats.wrong.push('service: a clean end before the first byte')
    await until(() => relay.sockets() <= quiet.relay, `the relay holds no socket too many (${quiet.relay} when quiet)`)
    await until(() => agent.sockets() <= quiet.agent, `the agent holds no socket too many (${quiet.agent} when quiet)`)
    return { stats, backAfterMs }
  } finally {
    await agent[Symbol.asyncDispose]()
    await relay[Symbol.asyncDispose]()
  }
}

function same(now: { port: number }, before: { port: number }): void {
  if (now.port !== before.port) throw new Error(`the port was ${before.port} and came back as ${now.port}`)
}
