// What visitors that never read cost the others: the rate of four readers beside them, of their rate alone.
import { Plain } from './plain.ts'
import { served } from './served.ts'
import { tunnelTo, until } from './warren.ts'

const READERS = 4
const STUCK = 3
const MEASURED = 96 << 20

/** One ratio a round, sorted. */
export async function ratesBesideStuck(rounds: number): Promise<number[]> {
  await using source = await served('source')
  await using tunnel = await tunnelTo(source.local)
  const readers: Plain[] = []
  for (let i = 0; i < READERS; i++) {
    const reader = await Plain.dial(tunnel.at)
    reader.keep = false
    readers.push(reader)
  }
  const total = () => readers.reduce((sum, reader) => sum + reader.received, 0)
  // The rate over a number of bytes, not over a time: nothing is measured while nothing flows.
  const rate = async () => {
    const from = total()
    const began = performance.now()
    await until(() => total() - from > MEASURED, `${MEASURED} bytes flow`, 60_000)
    return (total() - from) / (performance.now() - began)
  }
  await rate()
  const ratios: number[] = []
  for (let round = 0; round < rounds; round++) {
    const before = await rate()
    const stuck: Plain[] = []
    for (let i = 0; i < STUCK; i++) {
      const visitor = await Plain.dial(tunnel.at)
      visitor.pause()
      stuck.push(visitor)
    }
    // Until the buffers in front of them are full they take their share, as any visitor does; what counts comes after.
    await rate()
    const beside = await rate()
    for (const visitor of stuck) visitor.reset()
    // What else the machine does comes and goes: alone is measured before and after.
    ratios.push((2 * beside) / (before + (await rate())))
  }
  for (const reader of readers) reader.reset()
  return ratios.sort((a, b) => a - b)
}

export function median(sorted: number[]): number {
  return sorted[sorted.length >> 1] ?? 0
}
