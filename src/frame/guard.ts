// Walks the headers of a packed value before anything is unpacked, so that no count, depth or form that warren does not
// use ever reaches the codec. It allocates only the keys of the map that it is in.
import { Violation } from './codec.ts'
import { LIMIT } from './wire.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

class Walk {
  readonly #b: Buffer
  #at = 0

  constructor(body: Buffer) {
    this.#b = body
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

  #text(length: number): string {
    const at = this.#take(length)
    try {
      return utf8.decode(this.#b.subarray(at, at + length))
    } catch {
      throw new Violation('msgpack: text is not UTF-8')
    }
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
      this.#text(text)
      return
    }
    if (lead <= 0x7f || lead >= 0xe0) return
    if (lead <= 0x8f) return this.#map(lead & 0x0f, depth)
    if (lead <= 0x9f) return this.#array(lead & 0x0f, depth)
    switch (lead) {
      case 0xc0:
      case 0xc2:
      case 0xc3:
        return
      case 0xc4:
        this.#take(this.#uint(1))
        return
      case 0xc5:
        this.#take(this.#uint(2))
        return
      case 0xc6:
        this.#take(this.#uint(4))
        return
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
    for (let i = 0; i < count; i++) this.value(depth - 1)
  }

  #map(count: number, depth: number): void {
    if (depth === 0) throw new Violation('msgpack: too deep')
    if (count * 2 > this.rest) throw new Violation('msgpack: count beyond the end')
    const keys = new Set<string>()
    for (let i = 0; i < count; i++) {
      const length = this.#textLength(this.#uint(1))
      if (length < 0) throw new Violation('msgpack: a key that is not text')
      const key = this.#text(length)
      if (keys.has(key)) throw new Violation('msgpack: a key twice')
      keys.add(key)
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
