// How many sessions a relay holds, and for how long.
import { afterAll, describe, expect, test } from 'bun:test'
import { Holds } from '../../src/relay/holds.ts'
import type { Member } from '../../src/relay/sessions.ts'
import { until } from '../e2e/warren.ts'

const LONG_MS = 60_000

/** A member is only its name and key here, and what its session keeps. */
function member(name: string, held = 0, fingerprint = 'k'): Member {
  return { name, fingerprint, session: { held } } as unknown as Member
}

function holding(limits: { sessions: number; bytes: number }) {
  const expired: { name: string; reason: string; size: number }[] = []
  const members: Member[] = []
  const holds: Holds = new Holds(limits, ({ name }, reason) => expired.push({ name, reason, size: holds.size }))
  afterAll(() => {
    for (const m of members) holds.release(m)
  })
  return {
    holds,
    expired,
    names: () => expired.map(e => e.name),
    hold(name: string, held = 0, ms = LONG_MS, fingerprint = 'k'): Member {
      const held_ = member(name, held, fingerprint)
      members.push(held_)
      holds.hold(held_, ms)
      return held_
    },
  }
}

test('a session expires after its time, once, and is no longer counted by then', async () => {
  const { holds, expired, hold } = holding({ sessions: 10, bytes: 1_000 })
  hold('a', 7, 20)
  expect([holds.size, holds.bytes]).toEqual([1, 7])
  await until(() => expired.length > 0, 'expired')
  expect(expired).toEqual([{ name: 'a', reason: 'not resumed within 0.02 s', size: 0 }])
  expect(holds.bytes).toBe(0)
})

test('one that is released says how long it was held, and never expires', async () => {
  const { holds, expired, hold } = holding({ sessions: 10, bytes: 1_000 })
  const a = hold('a', 7, 20)
  const b = hold('b', 5, 40)
  expect(holds.release(a)).toBeGreaterThanOrEqual(0)
  expect(holds.release(a)).toBeNull()
  await until(() => expired.length > 0, 'the other expired')
  expect(expired.map(e => e.name)).toEqual(['b'])
  expect(holds.release(b)).toBeNull()
  expect([holds.size, holds.bytes]).toEqual([0, 0])
})

describe('over a limit the oldest is given up first', () => {
  test('of sessions', () => {
    const { holds, expired, names, hold } = holding({ sessions: 3, bytes: 1_000 })
    for (const name of ['a', 'b', 'c']) hold(name)
    expect(names()).toEqual([])
    hold('d')
    hold('e')
    expect(names()).toEqual(['a', 'b'])
    expect(expired[0]!.reason).toContain('too much')
    expect(holds.size).toBe(3)
  })

  test('of bytes, as many as it takes', () => {
    const { holds, names, hold } = holding({ sessions: 10, bytes: 100 })
    hold('a', 40)
    hold('b', 20)
    hold('c', 40)
    expect(names()).toEqual([])
    hold('d', 50)
    expect(names()).toEqual(['a', 'b'])
    expect(holds.bytes).toBe(90)
  })

  test('also when the newest alone is too much: then nothing is held', () => {
    const { holds, names, hold } = holding({ sessions: 10, bytes: 100 })
    hold('a', 10)
    hold('b', 101)
    expect(names()).toEqual(['a', 'b'])
    expect([holds.size, holds.bytes]).toEqual([0, 0])
  })

  test('whoever was resumed meanwhile is the youngest again', () => {
    const { holds, names, hold } = holding({ sessions: 2, bytes: 100 })
    const a = hold('a')
    hold('b')
    holds.release(a)
    holds.hold(a, LONG_MS)
    hold('c')
    expect(names()).toEqual(['b'])
  })
})

describe('a key pushes out its own sessions, and nobody else’s', () => {
  test('with many of them', () => {
    const { names, hold } = holding({ sessions: 4, bytes: 1_000 })
    hold('first', 0, LONG_MS, 'one')
    hold('second', 0, LONG_MS, 'two')
    for (const name of ['a', 'b', 'c', 'd', 'e']) hold(name, 0, LONG_MS, 'many')
    expect(names()).toEqual(['a', 'b', 'c'])
  })

  test('with much that they keep', () => {
    const { holds, names, hold } = holding({ sessions: 100, bytes: 100 })
    hold('first', 10, LONG_MS, 'one')
    hold('second', 20, LONG_MS, 'two')
    for (const name of ['a', 'b', 'c', 'd']) hold(name, 30, LONG_MS, 'many')
    expect(names()).toEqual(['a', 'b'])
    hold('too much alone', 101, LONG_MS, 'another')
    expect(names()).toEqual(['a', 'b', 'too much alone'])
    expect(holds.bytes).toBe(90)
  })

  test('also with ten thousand that break at once, each of its own key, in no time', () => {
    const { holds, names, hold } = holding({ sessions: 10_000, bytes: 1_000 })
    const began = performance.now()
    for (let n = 0; n < 20_000; n++) hold(`${n}`, 0, LONG_MS, `key ${n}`)
    // As many looks at every key would take seconds.
    expect(performance.now() - began).toBeLessThan(1_500)
    expect([holds.size, names().length, names()[0], names().at(-1)]).toEqual([10_000, 10_000, '0', '9999'])
  })

  test('between keys that have as much the oldest goes', () => {
    const { names, hold } = holding({ sessions: 3, bytes: 100 })
    for (const name of ['a', 'b', 'c', 'd', 'e']) hold(name, 20, LONG_MS, name)
    expect(names()).toEqual(['a', 'b'])
  })
})
