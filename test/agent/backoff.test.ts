import { expect, test } from 'bun:test'
import { Backoff } from '../../src/agent/backoff.ts'

test('0.1 s, doubling to 10 s', () => {
  const backoff = new Backoff(() => 1)
  const waits = Array.from({ length: 9 }, () => backoff.next())
  expect(waits).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
})

test('full jitter: anything from nothing to the ceiling', () => {
  expect(new Backoff(() => 0).next()).toBe(0)
  const half = new Backoff(() => 0.5)
  expect([half.next(), half.next()]).toEqual([50, 100])
})

test('up to 2 s once the relay said goodbye, until a session has lasted', () => {
  const backoff = new Backoff(() => 1)
  backoff.next()
  backoff.goodbye()
  const waits = Array.from({ length: 7 }, () => backoff.next())
  expect(waits).toEqual([100, 200, 400, 800, 1600, 2000, 2000])
  backoff.sessionLasted(1_000)
  expect(Array.from({ length: 8 }, () => backoff.next()).at(-1)).toBe(10_000)
})

test('only a session that lasted starts it anew', () => {
  const backoff = new Backoff(() => 1)
  backoff.next()
  backoff.next()
  backoff.sessionLasted(999)
  expect(backoff.next()).toBe(400)
  backoff.sessionLasted(1_000)
  expect(backoff.next()).toBe(100)
})
