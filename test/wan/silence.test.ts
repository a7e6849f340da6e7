// A silent link is noticed by both sides within --dead-after and half a second; nothing else is taken for one. The forms
// of 10 minutes: npm run prove.
import { describe, expect, test } from 'bun:test'
import { type Calm, silences, stops, underFullLoad, watched } from './silence.ts'
import { lasting } from './site.ts'

const SEED = Number(process.env['SEED'] ?? 12)
const WATCH_MS = 20_000

function expectCalm({ alarms, carried, said }: Calm): void {
  expect(carried.flatMap(({ lost }) => lost)).toEqual([])
  if (alarms > 0) throw new Error(`${alarms} alarms\n${said}`)
}

describe(`a link that falls silent (SEED=${SEED})`, () => {
  for (const [deadAfterMs, times, busy] of [
    [5000, 3, false],
    [1500, 5, false],
    [1500, 5, true],
  ] as const)
    test(`is noticed by both sides after ${deadAfterMs} ms and 500 ms at most, ${busy ? 'full of bulk' : 'idle'}`, async () => {
      const noticed = await silences(SEED, deadAfterMs, times, busy)
      expect(noticed).toHaveLength(times)
      const slowest = Math.max(...noticed.flatMap(({ agent, relay }) => [agent, relay]))
      console.log(`noticed, ${deadAfterMs} ms, ${busy ? 'bulk' : 'idle'}: after ${slowest.toFixed(0)} ms at most`)
      expect(slowest).toBeLessThanOrEqual(deadAfterMs + 500)
    }, 120_000)
})

describe.concurrent(`no false alarm (SEED=${SEED})`, () => {
  const lossy = { link: { loss: 5, delay: 50, seed: SEED } }
  const slow = { link: { rate: 0.16, delay: 10 } }

  test('at 5 % loss and 100 ms, idle', async () => {
    expectCalm(await watched(lossy, 'nothing', () => lasting(WATCH_MS)))
  }, 120_000)

  test('at 5 % loss and 100 ms, with bulk', async () => {
    expectCalm(await watched(lossy, 'from the agent', () => lasting(WATCH_MS)))
  }, 120_000)

  for (const load of ['from the agent', 'to the agent'] as const)
    test(`at 20 kB/s, full of bulk ${load}`, async () => {
      expectCalm(await watched(slow, load, () => lasting(WATCH_MS)))
    }, 120_000)

  for (const load of ['nothing', 'from the agent'] as const)
    test(`with either side stopped for 4 s, 3 times, link carrying ${load}`, async () => {
      expectCalm(await watched({ link: { delay: 10, rate: 8 } }, load, site => stops(SEED, 3, site)))
    }, 120_000)
})

// Not beside the others: a machine that is busy with this would be the reason of theirs.
test('no false alarm under full load of every core', async () => {
  expectCalm(await watched({ link: { delay: 10, rate: 40 } }, 'from the agent', () => underFullLoad(WATCH_MS)))
}, 120_000)
