// Who has an address, and what visitors meet meanwhile: relay and agents in this process, over real sockets.
import { Database } from 'bun:sqlite'
import { expect, spyOn, test } from 'bun:test'
import net from 'node:net'
import { join } from 'node:path'
import { pack } from 'msgpackr'
import { BIND, readRegistration } from '../../src/frame/index.ts'
import { formatInvite, formatPublicKeyLine, parseInvite } from '../../src/identity/index.ts'
import { ask } from '../../src/relay/control.ts'
import { until } from '../e2e/warren.ts'
import { temporaryFolder } from '../folder.ts'
import { raw } from '../frame/peer.ts'
import { invite, portOf, runAgent, serve, tunnelled, visit } from './agents.ts'
import { Link } from './link.ts'
import { newKey, RawClient, runRelay } from './running.ts'

const { state, relay, port: control } = await runRelay()
const hello = serve('hello')
const other = serve('other')

test('the same key and service get the same port again, and other names get others', async () => {
  const folder = join(temporaryFolder(), 'agent')
  const first = await runAgent(await invite(state), folder, [`a=127.0.0.1:${hello}`, `b=127.0.0.1:${other}`])
  const [a, b] = [await portOf(first, 'a'), await portOf(first, 'b')]
  expect(a).not.toBe(b)
  expect((await visit(a)).said).toBe('hello')
  expect((await visit(b)).said).toBe('other')
  await first.agent.drain()
  const second = await runAgent(null, folder, [`b=127.0.0.1:${other}`])
  expect(await portOf(second, 'b')).toBe(b)
  second.agent.stop()
})

test('a relay counts the bytes of open streams, and goes on counting those of closed ones', async () => {
  const own = await runRelay()
  const silent = net.createServer(socket => void socket.resume().on('error', () => {})).listen(0, '127.0.0.1')
  await until(() => silent.listening, 'it listens')
  const silentPort = (silent.address() as net.AddressInfo).port
  const services = [`a=127.0.0.1:${hello}`, `b=127.0.0.1:${silentPort}`]
  const running = await runAgent(await invite(own.state), join(temporaryFolder(), 'agent'), services)
  expect([...own.relay.traffic().values()]).toEqual([{ sent: 0, received: 0 }])
  expect((await visit(await portOf(running, 'a'))).said).toBe('hello')
  const traffic = () => own.relay.traffic().get('')!
  await until(() => traffic().sent === 'hello'.length, 'the closed one counts')
  const open = net.connect(await portOf(running, 'b'), '127.0.0.1', () => open.write(Buffer.alloc(1_000)))
  await until(() => traffic().received === 1_000, 'the open one counts')
  open.destroy()
  await until(() => own.events.filter(e => e.event === 'stream' && e.state === 'closed').length === 2, 'it is closed')
  expect(traffic()).toEqual({ sent: 'hello'.length, received: 1_000 })
  running.agent.stop()
  silent.close()
})

test('visitors wait for an agent that is away, and are let in when it is back', async () => {
  const folder = join(temporaryFolder(), 'agent')
  const first = await runAgent(await invite(state), folder, [`a=127.0.0.1:${hello}`])
  const port = await portOf(first, 'a')
  first.agent.stop()
  await first.agent.closed
  await gone()
  const waiting = visit(port)
  const second = await runAgent(null, folder, [`a=127.0.0.1:${hello}`])
  expect((await waiting).said).toBe('hello')
  second.agent.stop()
})

test('after 3 s without an agent visitors are reset, and later ones refused', async () => {
  const folder = join(temporaryFolder(), 'agent')
  const first = await runAgent(await invite(state), folder, [`a=127.0.0.1:${hello}`])
  const port = await portOf(first, 'a')
  first.agent.stop()
  await gone()
  const met = await visit(port)
  expect(met.how).toBe('reset')
  expect(met.said).toBe('')
  expect(met.afterMs).toBeGreaterThan(2_500)
  expect(met.afterMs).toBeLessThan(4_000)
  expect((await visit(port)).how).toBe('refused')
}, 10_000)

