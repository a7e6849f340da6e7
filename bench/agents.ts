// A thousand agents in one process, against one relay of the compiled binary: how long until all of them have a tunnel,
// when they enrol at once and when they come back at once.
import { mkdirSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { type Agent, startAgent } from '../src/agent/index.ts'
import { AgentState } from '../src/agent/state.ts'
import type { Event } from '../src/telemetry/events.ts'
import { makeLog } from '../src/telemetry/log.ts'
import { leaveNone, lines } from '../test/oracle/process.ts'
import { warrenBinary } from './contenders/index.ts'
import { freePort, LOOPBACK, output } from './processes.ts'

const HOST = '127.0.0.1'
/** Below the ports that the kernel gives to clients. */
const PUBLIC_PORTS = '20000-31999'
const WAIT_MS = 60_000

const silent = makeLog('silent', () => {}, Date.now)

export async function registerAgents(count: number, within: string): Promise<{ enrol: number; return: number }> {
  // Each time anew: a relay that knows a key already has nothing to enrol.
  const folder = mkdtempSync(join(within, 'crowd-'))
  const states = Array.from({ length: count }, (_, i) => join(folder, `agents/${i}`))
  for (const state of states) {
    mkdirSync(state, { recursive: true, mode: 0o700 })
    AgentState.open(state).key('bench')
  }
  const relayState = join(folder, 'relay')
  const at = ['--listen', `${HOST}:${freePort()}`, '--ports', PUBLIC_PORTS, '--public-host', HOST, '--bind', HOST]
  const relay = Bun.spawn([warrenBinary(), 'relay', ...at, '--state', relayState, '--json'], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'ignore',
  })
  leaveNone(relay)
  try {
    const said = lines(relay.stdout)
    await said.next()
    void readOn(said)
    const uses = ['--uses', String(count), '--state', relayState]
    const invite = (await output(LOOPBACK.front, [warrenBinary(), 'invite', ...uses])).trim()
    return { enrol: await all(states, invite), return: await all(states, null) }
  } finally {
    relay.kill('SIGKILL')
    await relay.exited
  }
}

/** A relay whose events nobody takes tries each of them again with the next. */
async function readOn(said: AsyncIterable<string>): Promise<void> {
  for await (const _ of said);
}

async function all(states: string[], relay: string | null): Promise<number> {
  const agents: Agent[] = []
  const ready = Promise.withResolvers<void>()
  let left = states.length
  const emit = (event: Event) => {
    if (event.event === 'tunnel' && --left === 0) ready.resolve()
  }
  const tunnels = () => [{ name: 't', local: { kind: 'tcp', host: HOST, port: 9 } as const, port: null }]
  const times = { deadAfterMs: 60_000, holdMs: 0, drainMs: 0 }
  const began = performance.now()
  const limit = setTimeout(() => ready.reject(new Error(`${left} of ${states.length} agents have no tunnel`)), WAIT_MS)
  try {
    for (const state of states)
      agents.push(await startAgent({ tunnels: tunnels(), relay, state, name: 'bench', ...times }, emit, silent))
    await ready.promise
    return performance.now() - began
  } finally {
    clearTimeout(limit)
    for (const agent of agents) agent.stop()
    await Promise.all(agents.map(agent => agent.closed))
  }
}
