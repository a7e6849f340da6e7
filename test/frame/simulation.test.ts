// Schedules of the simulation, over one connection and over connections that break. SEED replays a run, SCHEDULES changes
// how many, FIRST where they begin.
import { expect, test } from 'bun:test'
import { simulateMany, type Tally } from './simulation.ts'

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 0xffff_ffff))
const first = Number(process.env['FIRST'] ?? 0)

/** What only a broken connection brings about. */
const OF_CUTS: readonly string[] = ['cuts', 'brokenOff', 'replayed', 'late', 'endedHeld'] satisfies (keyof Tally)[]

for (const { cuts, usual } of [
  { cuts: 0, usual: 2000 },
  { cuts: 3, usual: 750 },
  { cuts: 25, usual: 750 },
]) {
  const count = Number(process.env['SCHEDULES'] ?? usual)
  test(`${count} schedules with up to ${cuts} cuts keep every promise of the model (SEED=${seed})`, () => {
    console.log(`simulation: SEED=${seed}, up to ${cuts} cuts`)
    const tally = simulateMany(seed, count, first, cuts)
    expect(tally.schedules).toBe(count)
    // The schedules reach what they are for.
    for (const [what, n] of Object.entries(tally)) {
      if (cuts === 0 && OF_CUTS.includes(what)) expect(n).toBe(0)
      else if (count >= 500) expect(n).toBeGreaterThan(10)
    }
  }, 60_000)
}
