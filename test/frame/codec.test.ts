// Bytes to frames and back: the vectors of docs/protocol.md, cut anywhere; every first byte; every length.
import { describe, expect, test } from 'bun:test'
import { createPublicKey, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  Decoder,
  FirstFrame,
  type Frames,
  putCredit,
  putDataHeader,
  putFin,
  putPing,
  putReceipt,
  Violation,
} from '../../src/frame/codec.ts'
import {
  ackFrame,
  initFrame,
  packInitBody,
  packResumeBody,
  readFirst,
  readInit,
  readRegistration,
  readResumption,
  resumedFrame,
  resumeFrame,
} from '../../src/frame/index.ts'
import { controlFrame, readControl } from '../../src/frame/messages.ts'
import { ACK, BOUND, DATA_INIT, GOAWAY, INIT, LIMIT, PING, PONG, RESET, RESUME, UNBIND } from '../../src/frame/wire.ts'
import { transcript } from '../../src/identity/transcript.ts'
import { frameOf, raw, readFrames, u32 } from './peer.ts'

const folder = join(import.meta.dir, '../vectors')
type Vector = { name: string; direction: string; hex: string; meaning: string }
const vectors = (JSON.parse(readFileSync(join(folder, 'frames.json'), 'utf8')) as Vector[]).map(v => ({
  ...v,
  bytes: Buffer.from(v.hex, 'hex'),
}))
type Registration = {
  name: string
  key: string
  exporter: string
  relayKeyHash: string
  body: string
  signed: string
  signature: string
}
const registrations = JSON.parse(readFileSync(join(folder, 'registration.json'), 'utf8')) as Registration[]

/** Writes down what the decoder says; payload pieces are joined, so that cuts do not show. */
class Said implements Frames {
  readonly said: string[] = []
  #data: { stream: number; left: number; bytes: Buffer[] } | null = null
  dataBegins(stream: number, length: number): void {
    this.#data = { stream, left: length, bytes: [] }
  }
  dataPiece(buf: Buffer, at: number, len: number): void {
    const data = this.#data!
    data.bytes.push(Buffer.from(buf.subarray(at, at + len)))
    data.left -= len
    if (data.left === 0) this.said.push(`data ${data.stream} ${Buffer.concat(data.bytes).toString('hex')}`)
  }
  credit(stream: number, bytes: number): void {
    this.said.push(`credit ${stream} ${bytes}`)
  }
  fin(stream: number): void {
    this.said.push(`fin ${stream}`)
  }
  ping(opaque: number): void {
    this.said.push(`ping ${opaque}`)
  }
  pong(opaque: number): void {
    this.said.push(`pong ${opaque}`)
  }
  receipt(position: number): void {
    this.said.push(`receipt ${position}`)
  }
  control(body: Buffer): void {
    this.said.push(`control ${body.toString('hex')}`)
  }
}

function decode(...chunks: Buffer[]): string[] {
  const record = new Said()
  const decoder = new Decoder(record)
  // A chunk of its own for each, overwritten afterwards: nothing may be kept of it.
  for (const chunk of chunks) {
    const own = Buffer.from(chunk)
    decoder.decode(own)
    own.fill(0xdd)
  }
  return record.said
}

const byName = (name: string) => vectors.find(v => v.name === name)!

