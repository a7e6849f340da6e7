// msgpack that is small on the wire and large in memory. Run by itself it measures, in a fresh process, what each costs.
import { heapStats } from 'bun:jsc'
import { readFileSync, writeFileSync } from 'node:fs'
import { Unpackr } from 'msgpackr/unpack'
import { guard } from '../../src/frame/guard.ts'
import { readInit } from '../../src/frame/index.ts'
import { readControl } from '../../src/frame/messages.ts'

const repeated = (head: string, piece: string, count: number) => Buffer.from(head + piece.repeat(count), 'hex')
const count16 = (n: number) => n.toString(16).padStart(4, '0')

/** An array of maps of the same eight keys, each in another order. */
function permutations(maps: number): Buffer {
  const parts = [Buffer.from(`dc${count16(maps)}`, 'hex')]
  for (let i = 0; i < maps; i++) {
    const keys = [...'abcdefgh']
    for (let k = 7, n = i * 2654435761; k > 0; k--, n = Math.floor(n / 7)) {
      const j = n % (k + 1)
      const key = keys[k]!
      keys[k] = keys[j]!
      keys[j] = key
    }
    parts.push(Buffer.from(`88${keys.map(k => `a1${Buffer.from(k).toString('hex')}c0`).join('')}`, 'hex'))
  }
  return Buffer.concat(parts)
}

/** As many pieces of `make` in an array as the guard lets through. */
function asManyAs(make: (count: number) => Buffer): () => Buffer {
  return () => {
    let low = 1
    let high = 65_000
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      const body = make(middle)
      let good = body.length <= 65_536
      try {
        guard(body)
      } catch {
        good = false
      }
      if (good) low = middle
      else high = middle - 1
    }
    return make(low)
  }
}
const arrayOf = (piece: string) => (count: number) => repeated(`dc${count16(count)}`, piece, count)

export const BOMBS: Record<string, () => Buffer> = {
  'arrays nested 65,000 deep': () => repeated('', '91', 65_000),
  'array16 headers nested': () => repeated('', 'dc0001', 24_000 - 3000),
  'maps nested': () => repeated('', '81a161', 21_000),
  'a count of 2^32-1': () => Buffer.from('ddffffffff', 'hex'),
  'a map of 2^30': () => Buffer.from('df40000000', 'hex'),
  'a text of 2^32-1': () => Buffer.from('dbffffffff', 'hex'),
  'bytes of 2^32-1': () => Buffer.from('c6ffffffff', 'hex'),
  'an extension of 2^32-1': () => Buffer.from('c9ffffffff00', 'hex'),
  '65,000 empty maps': () => arrayOf('80')(65_000),
  '65,000 empty arrays': () => arrayOf('90')(65_000),
  '65,000 nils': () => arrayOf('c0')(65_000),
  '21,000 maps of one': () => arrayOf('81a0c0')(21_000),
  '16,000 keys of one map': () => {
    const parts = [Buffer.from('de3e80', 'hex')]
    for (let i = 0; i < 16_000; i++)
      parts.push(Buffer.from(`a2${count16(0x2121 + i).replaceAll(/[89a-f](?=.(..)*$)/g, '4')}c0`, 'hex'))
    return Buffer.concat(parts)
  },
  'as many empty maps as pass': asManyAs(arrayOf('80')),
  'as many empty arrays as pass': asManyAs(arrayOf('90')),
  'as many nils as pass': asManyAs(arrayOf('c0')),
  'as many numbers as pass': asManyAs(arrayOf('ceffffffff')),
  'as many texts as pass': asManyAs(count =>
    Buffer.concat([
      Buffer.from(`dc${count16(count)}`, 'hex'),
      ...Array.from({ length: count }, (_, i) =>
        Buffer.from(`a5${Buffer.from(String(10_000 + i)).toString('hex')}`, 'hex'),
      ),
    ]),
  ),
  'as many bytes as pass': asManyAs(arrayOf('c40100')),
  'as many maps of one as pass': asManyAs(arrayOf('81a161c0')),
  'as many maps with keys of their own as pass': asManyAs(count =>
    Buffer.concat([
      Buffer.from(`dc${count16(count)}`, 'hex'),
      ...Array.from({ length: count }, (_, i) =>
        Buffer.from(`81a5${Buffer.from(String(10_000 + i)).toString('hex')}c0`, 'hex'),
      ),
    ]),
  ),
  'as many orders of the same keys as pass': asManyAs(permutations),
  'arrays of arrays of arrays as pass': asManyAs(arrayOf('9191 90'.replace(' ', ''))),
  'one text of 65,000 bytes': () => Buffer.concat([Buffer.from('dafde8', 'hex'), Buffer.alloc(65_000, 'x')]),
  'one text of 32,000 letters of two bytes': () =>
    Buffer.concat([Buffer.from('dafa00', 'hex'), Buffer.alloc(64_000, 'é')]),
}

/** The most that the process has held since `clear_refs`. */
function peak(): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024
}

function live(): number {
  Bun.gc(true)
  const { heapSize, extraMemorySize } = heapStats()
  return heapSize + extraMemorySize
}

function attempt(run: () => void): void {
  try {
    run()
  } catch {
    // Refused, as most are.
  }
}

if (import.meta.main) {
  const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, copyBuffers: true })
  const results: unknown[] = []
  const small = Buffer.from('94060007ad7368757474696e6720646f776e', 'hex')
  for (let i = 0; i < 2000; i++) readControl(small)
  for (const [name, make] of Object.entries(BOMBS)) {
    const body = make()
    Bun.gc(true)
    writeFileSync('/proc/self/clear_refs', '5')
    const before = peak()
    const start = performance.now()
    attempt(() => readControl(body))
    attempt(() => readInit(body))
    const ms = performance.now() - start
    const grown = peak() - before
    let unpacked: number | null = null
    attempt(() => {
      guard(body)
      const copies = 20
      const kept: unknown[] = new Array(copies).fill(null)
      unpackr.unpack(body)
      const empty = live()
      for (let i = 0; i < copies; i++) kept[i] = unpackr.unpack(body)
      unpacked = Math.round((live() - empty) / copies)
      if (kept.length !== copies) throw new Error('collected')
    })
    results.push({ name, bytes: body.length, unpacked, peak: grown, ms })
  }
  console.log(JSON.stringify(results))
}
