// Many bytes, slow readers, and one visitor that must not hurt another.
import { describe, expect, test } from 'bun:test'
import { block, Plain, service, sha256 } from './plain.ts'
import { served } from './served.ts'
import { median, ratesBesideStuck } from './stuck.ts'
import { tunnelTo, until, within } from './warren.ts'

const TOTAL = 64 << 20
const PIECE = 1 << 20
/** A process's memory no longer changes when so many looks in a row find the same. */
const LOOKS_ALIKE = 30

/** The 64 MiB of one direction, piece by piece, the same for the same seed. */
const piece = (seed: number, at: number) => block(seed * 1000 + at, PIECE)

async function sendAll(plain: Plain, seed: number): Promise<string> {
  const hash = new Bun.CryptoHasher('sha256')
  for (let i = 0; i < TOTAL / PIECE; i++) {
    const bytes = piece(seed, i)
    hash.update(bytes)
    if (!(await plain.send(bytes))) throw new Error(`gone after ${i} MiB`)
  }
  plain.finish()
  return hash.digest('hex')
}

/** Reads in gulps with breaks between, so that the other side is stopped again and again. */
function readSlowly(plain: Plain): Promise<string> {
  const hash = new Bun.CryptoHasher('sha256')
  let since = 0
  plain.keep = false
  plain.onData = chunk => {
    hash.update(chunk)
    since += chunk.length
    if (since < PIECE * 2) return
    since = 0
    plain.pause()
    setTimeout(() => plain.resume(), 8)
  }
  return plain.ended.then(end => (end === 'fin' ? hash.digest('hex') : `${end} after ${plain.received}`))
}

describe('bulk', () => {
  test('64 MiB each way at once, while both read slowly: the same hashes', async () => {
    const arrived = Promise.withResolvers<{ up: string; sent: string }>()
    using both = service(plain => {
      if (both.accepted.length < 2) return // The agent looking whether the service answers.
      const up = readSlowly(plain)
      void Promise.all([up, sendAll(plain, 2)]).then(([up, sent]) => arrived.resolve({ up, sent }), arrived.reject)
    })
    await using tunnel = await tunnelTo(both.local)
    await until(() => both.accepted.length > 0, 'the agent has looked')
    const visitor = await Plain.dial(tunnel.at)
    const down = readSlowly(visitor)
    const sent = await within(90_000, sendAll(visitor, 1), () => `sent with ${visitor.received} received`)
    const service_ = await within(90_000, arrived.promise, () => `the service has ${both.accepted[1]?.received}`)
    expect(service_.up).toBe(sent)
    expect(await within(90_000, down, () => `received ${visitor.received}`)).toBe(service_.sent)
  }, 120_000)

  test('what a visitor does not read is not held: relay and agent stay small', async () => {
    await using source = await served('source')
    await using tunnel = await tunnelTo(source.local)
    // What a process takes for itself once it has worked is not the visitors'.
    const warm = await Plain.dial(tunnel.at)
    warm.keep = false
    await until(() => warm.received > 256 << 20, 'some bytes have flowed')
    warm.reset()
    const before = { relay: tunnel.relay.pss(), agent: tunnel.agent.pss() }
    const visitors: Plain[] = []
    for (let i = 0; i < 20; i++) {
      const visitor = await Plain.dial(tunnel.at)
      visitor.pause()
      visitors.push(visitor)
    }
    // Full when the service's sending stops: nobody takes a byte any more.
    let settled = -1
    let looks = 0
    await until(
      () => {
        const agent = tunnel.agent.pss()
        const same = Math.abs(agent - settled) < 65_536
        if (!same) settled = agent
        looks = same ? looks + 1 : 0
        return looks === LOOKS_ALIKE
      },
      'all buffers are full',
      30_000,
    )
    // First credit and what one read gives, for each; half as much again for what an allocator keeps.
    const most = 20 * (64 + 512) * 1024 * 1.5 + (24 << 20)
    const held = { relay: tunnel.relay.pss() - before.relay, agent: tunnel.agent.pss() - before.agent }
    console.log(
      `20 visitors that never read: the relay holds ${held.relay >> 20} MiB more, the agent ${held.agent >> 20} MiB`,
    )
    expect(held.relay).toBeLessThan(most)
    expect(held.agent).toBeLessThan(most)
    for (const visitor of visitors) visitor.reset()
  }, 60_000)

  test('a visitor that never reads: the others keep at least 0.7 of their rate', async () => {
    const ratios = await ratesBesideStuck(5)
    console.log(`rates beside visitors that never read: ${ratios.map(r => r.toFixed(2)).join(' ')} of those alone`)
    expect(median(ratios)).toBeGreaterThan(0.7)
  }, 120_000)

  test('a flood of 1-byte writes arrives in order', async () => {
    const expected = block(3, 20_000)
    using collecting = service(plain => void plain.ended.then(() => plain.finish()))
    await using tunnel = await tunnelTo(collecting.local)
    await until(() => collecting.accepted.length > 0, 'the agent has looked')
    const next = collecting.next()
    const visitor = await Plain.dial(tunnel.at)
    for (let i = 0; i < expected.length; i++) await visitor.send(expected.subarray(i, i + 1))
    visitor.finish()
    const { bytes, end } = await (await next).readAll()
    expect({ end, sha: sha256(bytes) }).toEqual({ end: 'fin', sha: sha256(expected) })
  }, 60_000)
})
