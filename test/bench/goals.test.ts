// What a verdict on the bench's page rests on.
import { describe, expect, test } from 'bun:test'
import { close, closeFar, FAR_GOALS, GOALS, judge, ratio } from '../../bench/goals.ts'
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
  test('when it hangs on one round', () => {
    const values = found([70, 100], [50, 100], [60, 100])
    expect(judge(goal, bound, ratio(values, goal, 'haproxy')!)).toBe('must')
    expect(close(values, goal, bound)).toBe(true)
  })

  test('when all rounds are about at the limit', () => {
    const values = found([7227, 12494], [7544, 12562], [7067, 11811], [7829, 13444], [7731, 13165])
    expect(judge(goal, bound, ratio(values, goal, 'haproxy')!)).toBe('must')
    expect(close(values, goal, bound)).toBe(true)
  })

  test('also of many rounds, none of which decides it alone', () => {
    const values = found([50, 100], [52, 100], [61, 100], [62, 100], [63, 100], [64, 100], [65, 100])
    for (let left = 0; left < 7; left++) {
      const others = [0, 1, 2, 3, 4, 5, 6].filter(round => round !== left)
      expect(judge(goal, bound, ratio(values, goal, 'haproxy', others)!)).toBe('must')
    }
    expect(close(values, goal, bound)).toBe(true)
  })

  test('and not when all rounds agree', () => {
    expect(close(found([70, 100], [71, 100], [69, 100]), goal, bound)).toBe(false)
    expect(close(found([50, 100], [51, 100], [49, 100]), goal, bound)).toBe(false)
  })

  test('far away as well', () => {
    const far = FAR_GOALS.find(({ name }) => name.startsWith('bulk beside'))!
    const kept = (...parts: number[]): Values =>
      new Map([
        ['ms20-left', new Map([['warren', parts]])],
        ['ms20-bulk', new Map([['warren', parts.map(() => 1)]])],
      ])
    expect(closeFar(kept(0.94, 0.96, 0.97, 0.96), far)).toBe(true)
    expect(closeFar(kept(0.97, 0.98, 0.97, 0.96), far)).toBe(false)
  })
})

test('without a peer nothing is said of the best one', () => {
  const values: Values = new Map([['loss-bulk', new Map([['warren', [25]]])]])
  expect(FAR_GOALS.find(({ name }) => name.includes('best other'))!.find(values)).toBeNaN()
})
