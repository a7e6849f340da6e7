// Promise 1, as a program at either end would see it: a fixed 300 scripts through a real relay and a real agent.
import { expect, test } from 'bun:test'
import { scriptText } from '../oracle/script.ts'
import { openWay } from './ways.ts'

const SEED = Number(process.env['SEED'] ?? 2)

test(`300 scripts behave as when direct (SEED=${SEED})`, async () => {
  await using way = await openWay('tunnel', 24)
  const { ran, failures, strays } = await way.oracle.run(SEED, 0, 300)
  const told = failures.map(failure => ({ problems: failure.problems, script: scriptText(failure.script) }))
  expect({ ran, failures: told, strays }).toEqual({ ran: 300, failures: [], strays: 0 })
  // What the scripts ended is gone on both sides: no descriptor stays behind.
  for (const agent of way.agents)
    expect(agent.events.some(event => event.event === 'session' && event.state === 'lost')).toBe(false)
}, 120_000)

test(`40 scripts through three chained tunnels (SEED=${SEED})`, async () => {
  await using way = await openWay('chain3', 12)
  const { ran, failures, strays } = await way.oracle.run(SEED, 1000, 40)
  const told = failures.map(failure => ({ problems: failure.problems, script: scriptText(failure.script) }))
  expect({ ran, failures: told, strays }).toEqual({ ran: 40, failures: [], strays: 0 })
}, 120_000)
