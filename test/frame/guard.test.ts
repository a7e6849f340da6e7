// What may be unpacked: every encoding of the public msgpack test vectors, what is not msgpack at all, and what would
// take more memory than its sender spends.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { Unpackr } from 'msgpackr/unpack'
import { Violation } from '../../src/frame/codec.ts'
import { guard } from '../../src/frame/guard.ts'
import { ackFrame, initFrame, packInitBody, readInit, readRegistration } from '../../src/frame/index.ts'
import { LIMIT } from '../../src/frame/wire.ts'
import { Random } from '../oracle/random.ts'
import { BOMBS } from './bombs.ts'

const accepts = (bytes: Buffer): boolean => {
  try {
    guard(bytes)
    return true
  } catch (e) {
    if (!(e instanceof Violation)) throw e
    return false
  }
}

// The values of the public suite (github.com/kawanet/msgpack-test-suite), each in every encoding that the suite has for
// it: built here from the format's specification, by form.
type Form = 'fix' | 'u8' | 'u16' | 'u32' | 'u64' | 'i8' | 'i16' | 'i32' | 'i64' | 'f32' | 'f64'
const INTEGERS: [bigint, Form[]][] = (
  [
    ['0', 'fix u8 u16 u32 u64 i8 i16 i32 i64 f32 f64'],
    ['1', 'fix u8 u16 u32 u64 i8 i16 i32 i64 f32 f64'],
    ['127', 'fix u8 u16 u32 u64 i8 i16 i32 i64'],
    ['128', 'u8 u16 u32 u64 i16 i32 i64'],
    ['255', 'u8 u16 u32 u64 i16 i32 i64'],
    ['256', 'u16 u32 u64 i16 i32 i64'],
    ['65535', 'u16 u32 u64 i32 i64'],
    ['65536', 'u32 u64 i32 i64'],
    ['2147483647', 'u32 u64 i32 i64'],
    ['2147483648', 'u32 u64 i64 f32 f64'],
    ['4294967295', 'u32 u64 i64 f64'],
    ['-1', 'fix i8 i16 i32 i64 f32 f64'],
    ['-32', 'fix i8 i16 i32 i64 f32 f64'],
    ['-33', 'i8 i16 i32 i64'],
    ['-128', 'i8 i16 i32 i64'],
    ['-256', 'i16 i32 i64'],
    ['-32768', 'i16 i32 i64'],
    ['-65536', 'i32 i64'],
    ['-2147483648', 'i32 i64 f64'],
    ['4294967296', 'u64 i64 f32 f64'],
    ['-4294967296', 'i64 f64'],
    ['281474976710656', 'u64 i64 f32 f64'],
    ['-281474976710656', 'i64 f32 f64'],
    ['9223372036854775807', 'u64 i64'],
    ['-9223372036854775807', 'i64'],
    ['9223372036854775808', 'u64'],
    ['-9223372036854775808', 'i64'],
    ['18446744073709551615', 'u64'],
  ] as const
).map(([n, forms]) => [BigInt(n), forms.split(' ') as Form[]])

function integer(n: bigint, form: Form): Buffer {
  const bytes = Buffer.alloc(9)
  const done = (lead: number, size: number) => {
    bytes[0] = lead
    return bytes.subarray(0, 1 + size)
  }
  if (form === 'fix') return Buffer.of(Number(BigInt.asUintN(8, n)))
  if (form === 'f32') {
    bytes.writeFloatBE(Number(n), 1)
    return done(0xca, 4)
  }
  if (form === 'f64') {
    bytes.writeDoubleBE(Number(n), 1)
    return done(0xcb, 8)
  }
  const bits = Number(form.slice(1))
  const log = Math.log2(bits / 8)
  bytes.writeBigUInt64BE(BigInt.asUintN(64, BigInt.asUintN(bits, n) << BigInt(64 - bits)), 1)
  return done((form[0] === 'u' ? 0xcc : 0xd0) + log, bits / 8)
}

