// Bulk that is taken from its source: in order, within credit and window, and with its end where it belongs.
import { describe, expect, test } from 'bun:test'
import { RESET_CODE, TUNING } from '../../src/frame/index.ts'
import { Collect, ofType, Peer, type Read, raw } from './peer.ts'

const DATA = 3
const FIN = 5

/** A source with a stock, as a socket has one. */
class Source extends Collect {
  readonly takes = true
  /** How often it was told to go on by itself. */
  mores = 0
  stock: Buffer
  asked = 0

  constructor(stock: Buffer) {
    super()
    this.stock = stock
  }

  take(into: readonly Buffer[], first: number, at: number, len: number): number {
    this.asked++
    const n = Math.min(len, this.stock.length)
    for (let done = 0, piece = first, from = at; done < n; piece++, from = 0)
      done += this.stock.copy(into[piece]!, from, done, n)
    this.stock = this.stock.subarray(n)
    return n
  }

  more(): void {
    this.mores++
  }

  /** As Bun hands over a chunk. */
  chunk(bytes: number): Buffer {
    const chunk = Buffer.from(this.stock.subarray(0, bytes))
    this.stock = this.stock.subarray(bytes)
    return chunk
  }
}

const noise = (bytes: number): Buffer => {
  const all = Buffer.alloc(bytes)
  for (let i = 0; i < bytes; i++) all[i] = Math.imul(i, 0x9e3779b1) >>> 24
  return all
}

const payload = (frames: readonly Read[], id: number): Buffer =>
  Buffer.concat(ofType(frames, DATA).flatMap(([, stream, bytes]) => (stream === id ? [bytes as Buffer] : [])))

function begin(stock: Buffer, credit: number) {
  const peer = new Peer()
  const { stream } = peer.accept(1)
  const source = new Source(stock)
  stream.sink = source
  peer.send(raw.credit(1, credit))
  return { peer, stream, source }
}

describe('behind a chunk', () => {
  test('what there is goes at once, and the source goes on by itself', () => {
    const all = noise(200_000)
    const { peer, stream, source } = begin(all, 1_000_000)
    expect(stream.offer(source.chunk(100_000))).toBe(true)
    expect(stream.takeMore()).toBe(false)
    expect(source.asked).toBe(1)
    expect(payload(peer.frames(), 1).equals(all)).toBe(true)
    expect(source.mores).toBe(0)
  })

  test('no more than the credit, and the rest when there is more of it', () => {
    const all = noise(300_000)
    const { peer, stream, source } = begin(all, 100_000)
    expect(stream.offer(source.chunk(70_000))).toBe(true)
    expect(stream.takeMore()).toBe(true)
    const first = payload(peer.frames(), 1)
    expect(first.length).toBe(165_536)
    peer.send(raw.credit(1, 50_000))
    const second = payload(peer.frames(), 1)
    expect(second.length).toBe(50_000)
    expect(source.mores).toBe(0)
    peer.send(raw.credit(1, 1_000_000), raw.receipt(peer.written))
    const rest = payload(peer.frames(), 1)
    expect(Buffer.concat([first, second, rest]).equals(all)).toBe(true)
    expect(source.mores).toBe(1)
  })

  test('no more than the window, until receipts come', () => {
    const all = noise(2_000_000)
    const { peer, stream, source } = begin(all, 4_000_000)
    stream.offer(source.chunk(100_000))
    expect(stream.takeMore()).toBe(true)
    const parts: Buffer[] = []
    for (let round = 0; round < 100 && source.mores === 0; round++) {
      const bytes = peer.bytes()
      expect(bytes.length).toBeLessThanOrEqual(TUNING.window + 64)
      parts.push(bytes)
      peer.send(raw.receipt(peer.written))
    }
    expect(source.mores).toBe(1)
    expect(source.stock.length).toBe(0)
  })
})

test('a chunk that has to wait is followed by what is taken, in order, and FIN comes last', () => {
  const all = noise(500_000)
  const { peer, stream, source } = begin(all, 1_000_000)
  peer.room = 0
  expect(stream.offer(source.chunk(300_000))).toBe(false)
  peer.room = Number.POSITIVE_INFINITY
  const frames: Read[] = []
  for (let round = 0; round < 20 && source.mores === 0; round++) {
    frames.push(...peer.frames())
    peer.send(raw.receipt(peer.written))
  }
  expect(source.freed.length).toBe(1)
  expect(source.mores).toBe(1)
  stream.finish()
  frames.push(...peer.frames())
  expect(payload(frames, 1).equals(all)).toBe(true)
  expect(frames.filter(([type]) => type === DATA || type === FIN).at(-1)?.[0]).toBe(FIN)
})

test('a source that ends while it is taken from: FIN as soon as it has nothing more', () => {
  const { peer, stream, source } = begin(noise(100_000), 1)
  stream.offer(source.chunk(65_536))
  expect(stream.takeMore()).toBe(true)
  source.stock = Buffer.alloc(0)
  stream.finish()
  expect(ofType(peer.frames(), FIN)).toEqual([])
  peer.send(raw.credit(1, 1_000))
  expect(ofType(peer.frames(), FIN)).toEqual([[FIN, 1]])
})

test('an aborted stream takes nothing', () => {
  const { peer, stream, source } = begin(noise(300_000), 1)
  stream.offer(source.chunk(65_536))
  expect(stream.takeMore()).toBe(true)
  stream.abort(RESET_CODE.ABORTED)
  const { asked } = source
  peer.send(raw.credit(1, 1_000_000))
  peer.frames()
  expect(source.asked).toBe(asked)
  expect(stream.takeMore()).toBe(false)
})

test('between two connections nothing is taken, and all of it after the next', () => {
  const all = noise(400_000)
  const { peer, stream, source } = begin(all, 1_000_000)
  stream.offer(source.chunk(100_000))
  expect(stream.takeMore()).toBe(true)
  const parts = [payload(peer.frames(), 1)]
  peer.session.detach()
  const { asked } = source
  peer.frames()
  expect(source.asked).toBe(asked)
  peer.session.attach(peer.written, peer.now)
  for (let round = 0; round < 20 && source.mores === 0; round++) {
    parts.push(payload(peer.frames(), 1))
    peer.send(raw.receipt(peer.written))
  }
  parts.push(payload(peer.frames(), 1))
  expect(Buffer.concat(parts).equals(all)).toBe(true)
})
