// ~2,000 schedules of the simulation. SEED replays a run, SCHEDULES changes how many, FIRST where they begin.
import { expect, test } from 'bun:test'
import { simulateMany } from './simulation.ts'

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 0xffff_ffff))
const count = Number(process.env['SCHEDULES'] ?? 2000)
const first = Number(process.env['FIRST'] ?? 0)

test(`${count} schedules keep every promise of the model (SEED=${seed})`, () => {
  console.log(`simulation: SEED=${seed}`)
  const tally = simulateMany(seed, count, first)
  expect(tally.schedules).toBe(count)
  if (count >= 500) {
    // The schedules reach what they are for.
    for (const n of Object.values(tally)) expect(n).toBeGreaterThan(10)
  }
}, 60_000)
