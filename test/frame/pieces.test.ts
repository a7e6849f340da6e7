// What one chunk brings for one stream reaches its sink at once.
import { describe, expect, test } from 'bun:test'
import { PIECES_MAX } from '../../src/frame/pieces.ts'
import { Peer, raw } from './peer.ts'

/** Streams 1 and 2, accepted. */
function two() {
  const peer = new Peer()
  const { stream, sink } = peer.accept(1)
  const other = peer.accept(2).sink
  return { peer, stream, sink, other }
}

describe('frames of one stream in one chunk', () => {
  test('are given to its sink together, whatever of the session lies between them', () => {
    const { peer, sink } = two()
    const tail = raw.data(1, 'cut here')
    peer.send(
      raw.data(1, 'a'),
      raw.ping(1),
      raw.data(1, 'bc'),
      raw.credit(1, 5),
      raw.data(1, 'd'),
      tail.subarray(0, 20),
    )
    expect(sink.counts).toEqual([4])
    peer.send(tail.subarray(20), raw.data(1, '!'))
    expect(sink.counts).toEqual([4, 2])
    expect(sink.bytes.toString()).toBe('abcdcut here!')
  })

  test('come before what follows them: its end, its reset, and what is for others', () => {
    const { peer, sink, other } = two()
    const heard: string[] = []
    sink.onData = () => heard.push(`1 has ${sink.bytes}`)
    sink.onEnd = () => heard.push('1 ends')
    other.onData = () => heard.push(`2 has ${other.bytes}`)
    other.onReset = () => heard.push('2 is reset')
    peer.send(
      raw.data(1, 'a'),
      raw.data(2, 'x'),
      raw.data(2, 'y'),
      raw.reset(2, 0),
      raw.data(1, 'b'),
      raw.data(1, 'c'),
      raw.fin(1),
    )
    expect(heard).toEqual(['1 has a', '2 has xy', '2 is reset', '1 has abc', '1 ends'])
  })

  test('come no more than one call of the system is given', () => {
    const { peer, sink } = two()
    peer.send(...Array.from({ length: 2 * PIECES_MAX + 1 }, () => raw.data(1, 'x')))
    expect(sink.counts).toEqual([PIECES_MAX, PIECES_MAX, 1])
    expect(sink.length).toBe(2 * PIECES_MAX + 1)
  })

  test('open nothing more when a sink ends the session on them', () => {
    const { peer, sink, other } = two()
    sink.onData = () => peer.session.close(7, 'enough')
    peer.send(raw.data(1, 'a'), raw.dataInit(3), raw.data(2, 'x'))
    expect(peer.over).toHaveLength(1)
    expect(peer.accepted.map(({ stream }) => stream.id)).toEqual([1, 2])
    expect(peer.session.streams).toBe(0)
    expect(other.length).toBe(0)
  })

  test('are delivered although a violation follows', () => {
    const { peer, stream, sink } = two()
    stream.finish()
    peer.frames()
    peer.send(
      raw.data(1, 'all '),
      raw.data(1, 'of it'),
      raw.fin(1),
      raw.data(2, 'x'),
      raw.data(2, 'y'),
      raw.credit(2, 0),
    )
    expect(peer.over.map(how => how.by)).toEqual(['violation'])
    expect(sink.bytes.toString()).toBe('all of it')
    expect(sink.ended).toBe(1)
    expect(peer.accepted[1]!.sink.bytes.toString()).toBe('xy')
  })

  test('are kept although a violation follows: the chunk is not freed, and what ended whole is delivered whole', () => {
    const { peer, stream, sink } = two()
    stream.finish()
    peer.frames()
    sink.appetite = 0
    expect(peer.send(raw.data(1, Buffer.alloc(5_000, 'v')), raw.fin(1), raw.credit(2, 0))).toBe(false)
    expect(peer.over.map(how => how.by)).toEqual(['violation'])
    sink.appetite = 5_000
    stream.flush()
    expect(sink.bytes.equals(Buffer.alloc(5_000, 'v'))).toBe(true)
    expect(sink.ended).toBe(1)
  })

  test.each([0, 1, 3, 4, 5, 9])('of which a sink took %d bytes are offered from there on', appetite => {
    const { peer, stream, sink } = two()
    sink.appetite = appetite
    peer.send(raw.data(1, 'abc'), raw.data(1, 'defg'), raw.data(1, 'hi'), raw.fin(1))
    expect(sink.bytes.toString()).toBe('abcdefghi'.slice(0, appetite))
    expect(peer.memory.buffered).toBe(9 - appetite)
    sink.appetite = 2
    while (sink.length < 9) stream.flush()
    expect(sink.bytes.toString()).toBe('abcdefghi')
    expect(sink.ended).toBe(1)
    expect(peer.memory.buffered).toBe(0)
  })

  test('are dropped from the one on in which the sink gives up', () => {
    const { peer, stream, sink } = two()
    sink.appetite = 2
    sink.onData = () => stream.abort(0)
    peer.send(raw.data(1, 'abc'), raw.data(1, 'def'))
    peer.send(raw.data(1, 'ghi'), raw.fin(1))
    expect(sink.bytes.toString()).toBe('ab')
    expect(peer.memory.buffered).toBe(0)
  })
})
