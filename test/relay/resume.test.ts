// RESUME at a relay, over real sockets: who gets a session back, who does not and what they learn, and what becomes of
// streams that are held.
import { afterAll, describe, expect, test } from 'bun:test'
import net from 'node:net'
import { join } from 'node:path'
import { packResumeBody, readRegistration, readResumption, resumeFrame, SESSION_CODE } from '../../src/frame/index.ts'
import { type KeyPair, transcript } from '../../src/identity/index.ts'
import type { Connection } from '../../src/net/index.ts'
import { Stranger } from '../../src/relay/admission.ts'
import { ask } from '../../src/relay/control.ts'
import { HOLDS, startRelay } from '../../src/relay/index.ts'
import type { Member } from '../../src/relay/sessions.ts'
import type { Store } from '../../src/relay/store.ts'
import { Strangers } from '../../src/relay/strangers.ts'
import type { Event } from '../../src/telemetry/events.ts'
import { until } from '../e2e/warren.ts'
import { temporaryFolder } from '../folder.ts'
import { raw } from '../frame/peer.ts'
import { invite, portOf, runAgent, serve, visit } from './agents.ts'
import { Link } from './link.ts'
import { newKey, RawClient, type Running, runRelay, SILENT } from './running.ts'

// Every connection has a source address of its own: penalties are real here.
let last = 10
const address = () => `127.0.1.${++last}`
const connect = (running: Running) => RawClient.connect(running.port, address())

const seen = (events: Event[], state: string) =>
  until(() => events.find(e => (e.event === 'agent' || e.event === 'session') && e.state === state), state)

/** A visitor that stays: what it was told, and how it ended. */
function stay(port: number) {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const told: Uint8Array[] = []
  const ended = Promise.withResolvers<{ how: 'reset' | 'fin' | 'other'; at: number }>()
  socket.on('data', chunk => told.push(Buffer.from(chunk)))
  socket.on('error', e =>
    ended.resolve({ how: 'code' in e && e.code === 'ECONNRESET' ? 'reset' : 'other', at: performance.now() }),
  )
  socket.on('end', () => ended.resolve({ how: 'fin', at: performance.now() }))
  const text = () => Buffer.concat(told).toString()
  return { socket, text, ended: ended.promise, hears: (words: string) => until(() => text().includes(words), words) }
}

/** A service that answers whoever asks, and knows how the first that asked ended. */
function serveOne(name: string) {
  const ended = Promise.withResolvers<string>()
  const server = net.createServer(socket => {
    let asked = false
    socket.on('data', () => {
      asked = true
      socket.write(name)
    })
    socket.on('error', e => asked && ended.resolve('code' in e ? String(e.code) : ''))
    socket.on('end', () => asked && ended.resolve('fin'))
  })
  server.listen(0, '127.0.0.1')
  afterAll(() => void server.close())
  return { port: (server.address() as net.AddressInfo).port, ended: ended.promise }
}

/** An agent made by hand that registered with one tunnel. */
async function registered(running: Running, key = newKey()) {
  const client = await connect(running)
  const ack = readRegistration(
    await client.register(key, { token: Buffer.from(running.token), tunnels: [{ id: 1, name: 'a', port: null }] }),
  )
  if (!ack.ok) throw new Error('not registered')
  const [tunnel] = ack.ack.tunnels
  if (tunnel === undefined || !('port' in tunnel)) throw new Error('no tunnel')
  return { client, key, session: ack.ack.session, port: tunnel.port }
}

const REFUSED = { ok: false, code: SESSION_CODE.REFUSED, text: '' } as const