/** A header of one of the widths that a family has, before `count` things. */
function headed(
  width: 'fix' | 8 | 16 | 32,
  leads: { fix?: number; 8?: number; 16: number; 32: number },
  count: number,
) {
  if (width === 'fix') return Buffer.of(leads.fix! | count)
  if (width === 8) return Buffer.of(leads[8]!, count)
  const b = Buffer.alloc(width === 16 ? 3 : 5)
  b[0] = leads[width]
  b.writeUIntBE(count, 1, b.length - 1)
  return b
}
const STR = { fix: 0xa0, 8: 0xd9, 16: 0xda, 32: 0xdb }
const BIN = { 8: 0xc4, 16: 0xc5, 32: 0xc6 }
const ARRAY = { fix: 0x90, 16: 0xdc, 32: 0xdd }
const MAP = { fix: 0x80, 16: 0xde, 32: 0xdf }
const EXT = { 8: 0xc7, 16: 0xc8, 32: 0xc9 }
const str = (s: string, width: 'fix' | 8 | 16 | 32 = 'fix') =>
  Buffer.concat([headed(width, STR, Buffer.byteLength(s)), Buffer.from(s)])

type Encoding = { value: string; bytes: Buffer; good: boolean }
function publicVectors(): Encoding[] {
  const all: Encoding[] = []
  const add = (value: string, good: boolean, ...parts: Buffer[]) =>
    all.push({ value, good, bytes: Buffer.concat(parts) })
  add('nil', true, Buffer.of(0xc0))
  add('false', true, Buffer.of(0xc2))
  add('true', true, Buffer.of(0xc3))
  for (const hex of ['', '01', '00ff']) {
    const b = Buffer.from(hex, 'hex')
    for (const width of [8, 16, 32] as const) add(`bin ${hex}`, true, headed(width, BIN, b.length), b)
  }
  for (const [n, forms] of INTEGERS) {
    for (const form of forms) add(String(n), !['u64', 'i64', 'f32', 'f64'].includes(form), integer(n, form))
  }
  for (const n of [0.5, -0.5]) {
    const f32 = Buffer.alloc(5, 0xca)
    f32.writeFloatBE(n, 1)
    const f64 = Buffer.alloc(9, 0xcb)
    f64.writeDoubleBE(n, 1)
    add(String(n), false, f32)
    add(String(n), false, f64)
  }
  for (const s of ['', 'a']) for (const width of ['fix', 8, 16, 32] as const) add(`"${s}"`, true, str(s, width))
  for (const width of ['fix', 8, 16] as const) add('31', true, str('1234567890123456789012345678901', width))
  for (const width of [8, 16] as const) add('32', true, str('12345678901234567890123456789012', width))
  for (const s of ['Кириллица', 'ひらがな', '한글', '汉字', '漢字', '❤', '🍺'])
    for (const width of ['fix', 8] as const) add(s, true, str(s, width))
  const upTo = (n: number) => Buffer.from(Array.from({ length: n }, (_, i) => i + 1))
  for (const [n, widths] of [
    [0, ['fix', 16, 32]],
    [1, ['fix', 16, 32]],
    [15, ['fix', 16, 32]],
    [16, [16, 32]],
  ] as const)
    for (const width of widths) add(`[1..${n}]`, true, headed(width, ARRAY, n), upTo(n))
  for (const width of ['fix', 16, 32] as const) {
    const array = (n: number) => headed(width, ARRAY, n)
    const map = (n: number) => headed(width, MAP, n)
    add('["a"]', true, array(1), str('a'))
    add('{}', true, map(0))
    add('{a:1}', true, map(1), str('a'), Buffer.of(1))
    add('{a:"A"}', true, map(1), str('a'), str('A'))
    add('[[]]', true, array(1), array(0))
    add('[{}]', true, array(1), Buffer.of(0x80))
    add('{a:{}}', true, map(1), str('a'), map(0))
    add('{a:[]}', true, map(1), str('a'), Buffer.of(0x90))
  }
  // Timestamps, as extensions of 4, 8 and 12 bytes.
  const stamps: [seconds: bigint, nanoseconds: number][] = [
    [1514862245n, 0],
    [1514862245n, 678901234],
    [2147483647n, 999999999],
    [2147483648n, 0],
    [2147483648n, 1],
    [4294967295n, 0],
    [4294967295n, 999999999],
    [4294967296n, 0],
    [17179869183n, 999999999],
    [17179869184n, 0],
    [-1n, 0],
    [-1n, 999999999],
    [0n, 0],
    [0n, 1],
    [1n, 0],
    [-2208988801n, 999999999],
    [-2208988800n, 0],
    [-62167219200n, 0],
    [253402300799n, 999999999],
  ]
  for (const [s, ns] of stamps) {
    const b = Buffer.alloc(12)
    if (s >= 0n && s < 2n ** 32n && ns === 0) {
      b.writeUInt32BE(Number(s))
      add(`time ${s}`, false, Buffer.of(0xd6, 0xff), b.subarray(0, 4))
    } else if (s >= 0n && s < 2n ** 34n) {
      b.writeBigUInt64BE((BigInt(ns) << 34n) | s)
      add(`time ${s}.${ns}`, false, Buffer.of(0xd7, 0xff), b.subarray(0, 8))
    } else {
      b.writeUInt32BE(ns)
      b.writeBigInt64BE(s, 4)
      add(`time ${s}.${ns}`, false, Buffer.of(0xc7, 12, 0xff), b)
    }
  }
  for (const [type, size] of [1, 2, 4, 8, 16].entries())
    add(`fixext ${size}`, false, Buffer.of(0xd4 + type, type + 1), Buffer.alloc(size, 16 * (type + 1)))
  for (const [type, size] of [
    [6, 0],
    [7, 3],
  ] as const)
    for (const width of [8, 16, 32] as const)
      add(`ext ${size}`, false, headed(width, EXT, size), Buffer.of(type), Buffer.alloc(size, 0x70))
  return all
}

