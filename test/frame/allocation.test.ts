// The way of a DATA frame, from offer() to sink.data(), makes no object.
import { expect, test } from 'bun:test'
import { join } from 'node:path'

test('100,000 DATA frames, encoded and decoded, leave no object each', async () => {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, 'allocation.ts')], {
    stdout: 'pipe',
    stderr: 'inherit',
  })
  const results = JSON.parse(await new Response(child.stdout).text()) as {
    perFrame: number
    bytes: number
    pushes: number
  }[]
  expect(await child.exited).toBe(0)
  for (const { perFrame, bytes } of results) {
    expect(bytes).toBeGreaterThan(64 * 100_000)
    // The test's own are about 300 objects for each 4,000 frames; one object a frame would be 1.
    expect(perFrame).toBeLessThan(0.25)
  }
  // The largest went both ways: written while it was offered, and at the end of a turn.
  expect(results.at(-1)!.pushes).toBeGreaterThan(1000)
}, 20_000)