describe('vectors', () => {
  test('every type has one, and docs/protocol.md shows each', () => {
    const types = new Set(vectors.map(v => v.bytes[5]))
    expect([...types].sort((a, b) => a! - b!)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
    const docs = readFileSync(join(import.meta.dir, '../../docs/protocol.md'), 'utf8').replace(/\s/g, '')
    for (const v of vectors)
      if (!docs.includes(v.hex)) throw new Error(`${v.name} is not in docs/protocol.md: ${v.hex}`)
    for (const r of registrations) expect(docs).toContain(r.signed)
  })

  for (const v of vectors) {
    test(`${v.name} is one frame that any msgpack library reads`, () => {
      const [frame, ...more] = readFrames(v.bytes)
      expect(more).toEqual([])
      expect(Array.isArray(frame)).toBe(true)
      expect(frame![0]).toBe(v.bytes[5]!)
    })
  }

  test('the fixed layouts are written as in the vectors', () => {
    const b = Buffer.alloc(16)
    const made = (size: number) => b.subarray(0, size).toString('hex')
    expect(made(putDataHeader(b, 1, 5))).toBe(byName('DATA').hex.slice(0, 32))
    expect(made(putDataHeader(b, 0xffff_ffff, 1))).toBe(byName('DATA of one byte on the last stream').hex.slice(0, 32))
    expect(made(putCredit(b, 1, 65_536))).toBe(byName('CREDIT').hex)
    expect(made(putFin(b, 1))).toBe(byName('FIN').hex)
    expect(made(putPing(b, PING, 1))).toBe(byName('PING').hex)
    expect(made(putPing(b, PONG, 1))).toBe(byName('PONG').hex)
    expect(made(putPing(b, PING, 0xffff_ffff))).toBe(byName('PING with the largest number').hex)
    expect(made(putReceipt(b, 131_072))).toBe(byName('RECEIPT').hex)
    expect(made(putReceipt(b, 2 ** 53 - 1))).toBe(byName('RECEIPT of a position over 32 bits').hex)
  })

  test('and so are the others: read, and packed again', () => {
    let checked = 0
    for (const v of vectors) {
      const type = v.bytes[5]!
      if (
        type < DATA_INIT ||
        type >= RESUME ||
        (type >= 3 && type <= 5) ||
        type === PING ||
        type === PONG ||
        type === 13
      )
        continue
      expect(controlFrame(readControl(v.bytes.subarray(4))).toString('hex')).toBe(v.hex)
      checked++
    }
    expect(checked).toBeGreaterThan(9)
    const ack = readRegistration(byName('ACK').bytes.subarray(4))
    if (!ack.ok) throw new Error('a refusal')
    expect(ackFrame(ack.ack).toString('hex')).toBe(byName('ACK').hex)
    const refusal = readRegistration(byName('RESET of a registration').bytes.subarray(4))
    expect(refusal).toEqual({ ok: false, code: 0, text: '' })
  })

  const hex = (s: string) => Buffer.from(s, 'hex')
  const keyOf = (r: Registration) =>
    createPublicKey({ key: Buffer.concat([hex('302a300506032b6570032100'), hex(r.key)]), format: 'der', type: 'spki' })
  test('INIT: body, transcript and signature', () => {
    const r = registrations[0]!
    const init = readInit(byName('INIT').bytes.subarray(4))
    expect(init.signed.toString('hex')).toBe(r.body)
    expect(init.signature.toString('hex')).toBe(r.signature)
    expect(packInitBody(init.body).toString('hex')).toBe(r.body)
    expect(initFrame(init.signed, init.signature).toString('hex')).toBe(byName('INIT').hex)
    const signed = transcript('init', 'agent', hex(r.exporter), hex(r.relayKeyHash), init.signed)
    expect(Buffer.from(signed).toString('hex')).toBe(r.signed)
    expect(verify(null, signed, keyOf(r), init.signature)).toBe(true)
  })

  test('RESUME and RESUMED: body, transcript and signature', () => {
    const r = registrations[1]!
    const first = readFirst(byName('RESUME').bytes.subarray(4))
    if (!('resume' in first)) throw new Error('an INIT')
    const { resume } = first
    expect(resume.body).toEqual({ session: Buffer.alloc(16, 0x66), attempt: 1, position: 2 ** 32 + 5 })
    expect(resume.signed.toString('hex')).toBe(r.body)
    expect(packResumeBody(resume.body).toString('hex')).toBe(r.body)
    expect(resumeFrame(resume.signed, resume.signature).toString('hex')).toBe(byName('RESUME').hex)
    const signed = transcript('resume', 'agent', hex(r.exporter), hex(r.relayKeyHash), resume.signed)
    expect(Buffer.from(signed).toString('hex')).toBe(r.signed)
    expect(verify(null, signed, keyOf(r), resume.signature)).toBe(true)
    expect(readResumption(byName('RESUMED').bytes.subarray(4))).toEqual({ ok: true, position: 131_072 })
    expect(resumedFrame(131_072).toString('hex')).toBe(byName('RESUMED').hex)
    expect(readResumption(byName('RESET of a registration').bytes.subarray(4))).toEqual({
      ok: false,
      code: 0,
      text: '',
    })
  })

  test('positions of a resume: 0, 1, and around their limit', () => {
    const resumed = (hexPosition: string) => frameOf(`930f00c408${hexPosition}`).subarray(4)
    for (const p of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 2, 2 ** 53 - 1])
      expect(readResumption(resumedFrame(p).subarray(4))).toEqual({ ok: true, position: p })
    for (const p of ['0020000000000000', '8000000000000000', 'ffffffffffffffff'])
      expect(() => readResumption(resumed(p))).toThrow(Violation)
    for (const body of [
      '930f00c40700000000000000',
      '930f00c409000000000000000000',
      '930f0000',
      '930f01c4080000000000000000',
    ])
      expect(() => readResumption(Buffer.from(body, 'hex'))).toThrow(Violation)
  })
})

