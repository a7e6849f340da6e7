// Run as a process of its own: opens and ends connections in every way, and prints how far net's own count of descriptors is
// off the kernel's after each round, and what is left at the end.
import { readdirSync } from 'node:fs'
import { deadlines } from '../../src/net/deadlines.ts'
import { descriptors } from '../../src/net/index.ts'
import { descriptorsSettle, KINDS, pair } from './tape.ts'

const folder = process.argv[2] ?? ''
const inUse = () => readdirSync('/proc/self/fd').length
// What Bun opens once and keeps is open after one of each.
for (const kind of KINDS) (await pair(kind, folder)).near.it.abort()
await descriptorsSettle(folder, 0)

const off: number[] = []
for (let round = 0; round < 5; round++) {
  for (const kind of KINDS) {
    const pairs = await Promise.all(Array.from({ length: 8 }, () => pair(kind, folder)))
    off.push(inUse() - descriptors.open())
    for (const [i, { near, far }] of pairs.entries()) {
      if (i % 4 === 0) near.it.abort()
      if (i % 4 === 1) near.it.mute()
      if (i % 4 === 2) near.it.shutdown()
      if (i % 4 === 2) far.it.shutdown()
      if (i % 4 === 3) near.it.linger(20)
      if (kind === 'unix') far.it.shutdown()
    }
    await Promise.all(pairs.map(p => p.far.closed()))
  }
}
const left = await descriptorsSettle(folder, 0)
off.push(inUse() - left)
console.log(JSON.stringify({ off, left, timers: deadlines.size }))
process.exit()