test('of the 233 encodings of the public vectors: no float, no 64-bit integer, no extension, all else', () => {
  const all = publicVectors()
  expect(all).toHaveLength(233)
  expect(new Set(all.map(e => e.bytes.toString('hex'))).size).toBe(233)
  const wrong = all.filter(e => accepts(e.bytes) !== e.good)
  expect(wrong.map(e => `${e.value}: ${e.bytes.toString('hex')}`)).toEqual([])
  expect(all.filter(e => e.good).length).toBeGreaterThan(100)
})

test('what is accepted, msgpackr reads; the vectors above mean what they are named', () => {
  const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true })
  for (const e of publicVectors()) {
    if (!e.good) continue
    const value = unpackr.unpack(Buffer.from(e.bytes)) as unknown
    if (typeof value === 'number') expect(String(value)).toBe(e.value)
  }
})

test('every truncation and every byte behind the end is refused', () => {
  for (const e of publicVectors()) {
    for (let cut = 0; cut < e.bytes.length; cut++) expect(accepts(e.bytes.subarray(0, cut))).toBe(false)
    for (const more of [0x00, 0xc0, 0xff]) expect(accepts(Buffer.concat([e.bytes, Buffer.of(more)]))).toBe(false)
  }
})

test('every first byte, alone and with zeros behind it, is taken or refused and never anything else', () => {
  const good: number[] = []
  for (let lead = 0; lead <= 0xff; lead++) {
    for (let zeros = 0; zeros < 40; zeros++) {
      if (accepts(Buffer.concat([Buffer.of(lead), Buffer.alloc(zeros)]))) {
        good.push(lead)
        break
      }
    }
  }
  const never = [...Array(0x100).keys()].filter(b => !good.includes(b))
  // c1 is nobody's; c7 to cb are extensions and floats; cf, d3 64 bits; d4 to d8 extensions; 81 to 8f want text for keys.
  const maps = Array.from({ length: 15 }, (_, i) => 0x81 + i)
  expect(never).toEqual([...maps, 0xc1, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcf, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8])
})

test('depth: four and no more', () => {
  const nested = (depth: number) => Buffer.from(`${'91'.repeat(depth)}c0`, 'hex')
  expect(accepts(nested(LIMIT.depth))).toBe(true)
  expect(accepts(nested(LIMIT.depth + 1))).toBe(false)
  const maps = (depth: number) => Buffer.from(`${'81a161'.repeat(depth)}c0`, 'hex')
  expect(accepts(maps(LIMIT.depth))).toBe(true)
  expect(accepts(maps(LIMIT.depth + 1))).toBe(false)
})