describe('whoever asks for a session', () => {
  type Asked = { client: RawClient; key: KeyPair; session: Buffer }
  const signed = (c: Asked, sign: (body: Buffer) => Uint8Array, change = {}) => {
    const body = packResumeBody({ session: c.session, attempt: 9, position: 0, ...change })
    return resumeFrame(body, sign(body))
  }
  const over = (c: Asked, label: 'init' | 'resume', role: 'agent' | 'connector', key: KeyPair, hash?: Buffer) =>
    signed(c, body => key.sign(transcript(label, role, c.client.exporter(label), hash ?? c.client.relayKeyHash, body)))
  const lies: [string, (c: Asked) => Uint8Array][] = [
    ['with a signature of nothing', c => signed(c, () => Buffer.alloc(64))],
    ['with the signature of another key', c => over(c, 'resume', 'agent', newKey())],
    ['with a signature for INIT', c => over(c, 'init', 'agent', c.key)],
    ['with a signature as a connector', c => over(c, 'resume', 'connector', c.key)],
    ['with a signature over another relay', c => over(c, 'resume', 'agent', c.key, Buffer.alloc(32, 3))],
  ]
  for (const held of [false, true])
    describe(held ? 'that is held' : 'whose connection is alive', () => {
      test('and cannot prove its key is refused like any other, and the session is untouched', async () => {
        const running = await runRelay()
        const { client: first, key, session } = await registered(running)
        if (held) {
          const before = first.session.length
          first.socket.write(raw.ping(76))
          await until(() => first.session.length > before, 'the PONG')
          first.socket.resetAndDestroy()
          await seen(running.events, 'held')
        }
        for (const [what, make] of lies) {
          const client = await connect(running)
          const answer = await client.say(make({ client, key, session }))
          expect([what, readResumption(answer.bytes.subarray(4))]).toEqual([what, REFUSED])
          expect(answer.afterMs).toBeGreaterThanOrEqual(45)
        }
        const overheard = (await connect(running)).resume(key, { session, attempt: 9, position: 0 })
        const replayed = await (await connect(running)).say(overheard)
        expect(readResumption(replayed.bytes.subarray(4))).toEqual(REFUSED)
        if (!held) {
          const before = first.session.length
          first.socket.write(raw.ping(77))
          await until(() => first.session.length > before, 'the PONG')
        }
        const honest = await connect(running)
        const answer = readResumption(await honest.ask(honest.resume(key, { session, attempt: 1, position: 0 })))
        expect(answer).toMatchObject({ ok: true, position: raw.ping(77).length })
      })
    })

  test('that is not known learns just that', async () => {
    const running = await runRelay()
    const { key } = await registered(running)
    const client = await connect(running)
    const answer = await client.say(client.resume(key, { session: Buffer.alloc(16, 5), attempt: 1, position: 0 }))
    expect(readResumption(answer.bytes.subarray(4))).toMatchObject({ ok: false, code: SESSION_CODE.UNKNOWN })
    expect(answer.how).toBe('fin')
  })

  test('with an attempt that is not above the last is refused', async () => {
    const running = await runRelay()
    const { key, session } = await registered(running)
    const try_ = async (attempt: number) => {
      const client = await connect(running)
      return readResumption(await client.ask(client.resume(key, { session, attempt, position: 0 })))
    }
    expect(await try_(5)).toMatchObject({ ok: true })
    expect(await try_(5)).toEqual(REFUSED)
    expect(await try_(4)).toEqual(REFUSED)
    expect(await try_(6)).toMatchObject({ ok: true })
  })

  test('after the key was revoked finds nothing, also when the session was held', async () => {
    const running = await runRelay()
    const { client, key, session, port } = await registered(running)
    const visitor = stay(port)
    await until(() => client.session.includes('127.0.0.1'), 'the visitor')
    client.socket.resetAndDestroy()
    await seen(running.events, 'held')
    const keys = await ask(running.state, { do: 'keys' })
    const [row] = ('ok' in keys ? keys.ok : []) as { fingerprint: string }[]
    await ask(running.state, { do: 'revoke', who: row!.fingerprint })
    expect((await visitor.ended).how).toBe('reset')
    const again = await connect(running)
    const answer = readResumption(await again.ask(again.resume(key, { session, attempt: 1, position: 0 })))
    expect(answer).toMatchObject({ ok: false, code: SESSION_CODE.UNKNOWN })
  })

  test('from a position that was never sent, or was receipted, loses it', async () => {
    for (const [receipt, position] of [
      [0, 1_000_000],
      [12, 11],
    ] as const) {
      const running = await runRelay()
      const { client, key, session, port } = await registered(running)
      await until(() => client.session.length >= 12, 'the first PING')
      if (receipt > 0) {
        client.socket.write(Buffer.concat([raw.receipt(receipt), raw.ping(1)]))
        await until(() => client.session.length >= 24, 'the PONG')
      }
      const visitor = stay(port)
      await until(() => client.session.includes('127.0.0.1'), 'the visitor')
      const again = await connect(running)
      const answer = readResumption(await again.ask(again.resume(key, { session, attempt: 1, position })))
      expect(answer).toMatchObject({ ok: false, code: SESSION_CODE.RANGE })
      expect((await visitor.ended).how).toBe('reset')
    }
  })

  test('with bytes behind RESUME, or attempt 0, is cut off without a word', async () => {
    const running = await runRelay()
    const { key, session } = await registered(running)
    const bad = [
      (c: RawClient) => Buffer.concat([c.resume(key, { session, attempt: 1, position: 0 }), raw.ping(1)]),
      (c: RawClient) => c.resume(key, { session, attempt: 0, position: 0 }),
      (c: RawClient) => c.resume(key, { session: session.subarray(1), attempt: 1, position: 0 }),
    ]
    for (const make of bad) {
      const client = await connect(running)
      expect(await client.say(make(client))).toMatchObject({ how: 'reset', bytes: Buffer.alloc(0) })
    }
  })
})