describe('cuts', () => {
  const inSession = vectors.filter(v => v.bytes[5]! > ACK && v.bytes[5]! < RESUME)

  for (const v of inSession) {
    test(`${v.name}: every truncation says nothing yet, every cut in two the same as the whole`, () => {
      const whole = decode(v.bytes)
      expect(whole).toHaveLength(1)
      for (let cut = 1; cut < v.bytes.length; cut++) {
        expect(decode(v.bytes.subarray(0, cut))).toEqual([])
        expect(decode(v.bytes.subarray(0, cut), v.bytes.subarray(cut))).toEqual(whole)
      }
      expect(decode(...[...v.bytes].map(b => Buffer.of(b)))).toEqual(whole)
    })
  }

  test('all of them behind each other, in pieces of every size', () => {
    const all = Buffer.concat(inSession.map(v => v.bytes))
    const whole = decode(all)
    expect(whole).toHaveLength(inSession.length)
    for (let size = 1; size < all.length; size++) {
      const chunks: Buffer[] = []
      for (let at = 0; at < all.length; at += size) chunks.push(all.subarray(at, at + size))
      expect(decode(...chunks)).toEqual(whole)
    }
  })

  test('truncated control frames and INITs are refused as msgpack, whatever the length says', () => {
    for (const v of vectors) {
      const type = v.bytes[5]!
      if ((type >= 3 && type <= 5) || type === PING || type === PONG || type === 13) continue
      const body = v.bytes.subarray(4)
      for (let cut = 0; cut < body.length; cut++) {
        const part = Buffer.from(body.subarray(0, cut))
        expect(() => readControl(part)).toThrow(Violation)
        expect(() => readInit(part)).toThrow(Violation)
        expect(() => readRegistration(part)).toThrow(Violation)
        expect(() => readFirst(part)).toThrow(Violation)
        expect(() => readResumption(part)).toThrow(Violation)
      }
      const more = Buffer.concat([body, Buffer.of(0xc0)])
      expect(() => readControl(more)).toThrow(Violation)
      expect(() => readInit(more)).toThrow(Violation)
      expect(() => readRegistration(more)).toThrow(Violation)
      expect(() => readFirst(more)).toThrow(Violation)
      expect(() => readResumption(more)).toThrow(Violation)
    }
  })

  test('INIT whose inner body is cut or longer', () => {
    const { signed, signature } = readInit(byName('INIT').bytes.subarray(4))
    for (let cut = 0; cut < signed.length; cut++) {
      const body = initFrame(signed.subarray(0, cut), signature).subarray(4)
      expect(() => readInit(Buffer.from(body))).toThrow(Violation)
    }
    const longer = initFrame(Buffer.concat([signed, Buffer.of(0)]), signature).subarray(4)
    expect(() => readInit(Buffer.from(longer))).toThrow(Violation)
  })
})

