// What a relay keeps of 1,000 streams that are held while each of their visitors goes on sending.
import { afterAll, expect, test } from 'bun:test'
import net from 'node:net'
import { join } from 'node:path'
import { LIMIT, MEMORY_LIMITS, TUNING } from '../../src/frame/index.ts'
import type { Event } from '../../src/telemetry/events.ts'
import { until } from '../e2e/warren.ts'
import { temporaryFolder } from '../folder.ts'
import { portOf, runAgent } from './agents.ts'
import { Link } from './link.ts'
import { runRelay } from './running.ts'

const VISITORS = 1_000
const EACH = 512 * 1024
const HOLD_MS = 3_000
/** What Bun reads at once at most. */
const CHUNK = 512 * 1024
const MIB = 1024 * 1024

type Sent = { bytes: number }
const WORDS = Buffer.alloc(65_536, 'x')

/** As much as the connection takes now, of EACH in all. */
function send(socket: Bun.Socket<Sent>): void {
  while (socket.data.bytes < EACH) {
    const taken = socket.write(WORDS, 0, Math.min(WORDS.length, EACH - socket.data.bytes))
    if (taken <= 0) return
    socket.data.bytes += taken
  }
}

type Closed = Extract<Event, { event: 'stream'; state: 'closed' }>

/** Streams to a service that reads nothing; the link breaks, and everybody sends all the time. */
async function held(before: boolean): Promise<{ closed: Closed[]; grown: number }> {
  const times = { holdMs: HOLD_MS }
  const running = await runRelay(times)
  const link = new Link(running.port)
  const service = net.createServer(socket => {
    socket.pause()
    socket.on('error', () => {})
  })
  service.listen(0, '127.0.0.1')
  afterAll(() => void service.close())
  const at = `a=127.0.0.1:${(service.address() as net.AddressInfo).port}`
  const invite = link.invite(running.relay.firstInvite!)
  const watched = await runAgent(invite, join(temporaryFolder(), 'agent'), [at], times)
  const port = await portOf(watched, 'a')
  let sending = before
  const socket = {
    drain: (s: Bun.Socket<Sent>) => {
      if (sending) send(s)
    },
    data() {},
    error() {},
  }
  const visitors = await Promise.all(
    Array.from({ length: VISITORS }, () =>
      Bun.connect<Sent>({ hostname: '127.0.0.1', port, data: { bytes: 0 }, socket }),
    ),
  )
  const count = (events: Event[], state: 'open' | 'closed') =>
    events.filter(e => e.event === 'stream' && e.state === state).length
  await until(() => count(watched.events, 'open') === VISITORS, 'all open')
  if (before) {
    for (const visitor of visitors) send(visitor)
    await until(() => visitors.every(v => v.data.bytes === EACH), 'all has been sent')
  }
  Bun.gc(true)
  const memory = process.memoryUsage().rss
  link.state = 'down'
  link.cut()
  await until(() => running.events.some(e => e.event === 'agent' && e.state === 'held'), 'held')
  sending = true
  for (const visitor of visitors) send(visitor)
  // The kernel takes it: what is looked at is that nobody reads it from there.
  await until(() => visitors.every(v => v.data.bytes === EACH), 'all has been sent')
  const grown = process.memoryUsage().rss - memory
  expect(count(running.events, 'closed')).toBe(0)
  await until(() => count(running.events, 'closed') === VISITORS, 'expired')
  watched.agent.stop()
  const closed = running.events.flatMap(e => (e.event === 'stream' && e.state === 'closed' ? [e] : []))
  return { closed, grown }
}

test('of visitors that begin to send when their stream is held nothing is read', async () => {
  const { closed, grown } = await held(false)
  expect(closed.map(c => c.received).filter(n => n > 0)).toEqual([])
  expect(closed.every(c => c.end === 'lost')).toBe(true)
  console.log(`held, silent before: ${(grown / MIB).toFixed(1)} MiB more`)
  expect(grown).toBeLessThan(32 * MIB)
}, 30_000)

test('of visitors that never stopped no more is kept than credit and a chunk each, and the limit of all', async () => {
  const { closed, grown } = await held(true)
  const bytes = closed.map(c => c.received)
  expect(Math.max(...bytes)).toBeLessThanOrEqual(TUNING.firstCredit + CHUNK)
  const sum = bytes.reduce((n, m) => n + m, 0)
  expect(sum).toBeLessThanOrEqual(MEMORY_LIMITS.buffered + VISITORS * TUNING.firstCredit + LIMIT.credit)
  console.log(`held, sending before: ${(sum / MIB).toFixed(1)} MiB read, ${(grown / MIB).toFixed(1)} MiB more`)
  // Here most of it was read before the link broke.
  expect(grown).toBeLessThan(MEMORY_LIMITS.buffered + 64 * MIB)
}, 30_000)
