// A stream's two directions and its ends, seen from its sink: what it is told, what it may do meanwhile, what is counted.
import { describe, expect, test } from 'bun:test'
import { MEMORY_LIMITS, Memory, RESET_CODE, SESSION_CODE } from '../../src/frame/index.ts'
import { LIMIT } from '../../src/frame/wire.ts'
import { Collect, ofType, Peer, raw } from './peer.ts'

const CREDIT = 4
const FIN = 5
const RESET = 6

test('a session without a stream id left ends, so that its agent begins another one', () => {
  const limit = LIMIT as { streamId: number }
  const { streamId } = limit
  limit.streamId = 2
  try {
    const peer = new Peer({ opener: true })
    peer.open()
    peer.open()
    expect(peer.session.isOver).toBe(false)
    expect(peer.session.open({ tunnel: 1, visitor: 'v', edge: 'e' }, new Collect())).toBeNull()
    expect(peer.over).toMatchObject([{ by: 'self', code: SESSION_CODE.SHUTDOWN }])
  } finally {
    limit.streamId = streamId
  }
})

describe('a sink that calls back from data()', () => {
  test('abort while queued bytes are flushed: counted once, no FIN, no more data', () => {
    const peer = new Peer()
    const { stream, sink } = peer.accept(1)
    sink.appetite = 0
    peer.send(raw.data(1, 'some bytes'), raw.fin(1))
    expect(peer.memory.buffered).toBe(10)
    sink.appetite = 4
    sink.onData = () => stream.abort(RESET_CODE.ABORTED)
    stream.flush()
    expect(peer.memory.buffered).toBe(0)
    expect(sink.ended).toBe(0)
    stream.flush()
    expect(sink.length).toBe(4)
    expect(sink.ended).toBe(0)
  })

  test('flush from within flush gives no byte twice', () => {
    const peer = new Peer()
    const { stream, sink } = peer.accept(1)
    sink.appetite = 0
    peer.send(raw.data(1, 'abc'))
    peer.send(raw.data(1, 'def'), raw.fin(1))
    sink.appetite = 2
    sink.onData = () => stream.flush()
    for (let i = 0; i < 5; i++) stream.flush()
    expect(sink.bytes.toString()).toBe('abcdef')
    expect(sink.ended).toBe(1)
    expect(peer.memory.buffered).toBe(0)
  })

  test('abort while DATA is being received: the rest of the frame is dropped', () => {
    const peer = new Peer()
    const { stream, sink } = peer.accept(1)
    sink.onData = () => stream.abort(RESET_CODE.REFUSED)
    const bytes = raw.data(1, 'abcdef')
    peer.send(bytes.subarray(0, 18))
    peer.send(bytes.subarray(18), raw.fin(1))
    expect(sink.bytes.toString()).toBe('ab')
    expect(sink.ended).toBe(0)
    expect(ofType(peer.frames(), RESET)).toEqual([[RESET, 1, RESET_CODE.REFUSED, '']])
    expect(peer.session.streams).toBe(0)
  })
})

describe('after a reset', () => {
  test('no FIN reaches the sink, though FIN had come and a late drain flushes', () => {
    const peer = new Peer()
    const { stream, sink } = peer.accept(1)
    sink.appetite = 0
    peer.send(raw.data(1, 'kept back'), raw.fin(1))
    peer.send(raw.reset(1, RESET_CODE.ABORTED))
    expect(sink.resets).toEqual([RESET_CODE.ABORTED])
    sink.appetite = 100
    stream.flush()
    expect(sink.length).toBe(0)
    expect(sink.ended).toBe(0)
    expect(peer.memory.buffered).toBe(0)
  })

  test('the same when the session is lost', () => {
    const peer = new Peer()
    const { stream, sink } = peer.accept(1)
    sink.appetite = 0
    peer.send(raw.data(1, 'kept back'), raw.fin(1))
    peer.session.lost()
    sink.appetite = 100
    stream.flush()
    expect(sink.resets).toEqual([RESET_CODE.ABORTED])
    expect(sink.ended).toBe(0)
    expect(sink.length).toBe(0)
  })
})

