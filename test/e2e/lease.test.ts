// Whose address it is, and who may have one: invites, keys, leases, as an operator and a user meet them.
import { describe, expect, test } from 'bun:test'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { echo, Plain, service } from './plain.ts'
import { type Agent, folder, launchAgent, portRange, run, startAgent, startRelay, until } from './warren.ts'

async function refused(agent: Agent, code: string, status: number): Promise<void> {
  const event = await agent.event('session', session => session.state === 'refused')
  expect(event).toMatchObject({ code })
  expect(await agent.exit()).toBe(status)
}

describe('an address is its own', () => {
  test('after a restart of the agent, and of the relay, and of both', async () => {
    using echoing = service(echo)
    const ports = portRange(60)
    const first = await startRelay({ ports })
    const agent = await startAgent(first.invite!, [`t=${echoing.local}`])
    const at = await agent.tunnel('t')
    await agent.crash()
    await using again = await startAgent(null, [`t=${echoing.local}`], { state: agent.state })
    expect(await again.tunnel('t')).toEqual(at)
    // The relay goes without a word and comes back at its port.
    const seen = again.events.length
    await first.crash()
    await using second = await startRelay({ ports, state: first.state, listen: first.control })
    expect(second.invite).toBeNull()
    expect(second.fingerprint).toBe(first.fingerprint)
    expect(await again.tunnel('t', seen)).toEqual(at)
    const visitor = await Plain.dial(at)
    await visitor.send('home')
    expect((await visitor.read(4)).toString()).toBe('home')
  }, 60_000)

  test('another key does not get it while its owner is away', async () => {
    using echoing = service(echo)
    await using relay = await startRelay({ ports: portRange(2) })
    const mine = await startAgent(relay.invite!, [`t=${echoing.local}`])
    const at = await mine.tunnel('t')
    await mine.crash()
    // Asked for by name: refused. Drawn: the other port of the two.
    await using asking = launchAgent(await relay.newInvite(), [`t=${echoing.local}@${at.port}`])
    await refused(asking, 'W-PORT-TAKEN', 6)
    await using drawing = await startAgent(await relay.newInvite(), [`t=${echoing.local}`])
    expect((await drawing.tunnel('t')).port).not.toBe(at.port)
    // And with both gone, a third key finds the pool empty, not somebody's address.
    await using third = launchAgent(await relay.newInvite(), [`t=${echoing.local}`])
    const lost = await third.event('session', session => session.state === 'lost')
    expect(lost).toMatchObject({ code: 'W-POOL-EMPTY' })
  }, 60_000)

  test('a port that something else has bound is refused by name, and passed over when drawn', async () => {
    using echoing = service(echo)
    const ports = portRange(3)
    const [from, to] = ports.split('-').map(Number) as [number, number]
    const bound = [from, from + 1].map(port => Bun.listen({ hostname: '127.0.0.1', port, socket: { data() {} } }))
    await using relay = await startRelay({ ports })
    await using asking = launchAgent(relay.invite!, [`t=${echoing.local}@${from}`])
    await refused(asking, 'W-PORT-TAKEN', 6)
    await using drawing = await startAgent(await relay.newInvite(), [`t=${echoing.local}`])
    expect((await drawing.tunnel('t')).port).toBe(to)
    for (const listener of bound) listener.stop(true)
  }, 60_000)

  test('two terminals of one key with two services live side by side', async () => {
    using one = service(plain => void plain.send('one').then(() => plain.finish()))
    using two = service(plain => void plain.send('two').then(() => plain.finish()))
    await using relay = await startRelay()
    await using first = await startAgent(relay.invite!, [`one=${one.local}`])
    const at1 = await first.tunnel('one')
    await using second = await startAgent(null, [`two=${two.local}`], { state: first.state })
    const at2 = await second.tunnel('two')
    for (let i = 0; i < 5; i++) {
      expect((await (await Plain.dial(at1)).readAll()).bytes.toString()).toBe('one')
      expect((await (await Plain.dial(at2)).readAll()).bytes.toString()).toBe('two')
    }
    expect(first.events.filter(event => event.event === 'session' && event.state === 'lost')).toEqual([])
  }, 60_000)

  test('a second process of one key takes over the lease that it names, at once; the first backs off', async () => {
    using one = service(plain => void plain.send('old').then(() => plain.finish()))
    using two = service(plain => void plain.send('new').then(() => plain.finish()))
    await using relay = await startRelay()
    await using first = await startAgent(relay.invite!, [`t=${one.local}`])
    const at = await first.tunnel('t')
    await using second = await startAgent(null, [`t=${two.local}`], { state: first.state })
    expect(await second.tunnel('t')).toEqual(at)
    const lost = await first.event('session', session => session.state === 'lost')
    expect(lost).toMatchObject({ code: 'W-REPLACED' })
    expect('retryInMs' in lost && lost.retryInMs).toBeGreaterThanOrEqual(30_000)
    for (let i = 0; i < 5; i++) expect((await (await Plain.dial(at)).readAll()).bytes.toString()).toBe('new')
    expect(second.events.filter(event => event.event === 'session' && event.state === 'lost')).toEqual([])
  }, 60_000)
})

