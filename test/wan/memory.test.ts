// A relay keeps no more for visitors that go on sending while it holds them: they are held up by TCP.
import { expect, test } from 'bun:test'
import { heldMemory } from './memory.ts'

test('1,000 held streams whose visitors keep sending cost the relay no more than when they were not', async () => {
  const { idle, sending, held, most, taken, ended, resumed } = await heldMemory(1000, 8000)
  const mb = [idle, sending, held, most].map(n => n.toFixed(0)).join(', ')
  console.log(
    `relay with 1,000 streams, MB resident: idle, sending, held, most while held: ${mb}; ${taken.toFixed(0)} MB`,
  )
  expect({ ended, resumed }).toEqual({ ended: 0, resumed: 1000 })
  expect(taken).toBeGreaterThan(20)
  // Without the pause of every visitor at that moment it is one chunk more for each: 32 MB.
  expect(most - held).toBeLessThan(12)
  expect(most).toBeLessThan(300)
}, 180_000)