test('a second process takes over just what it names, at once, and the two do not flap', async () => {
  const folder = join(temporaryFolder(), 'agent')
  const first = await runAgent(await invite(state), folder, [`a=127.0.0.1:${hello}`, `b=127.0.0.1:${hello}`])
  const [a, b] = [await portOf(first, 'a'), await portOf(first, 'b')]
  const second = await runAgent(null, folder, [`a=127.0.0.1:${other}`])
  expect(await portOf(second, 'a')).toBe(a)
  await first.until(e => e.event === 'tunnel-closed' && e.name === 'a')
  expect((await visit(a)).said).toBe('other')
  expect((await visit(b)).said).toBe('hello')
  // The first still has b, so its session goes on.
  expect(first.events.some(e => e.event === 'session' && e.state === 'lost')).toBe(false)

  const third = await runAgent(null, folder, [`b=127.0.0.1:${other}`])
  expect(await portOf(third, 'b')).toBe(b)
  const lost = await first.until(e => e.event === 'session' && e.state === 'lost')
  expect(lost).toMatchObject({ code: 'W-REPLACED' })
  expect(lost.event === 'session' && lost.state === 'lost' && lost.retryInMs).toBeGreaterThanOrEqual(30_000)
  expect((await visit(b)).said).toBe('other')
  for (const { agent } of [first, second, third]) agent.stop()
})

test('a process that another one took everything from is granted nothing more', async () => {
  const running = await runRelay()
  const key = newKey()
  const register = async (name: string) => {
    const client = await RawClient.connect(running.port)
    await client.register(key, { token: Buffer.from(running.token), tunnels: [{ id: 1, name, port: null }] })
    return client
  }
  const first = await register('x')
  await register('x')
  const asked = pack([BIND, 0, { id: 2, name: 'y', port: null }])
  const size = Buffer.alloc(4)
  size.writeUInt32BE(asked.length)
  const before = first.session.length
  // The PONG comes after what was asked before the PING.
  first.socket.write(Buffer.concat([size, asked, raw.ping(7)]))
  await until(() => first.session.subarray(before).includes(raw.pong(7)), 'the PONG')
  const leases = await ask(running.state, { do: 'leases' })
  expect('ok' in leases && (leases.ok as { service: string }[]).map(lease => lease.service)).toEqual(['x'])
})

test('a clock that is set forward cuts no stream, also of an agent that holds none', async () => {
  const running = await runRelay({ holdMs: 0 })
  const folder = join(temporaryFolder(), 'agent')
  const watched = await runAgent(running.relay.firstInvite, folder, [`a=127.0.0.1:${hello}`], { holdMs: 0 })
  const visitor = net.connect({ port: await portOf(watched, 'a'), host: '127.0.0.1' })
  const said = () => new Promise<string>(resolve => visitor.once('data', chunk => resolve(String(chunk))))
  expect(await said()).toBe('hello')
  const now = Date.now
  const looked = Promise.withResolvers<void>()
  const clock = spyOn(Date, 'now').mockImplementation(() => {
    if (new Error().stack?.includes('roaming.ts')) looked.resolve()
    return now() + 5_000
  })
  try {
    await looked.promise
    visitor.write('still here')
    expect(await said()).toBe('still here')
  } finally {
    clock.mockRestore()
    visitor.destroy()
  }
})

test('what another process took is not taken back, not even after a restart of the relay', async () => {
  const first = await runRelay()
  const folder = join(temporaryFolder(), 'agent')
  const one = await runAgent(first.relay.firstInvite, folder, [`a=127.0.0.1:${hello}`, `b=127.0.0.1:${hello}`])
  const a = await portOf(one, 'a')
  const two = await runAgent(null, folder, [`a=127.0.0.1:${other}`])
  await portOf(two, 'a')
  await one.until(e => e.event === 'tunnel-closed' && e.name === 'a')
  first.relay.stop()
  await first.relay.closed
  for (const { events } of [one, two]) events.length = 0
  await runRelay({ state: first.state, listen: { host: '127.0.0.1', port: first.port } })
  await portOf(one, 'b')
  expect(await portOf(two, 'a')).toBe(a)
  expect((await visit(a)).said).toBe('other')
  // Whoever came first: the second has it, and the first has noticed if it had it in between.
  const had = one.events.filter(e => e.event === 'tunnel' && e.name === 'a').length
  if (had > 0) await one.until(e => e.event === 'tunnel-closed' && e.name === 'a')
  expect(had).toBeLessThanOrEqual(1)
  for (const { agent } of [one, two]) agent.stop()
}, 15_000)

