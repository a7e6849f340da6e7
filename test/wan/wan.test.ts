// A long way between relay and agent: 40 ms there and back, one packet in a hundred lost, both by a real TCP stack.
import { describe, expect, test } from 'bun:test'
import { openWay } from '../e2e/ways.ts'
import { scriptText } from '../oracle/script.ts'

const SEED = Number(process.env['SEED'] ?? 5)

describe(`over a long link (SEED=${SEED})`, () => {
  test('100 scripts behave as when direct, with 1 % loss and 40 ms', async () => {
    await using way = await openWay('wan', 24, { loss: 1, delay: 20, seed: SEED })
    const { ran, failures, strays } = await way.oracle.run(SEED, 0, 100)
    const told = failures.map(failure => ({ problems: failure.problems, script: scriptText(failure.script) }))
    expect({ ran, failures: told, strays }).toEqual({ ran: 100, failures: [], strays: 0 })
    const lost = way.agents[0]!.events.filter(event => event.event === 'session' && event.state === 'lost')
    expect(lost).toEqual([])
  }, 300_000)

  test('and 100 with cuts, resets and other addresses all the time', async () => {
    await using way = await openWay('wan', 24, { loss: 1, delay: 20, seed: SEED, cuts: true })
    const { ran, failures, strays } = await way.oracle.run(SEED, 1000, 100)
    const told = failures.map(failure => ({ problems: failure.problems, script: scriptText(failure.script) }))
    expect({ ran, failures: told, strays }).toEqual({ ran: 100, failures: [], strays: 0 })
    const resumed = way.agents[0]!.events.filter(event => event.event === 'session' && event.state === 'resumed')
    expect(resumed.length).toBeGreaterThan(0)
  }, 300_000)
})
