// How often a session's wishes reach the disk.
import { afterEach, beforeEach, expect, jest, test } from 'bun:test'
import { Asks } from '../../src/relay/asks.ts'

const tunnel = (id: number) => ({ id, name: `s${id}`, port: null })

function watched(processes = 1) {
  const done: (number[] | number)[] = []
  const asks = new Asks(
    asked => done.push(asked.map(({ id }) => id)),
    id => done.push(id),
    () => done.push(-1),
    () => processes,
  )
  return { asks, done }
}

beforeEach(() => {
  jest.useFakeTimers()
})

afterEach(() => {
  jest.useRealTimers()
})

test('what comes in one turn is granted in one go', async () => {
  const { asks, done } = watched()
  for (let id = 0; id < 200; id++) asks.add(tunnel(id))
  await null
  expect(done).toEqual([Array.from({ length: 200 }, (_, id) => id)])
})

test('what is given back and asked for again waits its turn, in order', async () => {
  const { asks, done } = watched()
  for (let n = 0; n < 3; n++) {
    asks.add(tunnel(1))
    asks.add(1)
  }
  await null
  expect(done).toEqual([[1]])
  jest.advanceTimersByTime(100)
  expect(done).toEqual([[1], 1, [1]])
  jest.advanceTimersByTime(200)
  expect(done).toEqual([[1], 1, [1], 1, [1], 1])
})

test('each of a key’s processes waits for the others', async () => {
  const { asks, done } = watched(3)
  asks.add(tunnel(1))
  await null
  asks.add(1)
  asks.add(tunnel(1))
  jest.advanceTimersByTime(299)
  expect(done).toEqual([[1]])
  jest.advanceTimersByTime(2)
  expect(done).toEqual([[1], 1, [1]])
})

test('more than may wait is too many', () => {
  const { asks, done } = watched()
  for (let n = 0; n < 256; n++) {
    asks.add(tunnel(1))
    asks.add(1)
  }
  expect(done).toEqual([])
  asks.add(tunnel(1))
  expect(done).toEqual([-1])
})

test('of a session that is over nothing is granted any more', async () => {
  const { asks, done } = watched()
  asks.add(tunnel(1))
  asks.stop()
  asks.add(tunnel(2))
  await null
  jest.advanceTimersByTime(1_000)
  expect(done).toEqual([])
})