test('a process that yields gets what nobody has, and nothing that another process has', async () => {
  const own = await runRelay()
  const key = newKey()
  const tunnel = (name: string) => [{ id: 0, name, port: null, yields: true as const }]
  const join = { token: Buffer.from(own.token), tunnels: tunnel('a') }
  const holder = readRegistration(await (await RawClient.connect(own.port)).register(key, join))
  expect(holder).toMatchObject({ ok: true, ack: { tunnels: [{ id: 0, host: '127.0.0.1' }] } })
  const polite = readRegistration(await (await RawClient.connect(own.port)).register(key, { tunnels: tunnel('a') }))
  expect(polite).toMatchObject({ ok: true, ack: { tunnels: [{ id: 0, refused: 'W-REPLACED' }] } })
  const else_ = readRegistration(await (await RawClient.connect(own.port)).register(key, { tunnels: tunnel('b') }))
  expect(else_).toMatchObject({ ok: true, ack: { tunnels: [{ id: 0, host: '127.0.0.1' }] } })
})

test('two terminals with two services of one key live side by side', async () => {
  const folder = join(temporaryFolder(), 'agent')
  const first = await runAgent(await invite(state), folder, [`a=127.0.0.1:${hello}`])
  const a = await portOf(first, 'a')
  const second = await runAgent(null, folder, [`b=127.0.0.1:${other}`])
  const b = await portOf(second, 'b')
  expect((await visit(a)).said).toBe('hello')
  expect((await visit(b)).said).toBe('other')
  for (const watched of [first, second]) {
    expect(watched.events.some(e => e.event === 'session' && e.state === 'lost')).toBe(false)
    watched.agent.stop()
  }
})

test('a port of another key is refused, one that something else has bound is refused with its name', async () => {
  const owner = await runAgent(await invite(state), join(temporaryFolder(), 'agent'), [`a=127.0.0.1:${hello}`])
  const port = await portOf(owner, 'a')
  const thief = await runAgent(await invite(state), join(temporaryFolder(), 'agent'), [`a=127.0.0.1:${other}@${port}`])
  expect(await thief.agent.closed).toMatchObject({ code: 'W-PORT-TAKEN' })
  expect((await visit(port)).said).toBe('hello')

  const squatter = net.createServer().listen(0, '127.0.0.1')
  const range = await runRelay({ ports: squatted(squatter) })
  const agent = await runAgent(range.relay.firstInvite, join(temporaryFolder(), 'agent'), [`db=127.0.0.1:${other}`])
  const refused = await agent.until(e => e.event === 'session' && (e.state === 'refused' || e.state === 'lost'))
  const { from } = squatted(squatter)
  expect(refused).toMatchObject({ code: 'W-POOL-EMPTY', reason: `no port of ${from}-${from} is free (for db)` })
  agent.agent.stop()
  const named = await runAgent(await invite(range.state), join(temporaryFolder(), 'agent'), [
    `db=127.0.0.1:${other}@${squatted(squatter).from}`,
  ])
  const error = await named.agent.closed
  expect(error).toMatchObject({ code: 'W-PORT-TAKEN' })
  expect(error?.message).toContain(`${squatted(squatter).from}`)
  squatter.close()
  owner.agent.stop()
})

