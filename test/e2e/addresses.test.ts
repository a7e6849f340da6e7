// The forms of addresses, from the flag to the byte: unix sockets, IPv6, names, several tunnels at once.
import { describe, expect, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { echo, Plain, service } from './plain.ts'
import { folder, launchAgent, portRange, run, startAgent, startRelay, tunnelTo } from './warren.ts'

async function speaks(visitor: Plain, what: string): Promise<void> {
  await visitor.send(what)
  expect((await visitor.read(what.length)).toString()).toBe(what)
  visitor.finish()
  expect((await visitor.readAll()).end).toBe('fin')
}

describe('addresses', () => {
  test('a service at a unix socket', async () => {
    using echoing = service(echo, { path: join(folder('unix'), 'service.sock') })
    await using tunnel = await tunnelTo(echoing.local)
    await speaks(await Plain.dial(tunnel.at), 'through a unix socket')
  })

  test('a service at [::1], a relay at [::1], visitors by IPv6', async () => {
    // A machine without IPv6 has no such loopback to try.
    expect(existsSync('/proc/net/if_inet6')).toBe(true)
    using echoing = service(echo, { host: '::1' })
    await using relay = await startRelay({ host: '::1' })
    expect(relay.control).toMatch(/^\[::1\]:\d+$/)
    await using agent = await startAgent(relay.invite!, [`t=${echoing.local}`])
    const event = await agent.event('tunnel')
    expect(event.address).toMatch(/^\[::1\]:\d+$/)
    expect(event.local).toBe(echoing.local)
    await speaks(await Plain.dial(await agent.tunnel('t')), 'by IPv6')
    const open = await agent.event('stream', stream => stream.state === 'open')
    expect(open.visitor).toMatch(/^\[::1\]:\d+$/)
  })

  test('a bare port means this machine, in both families', async () => {
    for (const host of ['127.0.0.1', '::1']) {
      using echoing = service(echo, { host })
      await using tunnel = await tunnelTo(String(echoing.port))
      await speaks(await Plain.dial(tunnel.at), host)
    }
  })

  test('several tunnels at once, each to its own service', async () => {
    const names = ['one', 'two', 'three', 'four']
    const services = names.map(name => service(plain => void plain.send(name).then(() => plain.finish())))
    await using relay = await startRelay()
    await using agent = await startAgent(
      relay.invite!,
      names.map((name, i) => `${name}=${services[i]!.local}`),
    )
    for (const name of names) {
      const visitor = await Plain.dial(await agent.tunnel(name))
      expect((await visitor.readAll()).bytes.toString()).toBe(name)
    }
    for (const one of services) one[Symbol.dispose]()
  })

  test('a public port that was asked for', async () => {
    using echoing = service(echo)
    const ports = portRange(20)
    const wanted = Number(ports.split('-')[1])
    await using relay = await startRelay({ ports })
    await using agent = await startAgent(relay.invite!, [`t=${echoing.local}@${wanted}`])
    expect((await agent.tunnel('t')).port).toBe(wanted)
    await speaks(await Plain.dial({ host: '127.0.0.1', port: wanted }), 'at that port')
  })

  test('one outside the range is refused, with the range', async () => {
    await using relay = await startRelay()
    await using agent = launchAgent(relay.invite!, ['t=127.0.0.1:9@1234'])
    expect(await agent.exit()).toBe(6)
    expect(agent.said).toContain('W-PORT-RANGE')
    expect(agent.said).toContain(relay.ports.split('-')[0]!)
  })

  test('the relay listens at every address without --bind and --listen hosts', async () => {
    using echoing = service(echo)
    await using relay = await startRelay({ bind: '::', listen: '[::]:0' })
    await using agent = await startAgent(relay.invite!, [`t=${echoing.local}`])
    const { port } = await agent.tunnel('t')
    for (const host of ['127.0.0.1', '::1']) await speaks(await Plain.dial({ host, port }), host)
    // By IPv4 to a socket of both families: the visitor's address is still an IPv4 one.
    const open = await agent.event('stream', stream => stream.state === 'open')
    expect(open.visitor).toMatch(/^127\.0\.0\.1:\d+$/)
  })
})

describe('warren try', () => {
  test('--check verifies the whole thing in one process, and exits 0', async () => {
    using echoing = service(echo)
    const builtIn = await run(['try', '--check'])
    expect({ status: builtIn.status, err: builtIn.status === 0 ? '' : builtIn.err }).toEqual({ status: 0, err: '' })
    expect(echoing.accepted).toEqual([])
  }, 60_000)
})
