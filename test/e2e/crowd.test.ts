// Many visitors at once.
import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { Plain } from './plain.ts'
import { served } from './served.ts'
import { tunnelTo, until, within } from './warren.ts'

/** Descriptors that this machine gives one process: a relay needs one a visitor, and some of its own. */
const LIMIT = Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1])
const RESERVE = 600

function room(wanted: number): number {
  const most = Math.min(wanted, LIMIT - RESERVE)
  if (most < wanted) {
    console.log(
      `NOT RUN in full: ${most} of ${wanted} connections, as the limit of open files is ${LIMIT}; raise it: ulimit -Hn`,
    )
  }
  return most
}

async function dialAll(at: { host: string; port: number }, count: number, together: number): Promise<Plain[]> {
  const visitors: Plain[] = []
  while (visitors.length < count) {
    const some = Array.from({ length: Math.min(together, count - visitors.length) }, () => Plain.dial(at))
    visitors.push(...(await within(60_000, Promise.all(some), () => `${visitors.length} of ${count} connected`)))
  }
  return visitors
}

async function oneByteEach(visitors: Plain[]): Promise<number> {
  const answers = visitors.map(async (visitor, i) => {
    await visitor.send(Buffer.of(i & 255))
    return (await visitor.read(1))[0] === (i & 255)
  })
  return (await within(120_000, Promise.all(answers), () => 'not all answered')).filter(right => right).length
}

/** SYNs that the kernel dropped because a listener's queue was full. */
function dropped(): number {
  const [names = '', values = ''] = readFileSync('/proc/net/netstat', 'latin1')
    .split('\n')
    .filter(line => line.startsWith('TcpExt:'))
  const at = names.split(' ').indexOf('ListenOverflows')
  return at < 0 ? 0 : Number(values.split(' ')[at])
}

describe('a crowd', () => {
  test('10,000 idle connections at once, then one byte each', async () => {
    const count = room(10_000)
    await using echoing = await served('echo')
    await using tunnel = await tunnelTo(echoing.local)
    const before = tunnel.relay.sockets()
    const memory = tunnel.relay.pss()
    const visitors = await dialAll(tunnel.at, count, 500).catch(thrown => {
      throw new Error(`${String(thrown)}\n${tunnel.relay.said}\n${tunnel.agent.said}`)
    })
    await until(() => tunnel.relay.sockets() >= before + count, 'the relay has them all', 60_000)
    const each = Math.round((tunnel.relay.pss() - memory) / count)
    console.log(`${count} idle visitors cost the relay ${each} bytes each`)
    expect(await oneByteEach(visitors)).toBe(count)
    // And all of them leave: nothing stays behind.
    for (const visitor of visitors) visitor.finish()
    await until(() => tunnel.relay.sockets() <= before, 'the relay has let them all go', 60_000)
  }, 240_000)

  test('3,000 connect at the same moment: none has to knock twice', async () => {
    const count = room(3000)
    await using echoing = await served('echo')
    await using tunnel = await tunnelTo(echoing.local)
    const before = dropped()
    const began = performance.now()
    const visitors = await dialAll(tunnel.at, count, count)
    console.log(`${count} connected in ${Math.round(performance.now() - began)} ms`)
    expect(dropped()).toBe(before)
    expect(await oneByteEach(visitors)).toBe(count)
    for (const visitor of visitors) visitor.reset()
  }, 120_000)

  test('14,000 connect while the agent hangs for a moment: all wait for it, and none is turned away', async () => {
    const count = room(14_000)
    await using echoing = await served('echo')
    await using tunnel = await tunnelTo(echoing.local)
    tunnel.agent.signal('SIGSTOP')
    const visitors = await dialAll(tunnel.at, count, 500)
    // Each has said something, so that the session has all it can take before the agent goes on.
    const answers = visitors.map(async visitor => {
      await visitor.send('?')
      return (await visitor.read(1)).toString()
    })
    const all = Promise.allSettled(answers)
    tunnel.agent.signal('SIGCONT')
    const told = (await all).map(answer => (answer.status === 'fulfilled' ? answer.value : String(answer.reason)))
    expect(told.filter(answer => answer !== '?')).toEqual([])
    for (const visitor of visitors) visitor.reset()
  }, 60_000)

  test('500 come and go one after the other: no descriptor stays behind', async () => {
    await using echoing = await served('echo')
    await using tunnel = await tunnelTo(echoing.local)
    const before = { relay: tunnel.relay.sockets(), agent: tunnel.agent.sockets() }
    for (let i = 0; i < 500; i++) {
      const visitor = await Plain.dial(tunnel.at)
      await visitor.send('x')
      await visitor.read(1)
      if (i % 3 === 0) visitor.reset()
      else visitor.finish()
    }
    await until(() => tunnel.relay.sockets() <= before.relay, 'the relay has let them all go')
    await until(() => tunnel.agent.sockets() <= before.agent, 'the agent has let them all go')
  }, 60_000)
})