describe('the first bytes', () => {
  const FIXED = [3, 4, 5, 7, 8, 13]

  test('every first byte of a body but an array’s is refused', () => {
    for (let lead = 0; lead <= 0xff; lead++) {
      for (const v of vectors) {
        const bytes = Buffer.from(v.bytes)
        if (bytes[4] === lead) continue
        bytes[4] = lead
        const type = bytes[5]!
        if (FIXED.includes(type)) expect(() => decode(bytes)).toThrow(Violation)
        else {
          expect(() => readControl(bytes.subarray(4))).toThrow(Violation)
          expect(() => readInit(bytes.subarray(4))).toThrow(Violation)
        }
      }
    }
  })

  test('every type but its own is refused in every body', () => {
    for (const v of vectors) {
      for (let type = 0; type <= 0xff; type++) {
        const bytes = Buffer.from(v.bytes)
        if (bytes[5] === type) continue
        bytes[5] = type
        // PING and PONG have one layout; so have DATA's and CREDIT's first twelve bytes, told apart by the thirteenth.
        if ((type === PING || type === PONG) && (v.bytes[5] === PING || v.bytes[5] === PONG)) continue
        // And [12, 0, 1] is UNBIND, with a number longer than it need be.
        if (type === UNBIND && (v.bytes[5] === PING || v.bytes[5] === PONG)) continue
        // A layout longer than what is there waits for it.
        if (FIXED.includes(type)) expect(() => decode(Buffer.concat([bytes, Buffer.alloc(16)]))).toThrow(Violation)
        else expect(() => readControl(bytes.subarray(4))).toThrow(Violation)
      }
    }
  })

  test('every byte of a fixed header that is not a field has one value', () => {
    const fields: Record<string, number[]> = {
      DATA: [7, 8, 9, 10],
      CREDIT: [7, 8, 9, 10, 12, 13, 14, 15],
      FIN: [7, 8, 9, 10],
      PING: [8, 9, 10, 11],
      PONG: [8, 9, 10, 11],
      // The highest bits of a position have to be zero.
      RECEIPT: [10, 11, 12, 13, 14, 15],
    }
    for (const [name, free] of Object.entries(fields)) {
      const { bytes } = byName(name)
      const size = name === 'DATA' ? 16 : bytes.length
      for (let at = 4; at < size; at++) {
        if (free.includes(at) || at === 5) continue
        for (let value = 0; value <= 0xff; value++) {
          if (bytes[at] === value || (name === 'RECEIPT' && at === 9 && value <= 0x1f)) continue
          const other = Buffer.from(bytes)
          other[at] = value
          expect(() => decode(other)).toThrow(Violation)
        }
      }
    }
  })

  test('a type in another msgpack form is no way around its fixed layout', () => {
    for (const type of FIXED) {
      const t = type.toString(16).padStart(2, '0')
      for (const body of [`93cc${t}0101`, `dc0003${t}0101`, `93cd00${t}0101`, `93d0${t}0101`, `dd00000003${t}0101`]) {
        // Read as another type, and as such not known in a session.
        const said = decode(frameOf(body))
        expect(said[0]).toStartWith('control')
        expect(() => readControl(Buffer.from(body, 'hex'))).toThrow(Violation)
      }
    }
  })
})

