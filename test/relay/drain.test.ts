// A drain ends a session only when the other side has all of it.
import { expect, test } from 'bun:test'
import net from 'node:net'
import { join } from 'node:path'
import { until } from '../e2e/warren.ts'
import { temporaryFolder } from '../folder.ts'
import { portOf, runAgent } from './agents.ts'
import { Link } from './link.ts'
import { runRelay } from './running.ts'

const BYTES = 1024 * 1024

/** Says all that it has and ends, as soon as somebody has said something. */
function serveAtOnce(): Promise<net.Server> {
  const server = net.createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(Buffer.alloc(BYTES, 1)))
    socket.resume()
  })
  return new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(server)))
}

test('a stream that has ended at the agent reaches a slow visitor whole, though the agent drains at that moment', async () => {
  const server = await serveAtOnce()
  const { relay } = await runRelay()
  const folder = join(temporaryFolder(), 'agent')
  const { port: service } = server.address() as net.AddressInfo
  for (let round = 0; round < 10; round++) {
    const watched = await runAgent(round === 0 ? relay.firstInvite : null, folder, [`a=127.0.0.1:${service}`])
    const visitor = net.connect({ port: await portOf(watched, 'a'), host: '127.0.0.1', allowHalfOpen: true })
    visitor.pause()
    visitor.end('go')
    const closed = watched.until(e => e.event === 'stream' && e.state === 'closed')
    await closed
    const drained = watched.agent.drain()
    const met = await new Promise<{ bytes: number; how: string }>(resolve => {
      let bytes = 0
      visitor.on('data', chunk => {
        bytes += chunk.length
      })
      visitor.on('end', () => resolve({ bytes, how: 'fin' }))
      visitor.on('error', () => resolve({ bytes, how: 'reset' }))
      visitor.resume()
    })
    expect(met).toEqual({ bytes: BYTES, how: 'fin' })
    await drained
    visitor.destroy()
  }
  server.close()
}, 30_000)

test('neither side waits for a link that is broken, the agent with nothing open', async () => {
  const server = await serveAtOnce()
  const { port: service } = server.address() as net.AddressInfo
  for (const side of ['relay', 'agent'] as const) {
    const running = await runRelay({ drainMs: 20_000 })
    const link = new Link(running.port)
    const invite = link.invite(running.relay.firstInvite!)
    const folder = join(temporaryFolder(), 'agent')
    const watched = await runAgent(invite, folder, [`a=127.0.0.1:${service}`], { drainMs: 20_000 })
    const visitor = net.connect({ port: await portOf(watched, 'a'), host: '127.0.0.1' }).on('error', () => {})
    if (side === 'relay') await watched.until(e => e.event === 'stream' && e.state === 'open')
    else {
      // An agent that has said nothing yet would not be held.
      visitor.write('go')
      await new Promise(resolve => visitor.once('data', resolve))
      visitor.destroy()
      await watched.until(e => e.event === 'stream' && e.state === 'closed')
    }
    link.state = 'down'
    link.cut()
    await watched.until(e => e.event === 'session' && e.state === 'held')
    await until(() => running.events.some(e => e.event === 'agent' && e.state === 'held'), 'held at the relay')
    const began = performance.now()
    await (side === 'relay' ? running.relay.drain() : watched.agent.drain())
    expect(performance.now() - began).toBeLessThan(5_000)
    watched.agent.stop()
    running.relay.stop()
    visitor.destroy()
  }
  server.close()
}, 60_000)