test('while the state cannot be written nothing new is granted, and what is open goes on', async () => {
  const own = await runRelay()
  const folder = join(temporaryFolder(), 'agent')
  const agent = await runAgent(own.relay.firstInvite, folder, [`a=127.0.0.1:${hello}`])
  const port = await portOf(agent, 'a')
  const db = new Database(join(own.state, 'relay.db'))
  // Another process that never lets go of the database: every write of the relay fails.
  db.run('BEGIN IMMEDIATE')
  const second = await runAgent(null, folder, [`b=127.0.0.1:${hello}`])
  const refused = await second.until(e => e.event === 'session' && e.state === 'lost')
  expect(refused).toMatchObject({ code: 'W-RELAY-BUSY' })
  expect((await visit(port)).said).toBe('hello')
  db.run('ROLLBACK')
  db.close()
  await portOf(second, 'b')
  for (const watched of [agent, second]) watched.agent.stop()
}, 30_000)

test('more tunnels than fit into a registration are all open, and each leads to its service', async () => {
  const own = await runRelay()
  const names = Array.from({ length: 200 }, (_, i) => `${'service'.repeat(5)}-${i}`)
  const locals = names.map((name, i) => `${name}=127.0.0.1:${i % 2 === 0 ? hello : other}`)
  const agent = await runAgent(own.relay.firstInvite, join(temporaryFolder(), 'agent'), [...locals])
  for (const name of names) await agent.until(tunnelled(name))
  expect((await visit(await portOf(agent, names[199]!))).said).toBe('other')
  expect((await visit(await portOf(agent, names[0]!))).said).toBe('hello')
  agent.agent.stop()
})

test('a long public name of the relay does not reach the agent with every visitor', async () => {
  const publicHost = `${'balancer-'.repeat(6)}1234567890.${'region.'.repeat(20)}example.com`
  const own = await runRelay({ publicHost })
  const local = formatInvite({ ...parseInvite(own.relay.firstInvite!), host: '127.0.0.1', port: own.port })
  const agent = await runAgent(local, join(temporaryFolder(), 'agent'), [`a=127.0.0.1:${hello}`])
  const event = await agent.until(tunnelled('a'))
  const port = Number(event.event === 'tunnel' && event.address.slice(publicHost.length + 1))
  expect((await visit(port)).said).toBe('hello')
  expect(agent.events.filter(e => e.event === 'session' && e.state === 'lost')).toEqual([])
  agent.agent.stop()
})

test('an agent on a machine with a very long name joins, and is known by as much of it as fits', async () => {
  const name = `annas-${'laptop'.repeat(12)}`
  const agent = await runAgent(await invite(state), join(temporaryFolder(), 'agent'), [`a=127.0.0.1:${hello}`], {
    name,
  })
  expect((await visit(await portOf(agent, 'a'))).said).toBe('hello')
  const keys = JSON.stringify(await ask(state, { do: 'keys' }))
  expect(keys).toContain(`"${name.slice(0, 32)}`)
  agent.agent.stop()
})

test('the operator is told what is wrong with a value, and may name a key like the beginning of a key line', async () => {
  const key = newKey()
  const line = formatPublicKeyLine(key.publicKey, 'ssh-gateway')
  expect(await ask(state, { do: 'allow', key: line, name: null })).toMatchObject({ ok: { name: 'ssh-gateway' } })
  await ask(state, { do: 'revoke', who: 'ssh-gateway' })
  const again = await ask(state, { do: 'allow', key: 'ssh-gateway', name: null })
  expect(again).toMatchObject({ ok: { name: 'ssh-gateway' } })
  const long = await ask(state, { do: 'rename', who: 'ssh-gateway', name: 'x'.repeat(300) })
  expect(long).toMatchObject({ code: 'W-USAGE' })
  const other = await ask(state, { do: 'dance' } as unknown as Parameters<typeof ask>[1])
  expect(other).toMatchObject({ code: 'W-VERSION' })
})

test('a relay that can open no public port says so at its start, and one of them may be taken', async () => {
  await expect(runRelay({ bind: '203.0.113.9' })).rejects.toThrow('203.0.113.9:29999 is not an address of this machine')
  const squatter = net.createServer().listen(0, '127.0.0.1')
  await runRelay({ ports: squatted(squatter) })
  squatter.close()
})

