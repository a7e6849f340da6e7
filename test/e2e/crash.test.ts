// The short form of the crash proof; `bun run prove` has the long one.
import { describe, expect, test } from 'bun:test'
import { crashes } from './crash.ts'

const SEED = Number(process.env['SEED'] ?? 3)
const ROUNDS = 3

describe(`kill -9 under load (SEED=${SEED})`, () => {
  for (const who of ['relay', 'agent'] as const) {
    test(`${who}, ${ROUNDS} times: the same port comes back, nothing leaks, no clean end too early`, async () => {
      const { stats, backAfterMs } = await crashes(who, ROUNDS, SEED)
      console.log(`${who}: ${stats.complete} complete, ${stats.reset} reset, back after ${backAfterMs.join(', ')} ms`)
      expect(stats.wrong).toEqual([])
      expect(stats.open).toBe(0)
      expect(stats.complete).toBeGreaterThan(0)
      // It was under load, and the crash was felt.
      expect(stats.reset).toBeGreaterThan(0)
    }, 120_000)
  }
})
