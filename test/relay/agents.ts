// Agents in this process, what they serve, and whoever visits that.
import { afterAll } from 'bun:test'
import net from 'node:net'
import { type Agent, type AgentOptions, startAgent } from '../../src/agent/index.ts'
import { parseTunnel } from '../../src/config/index.ts'
import { ask } from '../../src/relay/control.ts'
import type { Event } from '../../src/telemetry/events.ts'
import { SILENT } from './running.ts'

/** A service that says its name to everybody, then echoes. */
export function serve(name: string): number {
  const server = net.createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {})
    socket.write(name)
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  afterAll(() => void server.close())
  return (server.address() as net.AddressInfo).port
}

export type Watched = { agent: Agent; events: Event[]; until: (is: (e: Event) => boolean) => Promise<Event> }

/** Runs until the tests of the file are done; `change` of what an agent is usually started with. */
export async function runAgent(
  relay: string | null,
  state: string,
  locals: string[],
  change: Partial<AgentOptions> = {},
): Promise<Watched> {
  const events: Event[] = []
  const waiting: { is: (e: Event) => boolean; resolve: (e: Event) => void }[] = []
  const agent = await startAgent(
    {
      tunnels: locals.map(parseTunnel),
      relay,
      state,
      name: 'test',
      deadAfterMs: 5_000,
      holdMs: 30_000,
      drainMs: 1_000,
      ...change,
    },
    event => {
      events.push(event)
      for (const w of waiting) if (w.is(event)) w.resolve(event)
    },
    SILENT,
  )
  afterAll(() => agent.stop())
  return {
    agent,
    events,
    until: is =>
      new Promise(resolve => {
        const seen = events.find(is)
        if (seen !== undefined) resolve(seen)
        else waiting.push({ is, resolve })
      }),
  }
}

export const tunnelled = (name: string) => (e: Event) => e.event === 'tunnel' && e.name === name

export async function portOf(watched: Watched, name: string): Promise<number> {
  const event = await watched.until(tunnelled(name))
  return event.event === 'tunnel' ? Number(event.address.split(':')[1]) : 0
}

export type Met = { said: string; how: 'fin' | 'reset' | 'refused'; afterMs: number }

/** Connects, reads the first words, ends, and tells how it went. */
export function visit(port: number): Promise<Met> {
  return new Promise(resolve => {
    const began = performance.now()
    let said = ''
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const done = (how: Met['how']) => resolve({ said, how, afterMs: performance.now() - began })
    socket.on('data', chunk => {
      said += chunk
      socket.end()
    })
    socket.on('error', error => done('code' in error && error.code === 'ECONNREFUSED' ? 'refused' : 'reset'))
    socket.on('end', () => {
      socket.end()
      done('fin')
    })
  })
}

export async function invite(state: string): Promise<string> {
  const answer = await ask(state, { do: 'invite', ttlMs: 60_000, uses: 1, role: 'agent' })
  if ('code' in answer) throw new Error(answer.message)
  return (answer.ok as { invite: string }).invite
}