test('what answers in the place of its relay for a while does not end an agent', async () => {
  const own = await runRelay()
  const link = new Link(own.port)
  const times = { holdMs: 0 }
  const folder = join(temporaryFolder(), 'agent')
  const agent = await runAgent(link.invite(own.relay.firstInvite!), folder, [`a=127.0.0.1:${hello}`], times)
  const port = await portOf(agent, 'a')
  link.target = serve('HTTP/1.1 503 Service Unavailable\r\n\r\n')
  agent.events.length = 0
  link.cut()
  await agent.until(e => e.event === 'session' && e.state === 'lost' && e.code === 'W-NOT-WARREN')
  agent.events.length = 0
  link.target = own.port
  expect(await portOf(agent, 'a')).toBe(port)
  agent.agent.stop()
  // At its start it is most likely a mistake.
  const wrong = link.invite(await invite(own.state))
  link.target = serve('HTTP/1.1 503 Service Unavailable\r\n\r\n')
  const first = await runAgent(wrong, join(temporaryFolder(), 'agent'), [`a=127.0.0.1:${hello}`])
  expect(await first.agent.closed).toMatchObject({ code: 'W-NOT-WARREN' })
})

test('a key has 256 ports at most, however many processes ask for them', async () => {
  const own = await runRelay()
  const folder = join(temporaryFolder(), 'agent')
  const services = (prefix: string, count: number) =>
    Array.from({ length: count }, (_, i) => `${prefix}${i}=127.0.0.1:${hello}`)
  const first = await runAgent(own.relay.firstInvite, folder, services('a', 200))
  await first.until(tunnelled('a199'))
  const second = await runAgent(null, folder, services('b', 57))
  await second.until(tunnelled('b55'))
  expect(await second.until(e => e.event === 'warning')).toMatchObject({
    code: 'W-POOL-EMPTY',
    message: 'no port (for b56): this key has 256 ports, as many as one may have',
  })
  expect(second.events.filter(e => e.event === 'tunnel')).toHaveLength(56)
  await expect(runAgent(null, folder, services('c', 257))).rejects.toThrow('257 services are more than the 256')
  for (const { agent } of [first, second]) agent.stop()
})

test('a look at a service that goes on talking ends all the same', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const feed = net.createServer({ allowHalfOpen: true }, socket => {
    const timer = setInterval(() => socket.write('news\n'), 50)
    socket.on('error', () => {})
    socket.on('close', () => {
      clearInterval(timer)
      resolve()
    })
  })
  feed.listen(0, '127.0.0.1')
  const local = `a=127.0.0.1:${(feed.address() as net.AddressInfo).port}`
  const agent = await runAgent(await invite(state), join(temporaryFolder(), 'agent'), [local])
  await promise
  agent.agent.stop()
  feed.close()
}, 20_000)

test('an agent whose first tunnels another process has keeps the others, also over a new session', async () => {
  const own = await runRelay()
  const link = new Link(own.port)
  const folder = join(temporaryFolder(), 'agent')
  const services = Array.from({ length: 120 }, (_, i) => `${'service'.repeat(5)}-${i}=127.0.0.1:${hello}`)
  const last = `${'service'.repeat(5)}-119`
  const first = await runAgent(link.invite(own.relay.firstInvite!), folder, services, { holdMs: 0 })
  const port = await portOf(first, last)
  // As many as go into a registration, and some.
  const second = await runAgent(`127.0.0.1:${link.port}`, folder, services.slice(0, 100))
  await second.until(tunnelled(`${'service'.repeat(5)}-99`))
  await first.until(e => e.event === 'tunnel-closed' && e.name.endsWith('-99'))
  first.events.length = 0
  link.cut()
  expect(await portOf(first, last)).toBe(port)
  expect((await visit(port)).said).toBe('hello')
  for (const { agent } of [first, second]) agent.stop()
}, 15_000)

