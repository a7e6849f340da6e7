// A bag against a set: what is in it, that a draw takes none of what is refused, and that every item can be drawn.
import { expect, test } from 'bun:test'
import { Bag } from '../../src/relay/bag.ts'
import { Random } from '../oracle/random.ts'

const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))

test(`holds what was added and not removed, and draws every item of it (SEED=${SEED})`, () => {
  const r = new Random(SEED)
  const random = () => r.between(0, 2 ** 30 - 1) / 2 ** 30
  const bag = new Bag()
  const model = new Set<number>()
  for (let step = 0; step < 5000; step++) {
    const item = r.between(0, 39)
    if (model.has(item) || r.between(0, 2) === 0) {
      bag.remove(item)
      model.delete(item)
    } else {
      bag.add(item)
      model.add(item)
    }
    const seen = new Set<number>()
    const refuse = (drawn: number) => {
      seen.add(drawn)
      return false
    }
    expect(bag.draw(random, refuse)).toBeNull()
    expect([...seen].sort((a, b) => a - b)).toEqual([...model].sort((a, b) => a - b))
    const only = [...model][0]
    if (only !== undefined) expect(bag.draw(random, drawn => drawn === only)).toBe(only)
  }
  bag.clear()
  expect(bag.draw(random, () => true)).toBeNull()
})
