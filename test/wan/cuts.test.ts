// Open streams outlive the link: cuts, resets of the connection that carries them, another address of the agent's host.
// Every byte of every stream is compared, in both directions, and the kind of every end. Long forms: npm run prove.
import { describe, expect, test } from 'bun:test'
import { cutsDuring, pastTheHold, repeated, storm } from './cuts.ts'

const SEED = Number(process.env['SEED'] ?? 11)

describe(`streams while the link is cut (SEED=${SEED})`, () => {
  test('for 1, 3 and 5 s, noticed after 1.5 s', async () => {
    const { streams, lost, strays, breaks, cutWhileOpen } = await cutsDuring(SEED, [1000, 3000, 5000], {
      deadAfter: '1500ms',
      slots: 24,
    })
    expect({ streams, lost, strays, cutWhileOpen }).toEqual({
      streams: 24,
      lost: [],
      strays: 0,
      cutWhileOpen: [24, 24, 24],
    })
    expect(breaks).toMatchObject({ expired: 0, held: breaks.resumed })
    expect(breaks.held).toBeGreaterThanOrEqual(2)
  }, 120_000)

  test('for 20 s, with the limits that everybody has', async () => {
    const { streams, lost, strays, breaks } = await cutsDuring(SEED, [20_000], { deadAfter: '5s', slots: 24 })
    expect({ streams, lost, strays }).toEqual({ streams: 24, lost: [], strays: 0 })
    expect(breaks).toMatchObject({ held: 1, resumed: 1, expired: 0 })
  }, 120_000)

  for (const only of ['a', 'b'] as const)
    test(`one way: only what the ${only === 'a' ? 'agent' : 'relay'} sends is dropped, for 7 s`, async () => {
      const { streams, lost, strays, breaks } = await cutsDuring(SEED, [7000], { deadAfter: '5s', slots: 12, only })
      expect({ streams, lost, strays }).toEqual({ streams: 12, lost: [], strays: 0 })
      expect(breaks).toMatchObject({ held: 1, resumed: 1, expired: 0 })
    }, 120_000)

  test('the connection that carries them is reset, 5 times', async () => {
    const { streams, lost, strays, breaks } = await repeated(SEED, 'reset', 5, 24)
    expect({ streams, lost, strays }).toEqual({ streams: 24, lost: [], strays: 0 })
    expect(breaks).toMatchObject({ held: 5, resumed: 5, expired: 0 })
  }, 120_000)

  test("the address of the agent's host changes, 3 times: noticed at once, not by silence", async () => {
    const { streams, lost, strays, breaks, backMs } = await repeated(SEED, 'roam', 3, 24)
    expect({ streams, lost, strays }).toEqual({ streams: 24, lost: [], strays: 0 })
    expect(breaks).toMatchObject({ held: 3, resumed: 3, expired: 0 })
    expect(Math.max(...backMs)).toBeLessThan(4000)
  }, 120_000)

  test('10 random mishaps during 64 transfers', async () => {
    const { lost, strays, breaks, mishaps, streams } = await storm(SEED, 10, 64)
    console.log(
      `storm: ${mishaps.join(', ')}; ${streams} streams, ${breaks.held} times held, ${breaks.replayed} bytes again`,
    )
    expect({ lost, strays }).toEqual({ lost: [], strays: 0 })
    expect(mishaps.length).toBe(10)
    expect(breaks).toMatchObject({ expired: 0, held: breaks.resumed })
    expect(breaks.held).toBeGreaterThan(0)
  }, 240_000)

  test('past the hold every one is reset, at both outer sockets', async () => {
    const { streams, ends, afterMs } = await pastTheHold(SEED, 4000, 12)
    const resets = Array.from({ length: 12 }, () => ['visitor rst', 'service rst']).flat()
    expect({ streams, ends }).toEqual({ streams: 12, ends: resets })
    // Silent for 1.5 s, and the hold.
    for (const ms of [afterMs.agent, afterMs.relay]) {
      expect(ms).toBeGreaterThan(4000)
      expect(ms).toBeLessThan(1500 + 4000 + 500)
    }
  }, 120_000)
})