test('a port outside the range is an error that names the range', async () => {
  const agent = await runAgent(await invite(state), join(temporaryFolder(), 'agent'), [`a=127.0.0.1:${hello}@80`])
  const error = await agent.agent.closed
  expect(error).toMatchObject({ code: 'W-PORT-RANGE' })
  expect(error?.message).toContain('20000-29999')
})

test('revoking a key ends its session within a second, its visitors see a reset, and it does not come back', async () => {
  const agent = await runAgent(await invite(state), join(temporaryFolder(), 'agent'), [`a=127.0.0.1:${hello}`])
  const port = await portOf(agent, 'a')
  const socket = net.connect(port, '127.0.0.1')
  await new Promise(resolve => socket.once('data', resolve))
  const reset = new Promise(resolve => socket.once('error', e => resolve('code' in e && e.code)))
  const keys = await ask(state, { do: 'keys' })
  const rows = ('ok' in keys ? keys.ok : []) as { name: string; addedAt: number; fingerprint: string }[]
  const newest = rows.reduce((x, y) => (y.addedAt >= x.addedAt ? y : x))
  const began = performance.now()
  await ask(state, { do: 'revoke', who: newest.fingerprint })
  expect(await agent.agent.closed).toMatchObject({ code: 'W-KEY-REVOKED' })
  expect(performance.now() - began).toBeLessThan(1_000)
  expect(await reset).toBe('ECONNRESET')
})

test('a service that is down is told before any visitor comes, and its visitors are reset', async () => {
  const closed = net.createServer().listen(0, '127.0.0.1')
  const down = (closed.address() as net.AddressInfo).port
  await new Promise(resolve => closed.close(resolve))
  const agent = await runAgent(await invite(state), join(temporaryFolder(), 'agent'), [`a=127.0.0.1:${down}`])
  const port = await portOf(agent, 'a')
  await agent.until(e => e.event === 'local' && e.state === 'down')
  expect(await visit(port)).toMatchObject({ how: 'reset', said: '' })
  const service = net.createServer(s => s.end('back')).listen(down, '127.0.0.1')
  await agent.until(e => e.event === 'local' && e.state === 'up')
  expect((await visit(port)).said).toBe('back')
  service.close()
  agent.agent.stop()
}, 10_000)

test('a relay that nobody has met is not connected to without an invite', async () => {
  await expect(runAgent(`127.0.0.1:${control}`, join(temporaryFolder(), 'agent'), ['80'])).rejects.toMatchObject({
    code: 'W-RELAY-UNKNOWN',
  })
  await expect(runAgent(null, join(temporaryFolder(), 'agent'), ['80'])).rejects.toMatchObject({
    code: 'W-RELAY-UNKNOWN',
  })
})

test('another relay at the same address is a hard stop that names both keys', async () => {
  const folder = join(temporaryFolder(), 'agent')
  const first = await runAgent(await invite(state), folder, [`a=127.0.0.1:${hello}`])
  await portOf(first, 'a')
  await first.agent.drain()
  const impostor = await runRelay()
  const relays = join(folder, 'relays.json')
  const known = await Bun.file(relays).json()
  const pin = known.pins[known.last]
  await Bun.write(relays, JSON.stringify({ last: impostor.relay.control, pins: { [impostor.relay.control]: pin } }))
  const fooled = await runAgent(null, folder, [`a=127.0.0.1:${hello}`])
  const error = await fooled.agent.closed
  expect(error).toMatchObject({ code: 'W-RELAY-CHANGED' })
  expect(error?.message).toContain(relay.fingerprint)
  expect(error?.message).toContain(impostor.relay.fingerprint)
})

/** The relay knows that the last agent went. */
async function gone(): Promise<void> {
  for (;;) {
    const answer = await ask(state, { do: 'leases' })
    const rows = ('ok' in answer ? answer.ok : []) as { state: string }[]
    if (rows.every(row => row.state === 'away')) return
  }
}

function squatted(server: net.Server): { from: number; to: number } {
  const { port } = server.address() as net.AddressInfo
  return { from: port, to: port }
}
