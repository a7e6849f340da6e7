// How connections begin and end through a tunnel, one case at a time, each as the oracle's exact endpoints see it, and
// what the agent's events say about it.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { PLAIN_SIP, type Script, type Step } from '../oracle/script.ts'
import { echo, Plain, service } from './plain.ts'
import { startAgent, startRelay, tunnelTo, until } from './warren.ts'
import { type OpenWay, openWay } from './ways.ts'

const GIVE_UP_MS = 15_000
const TIMES = 24

function script(visitor: Step[], service: Step[], early = false): Script {
  return { early, buffer: 0, sip: { visitor: PLAIN_SIP, service: PLAIN_SIP }, visitor, service }
}

describe('by script', () => {
  let way: OpenWay
  beforeAll(async () => {
    way = await openWay('tunnel', 8)
  }, 60_000)
  afterAll(() => way[Symbol.asyncDispose]())

  const cases: Record<string, Script> = {
    'the visitor half-closes, the service answers after that': script(
      [{ do: 'write', n: 5000 }, { do: 'fin' }, { do: 'eof' }],
      [{ do: 'eof' }, { do: 'write', n: 300_000 }, { do: 'fin' }],
    ),
    'the service half-closes, the visitor answers after that': script(
      [{ do: 'eof' }, { do: 'write', n: 300_000 }, { do: 'fin' }],
      [{ do: 'write', n: 5000 }, { do: 'fin' }, { do: 'eof' }],
    ),
    'a half-close at once, without a byte': script([{ do: 'fin' }, { do: 'eof' }], [{ do: 'eof' }], true),
    'both half-close at once': script([{ do: 'fin' }], [{ do: 'fin' }], true),
    'half-closed both ways, one answering for long': script(
      [{ do: 'fin' }, { do: 'barrier' }, { do: 'eof' }],
      [{ do: 'eof' }, { do: 'write', n: 10 }, { do: 'barrier' }, { do: 'pause', ms: 300 }, { do: 'write', n: 10 }],
    ),
    'the visitor resets': script([{ do: 'write', n: 70_000 }, { do: 'barrier' }, { do: 'reset' }], [{ do: 'gone' }]),
    'the service resets': script([{ do: 'gone' }], [{ do: 'write', n: 70_000 }, { do: 'barrier' }, { do: 'reset' }]),
    'the service resets before a byte': script([{ do: 'gone' }], [{ do: 'reset' }]),
    'the visitor resets after its half-close': script(
      [{ do: 'write', n: 100 }, { do: 'fin' }, { do: 'barrier' }, { do: 'reset' }],
      [{ do: 'eof' }, { do: 'gone' }],
    ),
    'the service resets after its half-close': script(
      [{ do: 'eof' }, { do: 'gone' }],
      [{ do: 'write', n: 100 }, { do: 'fin' }, { do: 'barrier' }, { do: 'reset' }],
    ),
    'a reset reaches one that still sends': script(
      [{ do: 'write', n: 2_000_000 }, { do: 'gone' }],
      [{ do: 'stop' }, { do: 'pause', ms: 20 }, { do: 'reset' }],
    ),
    'all bytes before a FIN arrive at one that stopped reading for a while': script(
      [{ do: 'write', n: 3_000_000 }, { do: 'fin' }, { do: 'eof' }],
      [{ do: 'stop' }, { do: 'pause', ms: 300 }, { do: 'resume' }, { do: 'eof' }, { do: 'write', n: 1 }],
    ),
    'the service speaks first': script(
      [{ do: 'barrier' }, { do: 'pause', ms: 50 }, { do: 'write', n: 6 }],
      [{ do: 'write', n: 40 }, { do: 'barrier' }],
    ),
  }
  for (const [name, steps] of Object.entries(cases)) {
    test(
      name,
      async () => {
        const { failures, strays } = await way.oracle.script(1, steps, TIMES, GIVE_UP_MS)
        expect(failures.map(failure => ({ problems: failure.problems, via: failure.via }))).toEqual([])
        expect(strays).toBe(0)
      },
      GIVE_UP_MS * 3,
    )
  }
})

describe('the service', () => {
  test('refuses: the visitor sees a reset, and the agent says so at once', async () => {
    const gone = service(() => {})
    const { local } = gone
    gone[Symbol.dispose]()
    await using tunnel = await tunnelTo(local)
    // Before any visitor: the agent has looked by itself.
    await tunnel.agent.event('local', event => event.state === 'down')
    const visitor = await Plain.dial(tunnel.at)
    expect(await visitor.readAll()).toEqual({ bytes: Buffer.alloc(0), end: 'reset' })
    const closed = await tunnel.agent.event('stream', event => event.state === 'closed')
    expect(closed).toMatchObject({ tunnel: 't', end: 'refused', sent: 0, received: 0 })
  })

  test('comes up later: the next visitor reaches it, and the agent says so', async () => {
    const first = service(echo)
    const { port, local } = first
    first[Symbol.dispose]()
    await using tunnel = await tunnelTo(local)
    const refused = await Plain.dial(tunnel.at)
    expect((await refused.readAll()).end).toBe('reset')
    const listener = Bun.listen({
      hostname: '127.0.0.1',
      port,
      socket: { data: (socket, chunk) => void socket.write(chunk) },
    })
    const visitor = await Plain.dial(tunnel.at)
    await visitor.send('hello')
    expect((await visitor.read(5)).toString()).toBe('hello')
    await tunnel.agent.event('local', event => event.state === 'up')
    listener.stop(true)
  })

  test('that resets at once is not called down, and is not tried behind its back', async () => {
    using resetting = service(plain => plain.reset())
    await using tunnel = await tunnelTo(resetting.local)
    await until(() => resetting.accepted.length >= 1, 'the agent looks whether the service answers')
    const looked = resetting.accepted.length
    const visitors = 20
    for (let i = 0; i < visitors; i++) expect((await (await Plain.dial(tunnel.at)).readAll()).end).toBe('reset')
    await until(
      () => tunnel.agent.events.filter(e => e.event === 'stream' && e.state === 'closed').length === visitors,
      'all closed',
    )
    expect(tunnel.agent.events.filter(event => event.event === 'local')).toEqual([])
    expect(resetting.accepted.length).toBe(looked + visitors)
  })
})

