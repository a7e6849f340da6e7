// The send ring: what was written is what was appended, from any byte between what is receipted and what is encoded.
import { describe, expect, test } from 'bun:test'
import { MEMORY_LIMITS, Memory, SESSION_CODE, TUNING } from '../../src/frame/index.ts'
import { Ring } from '../../src/frame/ring.ts'
import { Random } from '../oracle/random.ts'
import { Peer, raw } from './peer.ts'

const BLOCK = TUNING.block

class Counted extends Memory {
  out = 0
  override takeBlock(): Buffer {
    this.out++
    return super.takeBlock()
  }
  override giveBlock(block: Buffer): void {
    this.out--
    // As the next owner would.
    block.fill(0xaa)
    super.giveBlock(block)
  }
}

/** The byte at a position of the session. */
const byteAt = (position: number): number => (position * 31 + (position >>> 8) * 7) & 0xff

function append(ring: Ring, length: number): void {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i++) bytes[i] = byteAt(ring.head + i)
  const padded = Buffer.concat([Buffer.from('xx'), bytes, Buffer.from('x')])
  ring.append(padded, 2, length)
}

/** Writes everything from where the ring stands, `piece` bytes at most at a time, and checks each byte. */
function check(ring: Ring, piece = Number.POSITIVE_INFINITY, most = Number.POSITIVE_INFINITY): void {
  let at = ring.sent
  let left = most
  const start = at
  const write = (from: Buffer, offset: number, len: number) => {
    const n = Math.min(len, piece, left)
    for (let i = 0; i < n; i++) if (from[offset + i] !== byteAt(at + i)) throw new Error(`wrong byte at ${at + i}`)
    at += n
    left -= n
    return n
  }
  while (left > 0 && !ring.write(write));
  expect(ring.sent).toBe(Math.min(ring.head, start + most))
}

describe('replay', () => {
  test('from every offset of a ring of one block', () => {
    const ring = new Ring(new Counted())
    append(ring, 2500)
    check(ring)
    for (let p = ring.tail; p <= ring.head; p++) {
      ring.rewind(p)
      check(ring)
    }
  })

  test('from every offset of a stub with blocks behind it, at every receipt in it', () => {
    const memory = new Counted()
    const ring = new Ring(memory)
    append(ring, BLOCK + 700)
    check(ring)
    ring.receipt(BLOCK + 300)
    ring.compact()
    expect(memory.out).toBe(0)
    append(ring, 500)
    check(ring)
    expect(memory.out).toBe(1)
    for (let tail = ring.tail; tail <= ring.head; tail += 50) {
      ring.receipt(tail)
      for (let p = ring.tail; p <= ring.head; p++) {
        ring.rewind(p)
        check(ring, 97)
      }
    }
    expect(memory.out).toBe(0)
  })

  test('a stub of a stub: idle again before the first was receipted', () => {
    const memory = new Counted()
    const ring = new Ring(memory)
    for (let round = 0; round < 20; round++) {
      append(ring, 60)
      check(ring)
      if (round % 3 === 2) ring.receipt(ring.tail + 70)
      ring.compact()
      expect(memory.out).toBe(0)
      for (let p = ring.tail; p <= ring.head; p++) {
        ring.rewind(p)
        check(ring)
      }
    }
  })

  test('over the borders of blocks', () => {
    const ring = new Ring(new Counted())
    append(ring, 3 * BLOCK + 10)
    check(ring)
    ring.receipt(40)
    for (const border of [BLOCK, 2 * BLOCK, 3 * BLOCK]) {
      for (let p = border - 70; p <= Math.min(border + 70, ring.head); p++) {
        ring.rewind(p)
        check(ring, 33, Math.min(150, ring.head - p))
      }
    }
  })
})

test('appends of every size, partial writes and receipts at random keep every byte', () => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 0xffff_ffff))
  console.log(`ring: SEED=${seed}`)
  for (let run = 0; run < 60; run++) {
    const random = new Random(seed, run)
    const memory = new Counted()
    const ring = new Ring(memory)
    for (let step = 0; step < 60; step++) {
      if (ring.inFlight < 4 * BLOCK) append(ring, random.between(1, random.pick([16, 300, 5000, BLOCK, BLOCK + 1])))
      check(ring, random.between(1, BLOCK), random.between(0, ring.head - ring.sent))
      if (random.chance(60)) ring.receipt(random.between(ring.tail, ring.sent))
      if (random.chance(40)) ring.compact()
      if (random.chance(30)) ring.rewind(random.between(ring.tail, ring.head))
      expect(memory.out).toBeLessThanOrEqual(Math.ceil(ring.inFlight / BLOCK) + 1)
    }
    check(ring)
    ring.receipt(ring.head)
    expect(memory.out).toBe(0)
  }
})

test('a ring whose last byte is receipted at the very end of a block goes on', () => {
  const memory = new Counted()
  const ring = new Ring(memory)
  for (let i = 0; i < 5; i++) {
    append(ring, BLOCK)
    check(ring)
    ring.receipt(ring.head)
    expect(memory.out).toBe(0)
  }
})

test('spare blocks are kept up to their limit', () => {
  const memory = new Memory({ ...MEMORY_LIMITS, spareBlocks: 2 })
  const blocks = [memory.takeBlock(), memory.takeBlock(), memory.takeBlock()]
  for (const block of blocks) memory.giveBlock(block)
  const again = [memory.takeBlock(), memory.takeBlock(), memory.takeBlock()]
  expect(again.filter(b => blocks.includes(b))).toHaveLength(2)
})

describe('in a session', () => {
  test('an idle one holds no block, though its PINGs are never receipted', () => {
    const memory = new Counted()
    const peer = new Peer({ memory, opener: true })
    const stream = peer.open()
    stream.offer(Buffer.from('hello'))
    peer.bytes()
    expect(memory.out).toBe(1)
    peer.send(raw.receipt(peer.written))
    for (let i = 0; i < 100; i++) {
      peer.now += 1250
      peer.session.tick(peer.now)
      for (const ping of peer.frames()) if (ping[0] === 7) peer.send(raw.pong(Number(ping[2])))
      expect(memory.out).toBe(0)
    }
    expect(peer.over).toEqual([])
  })

  test('what was never receipted is held, and given back when the session is lost', () => {
    const memory = new Counted()
    const peer = new Peer({ memory, opener: true })
    const stream = peer.open()
    stream.offer(Buffer.alloc(60_000))
    peer.bytes()
    expect(memory.out).toBe(1)
    peer.session.lost()
    expect(memory.out).toBe(0)
    expect(peer.bytes()).toHaveLength(0)
  })

  for (const end of ['peer', 'silence', 'lost'] as const) {
    test(`ended with bytes that were never written (${end}): nothing more is written`, () => {
      const memory = new Counted()
      const peer = new Peer({ memory, opener: true })
      const stream = peer.open()
      peer.room = 10
      stream.offer(Buffer.alloc(60_000))
      peer.bytes()
      if (end === 'peer') peer.send(raw.reset(0, SESSION_CODE.SHUTDOWN))
      else if (end === 'lost') peer.session.lost()
      else for (let i = 0; i < 20; i++) peer.session.tick(peer.session.deadline())
      expect(peer.session.isOver).toBe(true)
      expect(memory.out).toBe(0)
      peer.room = 1000
      expect(peer.bytes()).toHaveLength(0)
    })
  }
})
