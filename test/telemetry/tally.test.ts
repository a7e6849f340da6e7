import { afterEach, expect, jest, test } from 'bun:test'
import { Tally } from '../../src/telemetry/tally.ts'

afterEach(() => void jest.useRealTimers())

test('however many there are, one line a second tells how many; the next second counts anew', () => {
  jest.useFakeTimers()
  const told: number[] = []
  const tally = new Tally(count => told.push(count))
  for (let n = 1; n <= 5_000; n++) expect(tally.add()).toBe(n)
  jest.advanceTimersByTime(999)
  expect(told).toEqual([])
  jest.advanceTimersByTime(1)
  expect(told).toEqual([5_000])
  jest.advanceTimersByTime(60_000)
  expect(told).toEqual([5_000])
  expect(tally.add()).toBe(1)
  jest.advanceTimersByTime(1_000)
  expect(told).toEqual([5_000, 1])
})
