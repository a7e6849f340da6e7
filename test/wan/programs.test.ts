// What a user sees: a database under load, a copy and a shell go on over a link that breaks. Long forms: npm run prove.
import { expect, test } from 'bun:test'
import { downloadOnLongerPath, pgbenchThroughCuts, scpThroughCuts, shellThroughCut } from './programs.ts'

test('pgbench -c 20 with a cut of 7 s and a reset: no transaction fails, nobody connects again', async () => {
  const { err, breaks, transactions, ...done } = await pgbenchThroughCuts(25, '30s')
  console.log(`pgbench: ${transactions} transactions, held ${breaks.held} times`)
  expect({ ...done, err }).toEqual({ status: 0, failed: '0', connections: 21, err: expect.any(String) })
  expect(breaks).toMatchObject({ held: breaks.resumed, expired: 0 })
  expect(breaks.held).toBeGreaterThanOrEqual(2)
  expect(transactions).toBeGreaterThan(0)
}, 180_000)

test('the same without holding: it is the hold that carries them', async () => {
  const { status, breaks } = await pgbenchThroughCuts(25, '0')
  expect(status).not.toBe(0)
  expect(breaks.resumed).toBe(0)
}, 180_000)

test('scp of 100 MB through 3 cuts', async () => {
  const { same, bytes, cuts, breaks } = await scpThroughCuts(100, 3)
  expect({ same, bytes, cuts, expired: breaks.expired }).toEqual({ same: true, bytes: 100 << 20, cuts: 3, expired: 0 })
  expect(breaks.held).toBeGreaterThan(0)
}, 240_000)

test('an ssh shell after a cut of 8 s, and what was typed meanwhile', async () => {
  const { breaks, ...talked } = await shellThroughCut(8000)
  expect(talked).toEqual({ before: 'before', after: 'after', sameShell: true })
  expect(breaks).toMatchObject({ held: 1, resumed: 1, expired: 0 })
}, 120_000)

test('a download goes on at the rate of its link when the path becomes five times as long', async () => {
  // 12.5 MB/s. A direct connection's BBR needs ten seconds to see the longer path, too.
  const rates = await downloadOnLongerPath({ delay: 10, rate: 100, queue: 2000 }, 50, 5, 40)
  console.log(`MB/s: ${rates.map(rate => rate.toFixed(0)).join(' ')}`)
  expect(Math.min(...rates.slice(2, 5))).toBeGreaterThan(10)
  const last = rates.slice(30)
  expect(last.reduce((sum, rate) => sum + rate, 0) / last.length).toBeGreaterThan(10)
}, 120_000)
