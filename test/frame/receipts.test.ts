// When a receipt is due: by bytes, by time, or along with a PONG, and never for receipts alone.
import { expect, test } from 'bun:test'
import { TUNING } from '../../src/frame/index.ts'
import { Receipts } from '../../src/frame/receipts.ts'

function received(receipts: Receipts, bytes: number, now: number, countable = true): void {
  receipts.begin(bytes)
  receipts.countable = countable
  receipts.end(now)
}

test('little is receipted after a while, more sooner, much at once', () => {
  const receipts = new Receipts()
  expect(receipts.at).toBe(Number.POSITIVE_INFINITY)
  received(receipts, 100, 1_000)
  expect(receipts.at).toBe(1_000 + TUNING.receiptDelay)
  received(receipts, TUNING.receiptSoonBytes, 1_001)
  expect(receipts.at).toBe(1_001 + TUNING.receiptSoon)
  expect(receipts.due).toBe(false)
  received(receipts, TUNING.receiptBytes, 1_002)
  expect([receipts.due, receipts.urgent, receipts.at]).toEqual([true, false, Number.POSITIVE_INFINITY])
  received(receipts, TUNING.receiptAtOnce, 1_003)
  expect(receipts.urgent).toBe(true)
})

test('later bytes do not put it off, and one that was sent starts anew', () => {
  const receipts = new Receipts()
  received(receipts, 100, 0)
  received(receipts, 100, TUNING.receiptDelay - 1)
  expect(receipts.check(TUNING.receiptDelay - 0.1)).toBe(false)
  expect(receipts.check(TUNING.receiptDelay)).toBe(true)
  expect(receipts.due).toBe(true)
  receipts.put(Buffer.alloc(16))
  expect([receipts.due, receipts.at, receipts.received]).toEqual([false, Number.POSITIVE_INFINITY, 200])
  received(receipts, 100, 500)
  expect(receipts.at).toBe(500 + TUNING.receiptDelay)
})

test('what is not countable is receipted by its bytes alone, or with a PONG', () => {
  const receipts = new Receipts()
  received(receipts, 1_023, 0, false)
  expect(receipts.at).toBe(Number.POSITIVE_INFINITY)
  receipts.withPong()
  expect(receipts.due).toBe(false)
  received(receipts, 1, 0, false)
  receipts.withPong()
  expect(receipts.due).toBe(true)
})