describe('a stream that ended by FIN both ways with bytes still queued', () => {
  const ended = () => {
    const peer = new Peer()
    const { stream, sink } = peer.accept(1)
    sink.appetite = 0
    stream.finish()
    expect(ofType(peer.frames(), FIN)).toHaveLength(1)
    peer.send(raw.data(1, 'the last words'), raw.fin(1))
    expect(peer.session.streams).toBe(0)
    return { peer, stream, sink }
  }

  test('is delivered whole, even after the session', () => {
    const { peer, stream, sink } = ended()
    peer.session.lost()
    sink.appetite = 5
    for (let i = 0; i < 3; i++) stream.flush()
    expect(sink.bytes.toString()).toBe('the last words')
    expect(sink.ended).toBe(1)
    expect(sink.resets).toEqual([])
    expect(peer.memory.buffered).toBe(0)
  })

  test('an abort then gives up what is queued, and tells the peer nothing', () => {
    const { peer, stream, sink } = ended()
    stream.abort(RESET_CODE.ABORTED)
    expect(peer.memory.buffered).toBe(0)
    expect(ofType(peer.frames(), RESET)).toEqual([])
    sink.appetite = 100
    stream.flush()
    expect(sink.length).toBe(0)
    expect(sink.ended).toBe(0)
  })

  test('too many bytes buffered: it is given up like any other, and its sink is reset', () => {
    const memory = new Memory({ ...MEMORY_LIMITS, buffered: 20 })
    const peer = new Peer({ memory })
    const { stream, sink } = peer.accept(1)
    sink.appetite = 0
    stream.finish()
    peer.frames()
    peer.send(raw.data(1, 'the last words'), raw.fin(1))
    const other = peer.accept(2)
    other.sink.appetite = 0
    peer.send(raw.data(2, 'ten bytes.'))
    expect(sink.resets).toEqual([RESET_CODE.BUSY])
    expect(other.sink.resets).toEqual([])
    expect(memory.buffered).toBe(10)
  })
})

test('a session that ends while one sink aborts the other streams: they are not told, credit is taken back once', () => {
  const peer = new Peer()
  const first = peer.accept(1)
  const second = peer.accept(2)
  // Grow the second stream's window, so that there is something to take back.
  for (let i = 0; i < 4; i++) {
    peer.send(raw.data(2, Buffer.alloc(32_768)))
    peer.frames()
  }
  expect(peer.memory.granted).toBeGreaterThan(0)
  first.sink.onReset = () => second.stream.abort(RESET_CODE.ABORTED)
  peer.session.lost()
  expect(first.sink.resets).toHaveLength(1)
  expect(second.sink.resets).toHaveLength(0)
  expect(peer.memory.granted).toBe(0)
})

describe('ends', () => {
  test('FIN comes after the last byte is taken, once; CREDIT stops at FIN', () => {
    const peer = new Peer()
    const { stream, sink } = peer.accept(1)
    sink.appetite = 0
    peer.send(raw.data(1, Buffer.alloc(65_536, 1)), raw.fin(1))
    expect(sink.ended).toBe(0)
    sink.appetite = 60_000
    stream.flush()
    expect(sink.ended).toBe(0)
    stream.flush()
    stream.flush()
    expect(sink.ended).toBe(1)
    expect(ofType(peer.frames(), CREDIT)).toEqual([])
  })

  test('finish and abort more than once do no more than once', () => {
    const peer = new Peer({ opener: true })
    const stream = peer.open()
    stream.finish()
    stream.finish()
    expect(ofType(peer.frames(), FIN)).toHaveLength(1)
    stream.abort(RESET_CODE.ABORTED)
    stream.abort(RESET_CODE.ABORTED)
    stream.finish()
    expect(stream.offer(Buffer.from('late'))).toBe(true)
    const frames = peer.frames()
    expect(ofType(frames, RESET)).toHaveLength(1)
    expect(ofType(frames, FIN)).toHaveLength(0)
    expect(peer.memory.buffered).toBe(0)
  })

  test('what is offered after finish is not sent', () => {
    const peer = new Peer({ opener: true })
    const stream = peer.open()
    stream.finish()
    expect(stream.offer(Buffer.from('late'))).toBe(true)
    expect(ofType(peer.frames(), 3)).toEqual([])
  })
})