test('counts and lengths beyond what is there, at their edges', () => {
  for (const [lead, width] of [
    ['c4', 1],
    ['c5', 2],
    ['c6', 4],
    ['d9', 1],
    ['da', 2],
    ['db', 4],
    ['dc', 2],
    ['dd', 4],
  ] as const) {
    const max = 2 ** (8 * width) - 1
    for (const n of [0, 1, 5, max - 1, max, Math.floor(max / 2) + 1]) {
      const b = Buffer.alloc(1 + width + 5)
      b[0] = Number.parseInt(lead, 16)
      b.writeUIntBE(n, 1, width)
      expect(accepts(b)).toBe(n === 5)
    }
  }
  for (const n of [1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
    const b = Buffer.from(`df${n.toString(16).padStart(8, '0')}`, 'hex')
    expect(accepts(b)).toBe(false)
  }
})

test('texts that are not UTF-8, keys twice, keys that are no text, keys too long', () => {
  for (const hex of ['a1ff', 'a2c080', 'a3eda080', 'a4f4908080', 'a1c3', 'a3e28228']) {
    expect(accepts(Buffer.from(hex, 'hex'))).toBe(false)
    expect(accepts(Buffer.from(`81${hex}c0`, 'hex'))).toBe(false)
  }
  expect(accepts(Buffer.from('82a16101a16102', 'hex'))).toBe(false)
  expect(accepts(Buffer.from('82a16101d9016102', 'hex'))).toBe(false)
  for (const key of ['00', 'c0', '90', '80', 'c40161', '00a161', 'c0a161', '01a100'])
    expect(accepts(Buffer.from(`81${key}01`, 'hex'))).toBe(false)
  expect(accepts(Buffer.concat([Buffer.of(0x81), str('k'.repeat(LIMIT.key), 8), Buffer.of(0)]))).toBe(true)
  expect(accepts(Buffer.concat([Buffer.of(0x81), str('k'.repeat(LIMIT.key + 1), 8), Buffer.of(0)]))).toBe(false)
})

test('the longest registrations there can be are not too much', () => {
  const tunnels = Array.from({ length: LIMIT.tunnels }, (_, id) => ({ id, name: 'x', port: null }))
  const init = packInitBody({
    version: 1,
    role: 1,
    key: Buffer.alloc(32),
    instance: Buffer.alloc(16),
    name: 'n',
    credit: 65_536,
    capabilities: [],
    tunnels,
    token: Buffer.alloc(16),
  })
  expect(readInit(initFrame(init, Buffer.alloc(64)).subarray(4)).body.tunnels).toHaveLength(LIMIT.tunnels)
  for (const answer of [
    (id: number) => ({ id, refused: 'x', why: '' }),
    (id: number) => ({ id, refused: 'x'.repeat(32), why: 'y'.repeat(100) }),
    (id: number) => ({ id, host: 'h', port: 1, epoch: 1 }),
    (id: number) => ({ id, host: 'h'.repeat(200), port: 65_535, epoch: 0xffff_ffff }),
  ]) {
    const ack = {
      version: 1,
      session: Buffer.alloc(16),
      credit: 65_536,
      capabilities: Array.from({ length: 16 }, (_, i) => `capability-${i}`),
      tunnels: tunnels.map(t => answer(t.id)),
    }
    expect(readRegistration(ackFrame(ack).subarray(4)).ok).toBe(true)
  }
})

test('random bytes, and vectors with random bytes changed, are taken or refused in no time', () => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 0xffff_ffff))
  console.log(`guard: SEED=${seed}`)
  const random = new Random(seed)
  const all = publicVectors()
  const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true })
  let good = 0
  for (let i = 0; i < 30_000; i++) {
    const bytes = Buffer.concat(Array.from({ length: random.between(1, 4) }, () => random.pick(all).bytes))
    for (let k = random.between(0, 3); k > 0; k--) bytes[random.between(0, bytes.length - 1)] = random.u32() & 0xff
    if (!accepts(bytes)) continue
    good++
    unpackr.unpack(bytes)
  }
  expect(good).toBeGreaterThan(1000)
})

test('bombs: four times their bytes and 64 KiB, measured in a process of its own', async () => {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, 'bombs.ts')], { stdout: 'pipe', stderr: 'inherit' })
  const text = await new Response(child.stdout).text()
  expect(await child.exited).toBe(0)
  const results = JSON.parse(text) as {
    name: string
    bytes: number
    unpacked: number | null
    peak: number
    ms: number
  }[]
  expect(results.map(r => r.name).sort()).toEqual(Object.keys(BOMBS).sort())
  for (const r of results) {
    const bound = 4 * r.bytes + 65_536
    // `unpacked`: what the guard lets through, as the heap counts it, exactly. `peak`: pages of the process, of which the
    // compiler and the collector take some megabytes whenever they like; a bomb that goes off takes hundreds.
    if ((r.unpacked ?? 0) > bound) throw new Error(`${r.name}: ${r.unpacked} bytes unpacked from ${r.bytes}`)
    if (r.peak > bound + 8_388_608) throw new Error(`${r.name}: the process grew by ${r.peak} for ${r.bytes}`)
    if (r.ms > 50) throw new Error(`${r.name}: ${r.ms} ms`)
  }
  // Some are let through, or nothing was measured.
  expect(results.filter(r => r.unpacked !== null).length).toBeGreaterThan(5)
}, 20_000)