for (const status of ['allowed', 'revoked', 'unknown'] as const)
  test(`a session that is still there for a key that is ${status} by now`, async () => {
    const key = newKey()
    const exporter = Buffer.alloc(32, 1)
    const relayKeyHash = Buffer.alloc(32, 2)
    const answered = Promise.withResolvers<Buffer>()
    const connection = {
      remoteHost: '192.0.2.1',
      exporter: () => exporter,
      write: (bytes: Buffer) => answered.resolve(bytes),
      shutdown() {},
      linger() {},
    } as unknown as Connection
    let resumed = 0
    const stranger = new Stranger(connection, {
      relayKeyHash,
      store: { keyStatus: () => status } as unknown as Store,
      strangers: new Strangers(() => 0),
      room: () => true,
      admitted: () => expect.unreachable(),
      find: () => ({ key: key.publicKey, attempt: 0 }) as unknown as Member,
      resumed: () => ++resumed > 0,
      refused() {},
    })
    const body = packResumeBody({ session: Buffer.alloc(16), attempt: 1, position: 0 })
    stranger.onData(resumeFrame(body, key.sign(transcript('resume', 'agent', exporter, relayKeyHash, body))))
    expect(resumed).toBe(status === 'allowed' ? 1 : 0)
    if (status !== 'allowed') expect(readResumption((await answered.promise).subarray(4))).toEqual(REFUSED)
  })

test('an agent that proves its key is not made to pay for the dials that it gave up', async () => {
  const running = await runRelay()
  const { key, session } = await registered(running)
  const from = address()
  const through = await RawClient.connect(running.port, from)
  // Behind one address many agents dial at once when a link heals, and each gives up all dials but one.
  const givenUp = async () => {
    for (let i = 0; i < 100; i++) (await RawClient.connect(running.port, from)).socket.resetAndDestroy()
  }
  await expect(givenUp()).rejects.toThrow()
  const answer = readResumption(await through.ask(through.resume(key, { session, attempt: 1, position: 0 })))
  expect(answer.ok).toBe(true)
  await RawClient.connect(running.port, from)
})

test('the relay makes the old connection mute before it reads the position', async () => {
  const running = await runRelay()
  const { client: first, key, session } = await registered(running)
  first.socket.on('error', () => {})
  first.socket.write(raw.ping(1))
  await until(() => first.session.includes(raw.pong(1)), 'the PONG')
  const second = await connect(running)
  const position = first.session.length
  const answered = second.ask(second.resume(key, { session, attempt: 1, position }))
  // Late bytes of the old connection, into the moment of the change and after it.
  for (let i = 0; i < 20; i++) {
    first.socket.write(raw.ping(100 + i))
    await new Promise(resolve => setImmediate(resolve))
  }
  const answer = readResumption(await answered)
  const at = answer.ok ? answer.position : -1
  first.socket.write(raw.ping(999))
  second.socket.write(raw.ping(2))
  await until(() => second.session.includes(raw.pong(2)), 'the PONG')
  const third = await connect(running)
  const last = readResumption(await third.ask(third.resume(key, { session, attempt: 2, position })))
  // 12 bytes over the second connection, none over the first.
  expect(last).toMatchObject({ ok: true, position: at + 12 })
  // And what was sent over the second is sent again, from the same byte on.
  const { length } = second.session
  await until(() => third.session.length >= length, 'the replay')
  expect(third.session.subarray(0, length).equals(second.session)).toBe(true)
})

/** A relay, a link, and an agent behind it that serves `name`; a visitor that has heard it. */
async function tunnelled(name: string, change: { holdMs?: number; deadAfterMs?: number } = {}) {
  const running = await runRelay(change)
  const link = new Link(running.port)
  const folder = join(temporaryFolder(), 'agent')
  const service = serve(name)
  const watched = await runAgent(link.invite(running.relay.firstInvite!), folder, [`a=127.0.0.1:${service}`], change)
  const port = await portOf(watched, 'a')
  const visitor = stay(port)
  await visitor.hears(name)
  return { running, link, folder, service, watched, port, visitor }
}