describe('lengths', () => {
  test('of a fixed layout: one only', () => {
    for (const name of ['DATA', 'CREDIT', 'FIN', 'PING', 'PONG', 'RECEIPT']) {
      const { bytes } = byName(name)
      const right = bytes.readUInt32BE(0)
      for (const length of [0, 1, 2, right - 1, right + 1, 65_536, 65_537, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
        const other = Buffer.from(bytes)
        other.writeUInt32BE(length)
        expect(() => decode(other)).toThrow(Violation)
      }
    }
  })

  test('of a DATA payload: 1 to 262,144', () => {
    const max = LIMIT.payload
    for (const n of [1, 2, max - 1, max]) {
      expect(decode(raw.data(1, Buffer.alloc(n)))).toHaveLength(1)
    }
    for (const n of [0, max + 1, 0x7fff_ffff, 0xffff_ffff]) {
      const header = Buffer.from(`000000009303ce00000001c6${u32(n)}`, 'hex')
      header.writeUInt32BE((12 + n) >>> 0)
      expect(() => decode(header)).toThrow(Violation)
    }
  })

  test('of a control frame: 2 to 65,536, refused on its header', () => {
    const head = (length: number) => Buffer.from(`${u32(length)}940600`, 'hex')
    for (const length of [2, 3, 65_535, 65_536]) expect(() => decode(head(length).subarray(0, 6))).not.toThrow()
    for (const length of [0, 1, 65_537, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff])
      expect(() => decode(head(length))).toThrow(Violation)
    // Without a type that could follow, four bytes are enough to know.
    for (const length of [0, 1]) expect(() => decode(head(length).subarray(0, 4))).toThrow(Violation)
  })

  test('a control frame of the largest size, in every kind of pieces', () => {
    const body = Buffer.alloc(65_536, 0xc0)
    body[0] = 0xdc
    const frame = Buffer.concat([Buffer.from('00010000', 'hex'), body])
    for (const size of [1, 7, 16, 1000, 65_535, 65_536, 65_539, 65_540]) {
      const chunks: Buffer[] = []
      for (let at = 0; at < frame.length; at += size) chunks.push(frame.subarray(at, at + size))
      expect(decode(...chunks, raw.fin(1))).toEqual([`control ${body.toString('hex')}`, 'fin 1'])
    }
  })
})

describe('the first frame of a connection', () => {
  const init = byName('INIT').bytes

  test('is read from any pieces, and the rest is handed on', () => {
    const rest = Buffer.from('behind it')
    for (let cut = 1; cut < init.length; cut++) {
      const first = new FirstFrame(LIMIT.stranger)
      expect(first.push(init.subarray(0, cut))).toBeNull()
      const got = first.push(Buffer.concat([init.subarray(cut), rest]))
      expect(got!.body.equals(init.subarray(4))).toBe(true)
      expect(got!.rest.toString()).toBe('behind it')
    }
  })

  test('keeps no view of a piece', () => {
    const first = new FirstFrame(LIMIT.stranger)
    const piece = Buffer.from(init.subarray(0, 50))
    first.push(piece)
    piece.fill(0)
    expect(first.push(init.subarray(50))!.body.equals(init.subarray(4))).toBe(true)
  })

  test('has a limit, known from its first four bytes', () => {
    for (const [length, good] of [
      [0, false],
      [1, false],
      [2, true],
      [4095, true],
      [4096, true],
      [4097, false],
      [0xffff_ffff, false],
    ] as const) {
      const push = () => new FirstFrame(LIMIT.stranger).push(Buffer.from(u32(length), 'hex'))
      if (good) expect(push()).toBeNull()
      else expect(push).toThrow(Violation)
    }
    const whole = new FirstFrame(LIMIT.stranger).push(
      Buffer.concat([Buffer.from(u32(4096), 'hex'), Buffer.alloc(4096)]),
    )
    expect(whole!.body).toHaveLength(4096)
  })
})

describe('what is packed can be read', () => {
  test('texts are cut to their limit between characters, and are UTF-8 whatever they were', () => {
    for (const text of [
      'x'.repeat(300),
      'é'.repeat(200),
      '🍺'.repeat(100),
      `${'x'.repeat(255)}é`,
      '\ud800',
      `a\udc00b`,
    ]) {
      for (const m of [
        { type: RESET, stream: 0, code: 1, text },
        { type: GOAWAY, code: 1, text, last: 0 },
      ] as const) {
        const read = readControl(controlFrame(m).subarray(4))
        if (read.type !== RESET && read.type !== GOAWAY) throw new Error('another type')
        expect(Buffer.byteLength(read.text)).toBeLessThanOrEqual(LIMIT.text)
        expect(read.text.length).toBeGreaterThan(0)
        expect(read.text.isWellFormed()).toBe(true)
      }
      const answer = { id: 1, refused: 'W-PORT-TAKEN', why: text }
      expect(readControl(controlFrame({ type: BOUND, answer }).subarray(4)).type).toBe(BOUND)
      const ack = { version: 1, session: Buffer.alloc(16), credit: 1, capabilities: [], tunnels: [answer] }
      expect(readRegistration(ackFrame(ack).subarray(4)).ok).toBe(true)
    }
  })

  test('INIT is the only thing read as INIT, ACK or a refusal as the answer', () => {
    for (const v of vectors) {
      const type = v.bytes[5]!
      if (type === INIT) expect(() => readInit(v.bytes.subarray(4))).not.toThrow()
      else expect(() => readInit(v.bytes.subarray(4))).toThrow(Violation)
      const good = type === ACK || (type === RESET && v.name !== 'RESET' && v.name !== 'RESET with a text')
      if (good) expect(() => readRegistration(v.bytes.subarray(4))).not.toThrow()
      else expect(() => readRegistration(v.bytes.subarray(4))).toThrow(Violation)
    }
  })
})