describe('strangers stay out', () => {
  test('an invite works once', async () => {
    await using relay = await startRelay()
    await using first = await startAgent(relay.invite!, ['t=127.0.0.1:9'])
    await using second = launchAgent(relay.invite!, ['t=127.0.0.1:9'])
    await refused(second, 'W-INVITE-SPENT', 5)
    // The first does not need it again.
    await first.crash()
    await using again = await startAgent(null, ['t=127.0.0.1:9'], { state: first.state })
    await again.tunnel('t')
  }, 60_000)

  test('a lost ACK is cured by the same invite from the same key', async () => {
    await using relay = await startRelay()
    const first = await startAgent(relay.invite!, ['t=127.0.0.1:9'])
    const at = await first.tunnel('t')
    await first.crash()
    await using again = await startAgent(relay.invite!, ['t=127.0.0.1:9'], { state: first.state })
    expect(await again.tunnel('t')).toEqual(at)
  }, 60_000)

  test('an invite expires', async () => {
    await using relay = await startRelay()
    const made = await run(['invite', '--ttl', '1s', '--state', relay.state, '--json'])
    const { invite, expiresAt } = JSON.parse(made.out) as { invite: string; expiresAt: number }
    await until(() => Date.now() > expiresAt + 50, 'its time is over')
    await using late = launchAgent(invite, ['t=127.0.0.1:9'])
    await refused(late, 'W-INVITE-EXPIRED', 5)
  }, 60_000)

  test('an invite for several uses is taken from a file or standard input, never from the command line', async () => {
    await using relay = await startRelay()
    const invite = await relay.newInvite('--uses', '2')
    await using shown = launchAgent(invite, ['t=127.0.0.1:9'])
    expect(await shown.exit()).toBe(2)
    expect(shown.said).toContain('W-INVITE-SHARED')
    const file = join(folder('invite'), 'invite')
    await Bun.write(file, `${invite}\n`)
    await using fromFile = await startAgent(null, ['t=127.0.0.1:9'], { more: ['--relay-file', file] })
    await using fromStdin = await startAgent(null, ['t=127.0.0.1:9'], { more: ['--relay', '-'], stdin: `${invite}\n` })
    await Promise.all([fromFile.tunnel('t'), fromStdin.tunnel('t')])
    await using third = launchAgent(null, ['t=127.0.0.1:9'], { env: { WARREN_RELAY: invite } })
    await refused(third, 'W-INVITE-SPENT', 5)
  }, 60_000)

  test('without an invite, and without ever having met the relay: no', async () => {
    await using relay = await startRelay()
    await using agent = launchAgent(relay.control, ['t=127.0.0.1:9'])
    expect(await agent.exit()).toBe(4)
    expect(agent.said).toContain('W-RELAY-UNKNOWN')
  })

  test('another relay at the same address: a hard stop, with both fingerprints', async () => {
    const ports = portRange(20)
    const first = await startRelay({ ports })
    const agent = await startAgent(first.invite!, ['t=127.0.0.1:9'])
    await agent.crash()
    await first.crash()
    rmSync(first.state, { recursive: true })
    await using other = await startRelay({ ports, listen: first.control })
    await using back = launchAgent(null, ['t=127.0.0.1:9'], { state: agent.state })
    await refused(back, 'W-RELAY-CHANGED', 4)
    for (const fingerprint of [first.fingerprint, other.fingerprint]) expect(back.said).toContain(fingerprint)
  }, 60_000)

  test('a revoked key: its session and its streams end within a second, and it cannot come back', async () => {
    using echoing = service(echo)
    await using relay = await startRelay()
    await using agent = await startAgent(relay.invite!, [`t=${echoing.local}`])
    const visitor = await Plain.dial(await agent.tunnel('t'))
    await visitor.send('x')
    await visitor.read(1)
    const listed = await run(['keys', 'list', '--state', relay.state, '--json'])
    const key = JSON.parse(listed.out) as { fingerprint: string; status: string }
    expect(key.status).toBe('allowed')
    const revoking = run(['keys', 'revoke', key.fingerprint, '--state', relay.state])
    expect((await revoking).status).toBe(0)
    const revoked = performance.now()
    expect((await visitor.readAll()).end).toBe('reset')
    await refused(agent, 'W-KEY-REVOKED', 5)
    expect(performance.now() - revoked).toBeLessThan(1000)
    await using back = launchAgent(null, [`t=${echoing.local}`], { state: agent.state })
    expect(await back.exit()).toBe(5)
  }, 60_000)

  test('a key whose agent is connected is seen now; after that, since its session ended', async () => {
    await using relay = await startRelay()
    const listed = async (...flags: string[]) => (await run(['keys', 'list', '--state', relay.state, ...flags])).out
    await using agent = await startAgent(relay.invite!, ['t=127.0.0.1:9'])
    expect(await listed()).toMatch(/ allowed +agent +now +SHA256:/)
    const before = JSON.parse(await listed('--json')) as { seenAt: number }
    expect(before).toMatchObject({ sessions: 1 })
    agent.signal('SIGTERM')
    await relay.event('agent', ({ state }) => state === 'gone')
    const after = JSON.parse(await listed('--json')) as { seenAt: number }
    expect(after).toMatchObject({ sessions: 0 })
    expect(after.seenAt).toBeGreaterThan(before.seenAt)
    relay.signal('SIGTERM')
    expect(await relay.exit()).toBe(0)
    expect(JSON.parse(await listed('--json'))).toEqual(after)
    expect(await listed()).toMatch(/ allowed +agent +\S+ m?s ago +SHA256:/)
  }, 60_000)

  test('what is not a relay is told as such, and a dead one is waited for', async () => {
    await using relay = await startRelay()
    const agent = await startAgent(relay.invite!, ['t=127.0.0.1:9'])
    await agent.crash()
    await relay.crash()
    await using waiting = launchAgent(null, ['t=127.0.0.1:9'], { state: agent.state })
    const lost = await waiting.event('session', session => session.state === 'lost')
    expect(lost).toMatchObject({
      code: 'W-RELAY-UNREACHABLE',
      reason: 'connection refused',
    })
    expect('retryInMs' in lost && lost.retryInMs).toBeLessThanOrEqual(10_000)
  }, 60_000)

  test('a freed lease is free at once, for anybody', async () => {
    await using relay = await startRelay({ ports: portRange(1) })
    const first = await startAgent(relay.invite!, ['t=127.0.0.1:9'])
    const { port } = await first.tunnel('t')
    first.signal('SIGTERM')
    expect(await first.exit()).toBe(0)
    await until(async () => {
      const { out } = await run(['leases', 'list', '--state', relay.state, '--json'])
      return (JSON.parse(out) as { state: string }).state === 'away'
    }, 'the lease is away')
    expect((await run(['leases', 'free', String(port), '--state', relay.state])).status).toBe(0)
    await using second = await startAgent(await relay.newInvite(), ['t=127.0.0.1:9'])
    expect((await second.tunnel('t')).port).toBe(port)
  }, 60_000)
})

describe('one state, one relay', () => {
  test('a second relay on the same state is refused, and the first goes on', async () => {
    await using relay = await startRelay()
    const second = await run(['relay', '--listen', '127.0.0.1:0', '--state', relay.state, '--json'])
    expect(second.status).toBe(7)
    expect(second.err).toContain('W-LOCKED')
    expect(await relay.newInvite()).toStartWith('warren://')
  })

  test('a control port in use is refused with its name', async () => {
    await using relay = await startRelay()
    const second = await run(['relay', '--listen', relay.control, '--state', folder('relay'), '--json'])
    expect(second.status).toBe(6)
    expect(second.err).toContain('W-PORT-BOUND')
  })
})