describe('streams that are open when the link breaks', () => {
  for (const how of ['cut', 'silence'] as const)
    test(`go on after a ${how}`, async () => {
      const { link, watched, visitor, running } = await tunnelled('hello', { deadAfterMs: 1_500 })
      visitor.socket.write('before ')
      await visitor.hears('before ')
      if (how === 'cut') {
        link.state = 'down'
        link.cut()
      } else link.silence()
      visitor.socket.write('during ')
      await seen(watched.events, 'held')
      await seen(running.events, 'held')
      link.state = 'up'
      await seen(watched.events, 'resumed')
      visitor.socket.write('after')
      await visitor.hears('after')
      expect(visitor.text()).toBe('hellobefore during after')
      expect(await seen(running.events, 'resumed')).toMatchObject({ streams: 1 })
      watched.agent.stop()
    }, 10_000)

  test('are held once: when the time has passed after a resume, nothing happens', async () => {
    const holdMs = 500
    const { link, running, watched, visitor } = await tunnelled('hello', { holdMs })
    link.cut()
    await seen(running.events, 'resumed')
    const since = performance.now()
    await until(() => performance.now() > since + holdMs * 1.5, 'the hold has passed')
    visitor.socket.write('still here')
    await visitor.hears('still here')
    expect([...watched.events, ...running.events].some(e => 'state' in e && e.state === 'expired')).toBe(false)
    watched.agent.stop()
  })

  test('are reset at both ends once the hold has passed', async () => {
    const service = serveOne('hello')
    const running = await runRelay({ holdMs: 300 })
    const link = new Link(running.port)
    const at = `a=127.0.0.1:${service.port}`
    const watched = await runAgent(link.invite(running.relay.firstInvite!), join(temporaryFolder(), 'agent'), [at], {
      holdMs: 300,
    })
    const visitor = stay(await portOf(watched, 'a'))
    visitor.socket.write('?')
    await visitor.hears('hello')
    link.state = 'down'
    const began = performance.now()
    link.cut()
    const { how, at: when } = await visitor.ended
    expect(how).toBe('reset')
    expect(await service.ended).toBe('ECONNRESET')
    expect(when - began).toBeGreaterThan(250)
    expect(await seen(watched.events, 'expired')).toMatchObject({ streams: 1 })
    watched.agent.stop()
  })

  test('are reset at once without a hold', async () => {
    const { link, watched, running, visitor } = await tunnelled('hello', { holdMs: 0 })
    link.state = 'down'
    link.cut()
    expect((await visitor.ended).how).toBe('reset')
    await seen(watched.events, 'lost')
    expect([...watched.events, ...running.events].some(e => 'state' in e && e.state === 'held')).toBe(false)
    watched.agent.stop()
  })

  test('are reset at once when their agent is there again as another process', async () => {
    const { link, folder, service, watched, port, visitor } = await tunnelled('hello')
    link.state = 'down'
    link.cut()
    await seen(watched.events, 'held')
    watched.agent.stop()
    link.state = 'up'
    const again = await runAgent(null, folder, [`a=127.0.0.1:${service}`])
    expect(await portOf(again, 'a')).toBe(port)
    expect((await visitor.ended).how).toBe('reset')
    expect((await visit(port)).said).toBe('hello')
    again.agent.stop()
  })

  test('are reset when another process takes over, and the first one backs off instead of taking them back', async () => {
    const { link, running, service, watched, port, visitor, folder } = await tunnelled('hello')
    link.state = 'down'
    link.cut()
    await seen(watched.events, 'held')
    const direct = new Link(running.port)
    const other = await runAgent(direct.invite(await invite(running.state)), folder, [`a=127.0.0.1:${service}`])
    expect(await portOf(other, 'a')).toBe(port)
    expect((await visitor.ended).how).toBe('reset')
    link.state = 'up'
    const lost = await seen(watched.events, 'lost')
    expect(lost).toMatchObject({ code: 'W-REPLACED' })
    expect(lost.event === 'session' && lost.state === 'lost' && lost.retryInMs).toBeGreaterThanOrEqual(30_000)
    expect((await visit(port)).said).toBe('hello')
    for (const { agent } of [watched, other]) agent.stop()
  })

  test('are reset when the relay was started anew, and the agent registers at once', async () => {
    const service = serveOne('hello')
    const running = await runRelay()
    const link = new Link(running.port)
    const at = `a=127.0.0.1:${service.port}`
    const watched = await runAgent(link.invite(running.relay.firstInvite!), join(temporaryFolder(), 'agent'), [at])
    const port = await portOf(watched, 'a')
    const visitor = stay(port)
    visitor.socket.write('?')
    await visitor.hears('hello')
    // As if killed: its farewell does not get through.
    link.state = 'down'
    link.cut()
    await seen(watched.events, 'held')
    running.relay.stop()
    await running.relay.closed
    const next = await startRelay(
      {
        listen: { host: '127.0.0.1', port: 0 },
        ports: { from: 20_000, to: 29_999 },
        publicHost: '127.0.0.1',
        bind: '127.0.0.1',
        state: running.state,
        deadAfterMs: 5_000,
        holdMs: 30_000,
        holds: HOLDS,
        drainMs: 1_000,
        invite: 'never',
      },
      () => {},
      SILENT,
    )
    link.target = Number(next.control.split(':')[1])
    link.state = 'up'
    await seen(watched.events, 'expired')
    const began = performance.now()
    await until(() => watched.events.filter(e => e.event === 'session' && e.state === 'connected').length > 1, 'back')
    expect(performance.now() - began).toBeLessThan(1_000)
    expect(await service.ended).toBe('ECONNRESET')
    const later = stay(port)
    later.socket.write('?')
    await later.hears('hello')
    watched.agent.stop()
    next.stop()
  }, 10_000)
})

