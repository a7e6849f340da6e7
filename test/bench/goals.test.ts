// What a verdict on the bench's page rests on.
import { describe, expect, test } from 'bun:test'
import { close, FAR_GOALS, GOALS, judge, ratio } from '../../bench/goals.ts'
import type { Values } from '../../bench/run.ts'

const goal = GOALS.find(({ name }) => name.startsWith('new connections'))!
const bound = goal.bounds.find(({ against }) => against === 'haproxy')!

/** warren's and haproxy's connections a second, a round each. */
const found = (...rounds: [number, number][]): Values =>
  new Map([
    [
      'conn16',
      new Map([
        ['warren', rounds.map(([warren]) => warren)],
        ['haproxy', rounds.map(([, haproxy]) => haproxy)],
      ]),
    ],
  ])

describe('a verdict is close', () => {
  test('when leaving out one round turns it', () => {
    const values = found([70, 100], [50, 100], [60, 100])
    expect(judge(goal, bound, ratio(values, goal, 'haproxy')!)).toBe('must')
    expect(close(values, goal, bound)).toBe(true)
  })

  test('when leaving out any round turns it', () => {
    const values = found([7227, 12494], [7544, 12562], [7067, 11811], [7829, 13444], [7731, 13165])
    expect(judge(goal, bound, ratio(values, goal, 'haproxy')!)).toBe('must')
    for (let without = 0; without < 5; without++)
      expect(judge(goal, bound, ratio(values, goal, 'haproxy', without)!)).toBe('short')
    expect(close(values, goal, bound)).toBe(true)
  })

  test('and not when no round does', () => {
    expect(close(found([70, 100], [71, 100], [69, 100]), goal, bound)).toBe(false)
    expect(close(found([50, 100], [51, 100], [49, 100]), goal, bound)).toBe(false)
  })
})

test('without a peer nothing is said of the best one', () => {
  const values: Values = new Map([['loss-bulk', new Map([['warren', [25]]])]])
  expect(FAR_GOALS.find(({ name }) => name.includes('best other'))!.find(values)).toBeNaN()
})
