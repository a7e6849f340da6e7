// Walks the headers of a packed value before anything is unpacked, so that no count, depth or form that warren does not
// use ever reaches the codec, and nothing that would unpack to much more memory than it has bytes: an empty map is one
// byte on the wire and fifty in JavaScript. It allocates next to nothing itself.
import { Violation } from './codec.ts'
import { LIMIT } from './wire.ts'

/** What unpacked values take, in bytes and rounded up; measured by the tests. */
const COST = {
  /** A number, true, false, nil: its place in what holds it. */
  scalar: 8,
  /** And two for each byte. */
  text: 64,
  /** And one for each byte. */
  bin: 256,
  array: 80,
  map: 64,
  /** A key in a place where an earlier map had it: the objects share their layout. */
  key: 16,
  /** A key that makes a new layout. */
  newKey: 320,
} as const

/** The keys that maps began with, by hash, and for each those that came next: as the engine shares objects' layouts. */
type Layout = Map<number, Layout>

/** FNV-1a. Keys are told apart by it: two that it takes for one are refused as a key twice. */
function hash(b: Buffer, at: number, end: number): number {
  let h = 0x811c9dc5
  for (let i = at; i < end; i++) h = Math.imul(h ^ b[i]!, 0x01000193)
  return h | 0
}

/** Whether a text is UTF-8, without a view of it. */
function isUtf8(b: Buffer, at: number, end: number): boolean {
  while (at < end) {
    const lead = b[at++]!
    if (lead < 0x80) continue
    const more = lead >= 0xc2 && lead < 0xe0 ? 1 : lead >= 0xe0 && lead < 0xf0 ? 2 : lead >= 0xf0 && lead < 0xf5 ? 3 : 0
    if (more === 0 || at + more > end) return false
    // Overlong forms, surrogates and what is above U+10FFFF show in the second byte.
    const second = b[at]!
    if (lead === 0xe0 && second < 0xa0) return false
    if (lead === 0xed && second > 0x9f) return false
    if (lead === 0xf0 && second < 0x90) return false
    if (lead === 0xf4 && second > 0x8f) return false
    for (let i = 0; i < more; i++) if ((b[at++]! & 0xc0) !== 0x80) return false
  }
  return true
}

class Walk {
  readonly #b: Buffer
  readonly #layouts: Layout = new Map()
  /** The keys of the map that the walk is in, at each depth. */
  readonly #keys: Set<number>[] = []
  #at = 0
  #budget: number

  constructor(body: Buffer) {
    this.#b = body
    this.#budget = LIMIT.unpackedFactor * body.length + LIMIT.unpackedFree
  }

  #spend(bytes: number): void {
    this.#budget -= bytes
    if (this.#budget < 0) throw new Violation('msgpack: unpacks to too much')
  }

  get rest(): number {
    return this.#b.length - this.#at
  }

  #take(n: number): number {
    if (n > this.rest) throw new Violation('msgpack: cut short')
    const at = this.#at
    this.#at += n
    return at
  }

  #uint(bytes: 1 | 2 | 4): number {
    return this.#b.readUIntBE(this.#take(bytes), bytes)
  }

  /** Where a text of so many bytes begins. */
  #text(length: number): number {
    const at = this.#take(length)
    if (!isUtf8(this.#b, at, at + length)) throw new Violation('msgpack: text is not UTF-8')
    return at
  }

  #bin(length: number): void {
    this.#take(length)
    this.#spend(COST.bin + length)
  }

  /** The length of a string whose lead byte was `lead`, or -1 when it leads something else. */
  #textLength(lead: number): number {
    if (lead >= 0xa0 && lead <= 0xbf) return lead & 0x1f
    if (lead === 0xd9) return this.#uint(1)
    if (lead === 0xda) return this.#uint(2)
    if (lead === 0xdb) return this.#uint(4)
    return -1
  }

  /** One value; `depth` containers may still be opened. */
  value(depth: number): void {
    const lead = this.#uint(1)
    const text = this.#textLength(lead)
    if (text >= 0) {
      this.#spend(COST.text + 2 * text)
      this.#text(text)
      return
    }
    this.#spend(COST.scalar)
    if (lead <= 0x7f || lead >= 0xe0) return
    if (lead <= 0x8f) return this.#map(lead & 0x0f, depth)
    if (lead <= 0x9f) return this.#array(lead & 0x0f, depth)
    switch (lead) {
      case 0xc0:
      case 0xc2:
      case 0xc3:
        return
      case 0xc4:
        return this.#bin(this.#uint(1))
      case 0xc5:
        return this.#bin(this.#uint(2))
      case 0xc6:
        return this.#bin(this.#uint(4))
      case 0xcc:
      case 0xd0:
        this.#take(1)
        return
      case 0xcd:
      case 0xd1:
        this.#take(2)
        return
      case 0xce:
      case 0xd2:
        this.#take(4)
        return
      case 0xdc:
        return this.#array(this.#uint(2), depth)
      case 0xdd:
        return this.#array(this.#uint(4), depth)
      case 0xde:
        return this.#map(this.#uint(2), depth)
      case 0xdf:
        return this.#map(this.#uint(4), depth)
      default:
        // c1, floats, 64-bit integers and every extension.
        throw new Violation('msgpack: a form that is not used')
    }
  }

  #array(count: number, depth: number): void {
    if (depth === 0) throw new Violation('msgpack: too deep')
    if (count > this.rest) throw new Violation('msgpack: count beyond the end')
    this.#spend(COST.array)
    for (let i = 0; i < count; i++) this.value(depth - 1)
  }

  #map(count: number, depth: number): void {
    if (depth === 0) throw new Violation('msgpack: too deep')
    if (count * 2 > this.rest) throw new Violation('msgpack: count beyond the end')
    this.#spend(COST.map)
    this.#keys[depth] ??= new Set()
    const keys = this.#keys[depth]
    keys.clear()
    let layout = this.#layouts
    for (let i = 0; i < count; i++) {
      const length = this.#textLength(this.#uint(1))
      if (length < 0) throw new Violation('msgpack: a key that is not text')
      if (length > LIMIT.key) throw new Violation('msgpack: a key too long')
      const at = this.#text(length)
      const key = hash(this.#b, at, at + length)
      if (keys.has(key)) throw new Violation('msgpack: a key twice')
      keys.add(key)
      let next = layout.get(key)
      this.#spend(next === undefined ? COST.newKey : COST.key)
      if (next === undefined) {
        next = new Map()
        layout.set(key, next)
      }
      layout = next
      this.value(depth - 1)
    }
  }
}

/** Throws a Violation unless `body` is exactly one value of the forms, depth and counts that warren uses. */
export function guard(body: Buffer): void {
  const walk = new Walk(body)
  walk.value(LIMIT.depth)
  if (walk.rest !== 0) throw new Violation('msgpack: bytes after the end')
}