describe('events', () => {
  test('a stream is told open and closed, with its bytes and its end', async () => {
    using echoing = service(echo)
    await using tunnel = await tunnelTo(echoing.local)
    const visitor = await Plain.dial(tunnel.at)
    await visitor.send('0123456789')
    await visitor.read(10)
    const open = await tunnel.agent.event('stream', event => event.state === 'open')
    expect(open).toMatchObject({ tunnel: 't', visitor: expect.stringMatching(/^127\.0\.0\.1:\d+$/) })
    visitor.finish()
    expect((await visitor.readAll()).end).toBe('fin')
    const closed = await tunnel.agent.event('stream', event => event.state === 'closed')
    expect(closed).toMatchObject({ tunnel: 't', visitor: open.visitor, sent: 10, received: 10, end: 'fin' })
  })

  test('a reset by the visitor is told as a reset', async () => {
    using silent = service(() => {})
    await using tunnel = await tunnelTo(silent.local)
    const visitor = await Plain.dial(tunnel.at)
    await tunnel.agent.event('stream', event => event.state === 'open')
    visitor.reset()
    expect(await tunnel.agent.event('stream', event => event.state === 'closed')).toMatchObject({ end: 'reset' })
  })
})

describe('draining', () => {
  for (const who of ['agent', 'relay'] as const) {
    test(`SIGTERM to the ${who}: open streams go on, new visitors do not, exit 0`, async () => {
      using echoing = service(echo)
      await using tunnel = await tunnelTo(echoing.local)
      const visitor = await Plain.dial(tunnel.at)
      await visitor.send('a')
      await visitor.read(1)
      const process = tunnel[who]
      process.signal('SIGTERM')
      await process.event('draining')
      await visitor.send('still here')
      expect((await visitor.read(10)).toString()).toBe('still here')
      await until(async () => {
        try {
          return (await (await Plain.dial(tunnel.at)).readAll()).end === 'reset'
        } catch {
          return true // The port no longer listens.
        }
      }, 'a new visitor is turned away')
      visitor.finish()
      expect((await visitor.readAll()).end).toBe('fin')
      expect(await process.exit()).toBe(0)
    }, 60_000)
  }

  test('signals that come together are one, as from a terminal and from npm, which passes it on', async () => {
    using echoing = service(echo)
    await using tunnel = await tunnelTo(echoing.local)
    const visitor = await Plain.dial(tunnel.at)
    await visitor.send('a')
    await visitor.read(1)
    tunnel.agent.signal('SIGINT')
    tunnel.agent.signal('SIGTERM')
    tunnel.agent.signal('SIGINT')
    await tunnel.agent.event('draining')
    await visitor.send('still here')
    expect((await visitor.read(10)).toString()).toBe('still here')
    visitor.finish()
    expect((await visitor.readAll()).end).toBe('fin')
    expect(await tunnel.agent.exit()).toBe(0)
  }, 60_000)

  test('a second signal ends it at once, and what was open is reset, not closed', async () => {
    using silent = service(() => {})
    await using tunnel = await tunnelTo(silent.local)
    await until(() => silent.accepted.length > 0, 'the agent has looked')
    const next = silent.next()
    const visitor = await Plain.dial(tunnel.at)
    const served = await next
    tunnel.agent.signal('SIGTERM')
    await tunnel.agent.event('draining')
    const signalled = performance.now()
    // Again and again, because what comes right behind the first is taken for the first.
    const again = setInterval(() => tunnel.agent.signal('SIGTERM'), 1)
    expect(await tunnel.agent.exit().finally(() => clearInterval(again))).toBe(0)
    expect(performance.now() - signalled).toBeLessThan(1000)
    expect((await visitor.readAll()).end).toBe('reset')
    expect((await served.readAll()).end).toBe('reset')
  }, 60_000)
})

describe('an agent away', () => {
  test('for less than 3 s: who comes meanwhile waits for it, and is served', async () => {
    using echoing = service(echo)
    await using relay = await startRelay()
    const first = await startAgent(relay.invite!, [`t=${echoing.local}`])
    const at = await first.tunnel('t')
    await first.crash()
    const visitor = await Plain.dial(at)
    await visitor.send('waiting')
    await using second = await startAgent(null, [`t=${echoing.local}`], { state: first.state })
    expect(await second.tunnel('t')).toEqual(at)
    expect((await visitor.read(7)).toString()).toBe('waiting')
  }, 60_000)

  test('for longer: who comes is reset, not answered with a clean empty reply', async () => {
    using echoing = service(echo)
    await using relay = await startRelay()
    const agent = await startAgent(relay.invite!, [`t=${echoing.local}`])
    const at = await agent.tunnel('t')
    await agent.crash()
    const waited = await Plain.dial(at)
    const began = performance.now()
    expect((await waited.readAll()).end).toBe('reset')
    expect(performance.now() - began).toBeLessThan(6000)
  }, 60_000)
})