describe('visitors that come while the agent is away', () => {
  test('wait, and are let in when it resumes', async () => {
    const { link, watched, port } = await tunnelled('hello')
    link.state = 'down'
    link.cut()
    await seen(watched.events, 'held')
    const early = stay(port)
    early.socket.write('said before anybody listened')
    const met = visit(port)
    link.state = 'up'
    expect((await met).said).toBe('hello')
    await early.hears('hellosaid before anybody listened')
    watched.agent.stop()
  })

  for (const words of ['', 'all that it has to say'])
    test(`are carried whole when they have finished by then: '${words}'`, async () => {
      const { link, watched, port } = await tunnelled('hello')
      link.state = 'down'
      link.cut()
      await seen(watched.events, 'held')
      const early = stay(port)
      early.socket.end(words)
      const later = stay(port)
      await until(() => later.socket.readyState === 'open', 'connected')
      link.state = 'up'
      expect((await early.ended).how).toBe('fin')
      expect(early.text()).toBe(`hello${words}`)
      later.socket.destroy()
      watched.agent.stop()
    })

  test('wait 3 s, then are reset; the held stream is not', async () => {
    const { link, watched, port, visitor } = await tunnelled('hello')
    link.state = 'down'
    link.cut()
    await seen(watched.events, 'held')
    const met = await visit(port)
    expect(met).toMatchObject({ how: 'reset', said: '' })
    expect(met.afterMs).toBeGreaterThan(2_500)
    expect(met.afterMs).toBeLessThan(4_000)
    link.state = 'up'
    visitor.socket.write('still here')
    await visitor.hears('still here')
    watched.agent.stop()
  }, 10_000)

  test('an agent that ends over what its ACK said is not waited for', async () => {
    const running = await runRelay()
    const { client, port } = await registered(running)
    client.socket.destroy()
    await until(() => running.events.find(e => e.event === 'agent' && e.state === 'gone'), 'gone')
    expect(running.events.some(e => e.event === 'agent' && e.state === 'held')).toBe(false)
    const began = performance.now()
    const { how, at } = await stay(port).ended
    expect(how).toBe('reset')
    expect(at - began).toBeLessThan(4_000)
    expect(await stay(port).ended).toMatchObject({ how: 'other' })
  }, 10_000)

  test('an agent that closed without a word is waited for 3 s, not for the whole hold', async () => {
    const running = await runRelay()
    const { client, port } = await registered(running)
    const visitor = stay(port)
    await until(() => client.session.includes('127.0.0.1'), 'the visitor')
    const began = performance.now()
    client.socket.end()
    const { how, at } = await visitor.ended
    expect(how).toBe('reset')
    expect(at - began).toBeGreaterThan(2_500)
    expect(at - began).toBeLessThan(4_000)
  }, 10_000)
})
