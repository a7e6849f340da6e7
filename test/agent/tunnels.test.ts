// What an agent asks its relay for in a session.
import { expect, spyOn, test } from 'bun:test'
import { Service } from '../../src/agent/services.ts'
import { Tunnels } from '../../src/agent/tunnels.ts'
import { parseTunnel } from '../../src/config/index.ts'
import type { Session } from '../../src/frame/index.ts'
import type { Event } from '../../src/telemetry/events.ts'

test('a tunnel that was told to be open is told to be closed, once, however it was lost', () => {
  const events: Event[] = []
  const tunnels = new Tunnels(['a=1', 'b=2', 'c=3', 'd=4'].map(parseTunnel), event => events.push(event))
  const closed = () => events.flatMap(e => (e.event === 'tunnel-closed' ? [e.name] : []))
  for (const id of [0, 1, 2]) tunnels.answered({ id, host: 'relay.example.com', port: 20_000 + id, epoch: 1 })
  tunnels.taken(0)
  expect(closed()).toEqual(['a'])
  // Another session.
  tunnels.unbind()
  tunnels.answered({ id: 1, refused: 'W-REPLACED', why: 'another process of this key has it' })
  expect(closed()).toEqual(['a', 'b'])
  tunnels.yieldAll()
  expect(closed()).toEqual(['a', 'b', 'c'])
  expect(tunnels.allTaken).toBe(true)
  tunnels.stop()
})

test('a tunnel that is closed is told with the address that it had last', () => {
  const closed: Event[] = []
  const tunnels = new Tunnels(['a=1', 'b=2'].map(parseTunnel), event => {
    if (event.event === 'tunnel-closed') closed.push(event)
  })
  for (const id of [0, 1]) tunnels.answered({ id, host: 'relay.example.com', port: 20_000 + id, epoch: 1 })
  // A new session gave it another one.
  tunnels.answered({ id: 0, host: '2001:db8::1', port: 20_007, epoch: 2 })
  tunnels.yieldAll()
  expect(closed).toMatchObject([
    { name: 'a', address: '[2001:db8::1]:20007' },
    { name: 'b', address: 'relay.example.com:20001' },
  ])
  tunnels.stop()
})

test('a tunnel is asked for once, and again when it was refused', () => {
  const events: Event[] = []
  const tunnels = new Tunnels(['a=1', 'b=2'].map(parseTunnel), event => events.push(event))
  const sent: unknown[] = []
  const session = { send: (message: unknown) => sent.push(message) } as unknown as Session
  tunnels.unbind()
  tunnels.answered({ id: 0, host: 'relay.example.com', port: 20_000, epoch: 1 })
  tunnels.bindOthers(session, [{ id: 0, host: 'relay.example.com', port: 20_000, epoch: 1 }])
  expect(sent).toMatchObject([{ tunnel: { id: 1, name: 'b' } }])
  // The answer is on its way.
  tunnels.askAgain(session)
  expect(sent).toHaveLength(1)
  tunnels.answered({ id: 1, refused: 'W-POOL-EMPTY', why: 'no port is free' })
  tunnels.askAgain(session)
  expect(sent).toHaveLength(2)
  // Of another session no answer comes.
  tunnels.unbind()
  tunnels.askAgain(session)
  expect(sent).toHaveLength(4)
  tunnels.stop()
})

test('a service of this machine that stops is told before anybody visits it, and is not disturbed before that', async () => {
  let visits = 0
  const open = () => Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { open: () => void visits++, data() {} } })
  const service = open()
  const events: Event[] = []
  const told = Promise.withResolvers<void>()
  const tunnels = new Tunnels([parseTunnel(`127.0.0.1:${service.port}`), parseTunnel('192.0.2.1:80')], event => {
    events.push(event)
    told.resolve()
  })
  const listening: ReadonlySet<number> = new Set([service.port])
  for (let looks = 0; looks < 5; looks++) tunnels.look(listening)
  service.stop(true)
  expect([visits, events.length]).toEqual([0, 0])
  tunnels.look(new Set())
  await told.promise
  tunnels.look(new Set())
  tunnels.stop()
  expect(events).toMatchObject([{ event: 'local', state: 'down', name: String(service.port), code: 'W-LOCAL-DOWN' }])
})

test('one that answers without a listener to be seen, as behind a rule of the firewall, is left alone', () => {
  const check = spyOn(Service.prototype, 'check')
  const tunnels = new Tunnels([parseTunnel('5432')], () => {})
  for (let looks = 0; looks < 3; looks++) tunnels.look(new Set())
  tunnels.look(null)
  tunnels.stop()
  expect(check).not.toHaveBeenCalled()
  check.mockRestore()
})
