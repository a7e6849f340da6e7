// A peer that breaks the rules, in every state, in both roles: it loses its session with code PROTOCOL, every sink of
// that session hears a reset, nothing stays counted, and no other session notices. And a peer that keeps the rules but
// means harm: what it can make us keep is bounded.
import { describe, expect, test } from 'bun:test'
import { LIMIT, Memory, RESET_CODE, SESSION_CODE, TUNING } from '../../src/frame/index.ts'
import { DATA_INIT, PONG, RECEIPT, RESET } from '../../src/frame/wire.ts'
import { Collect, frameOf, ofType, Peer, raw, u32 } from './peer.ts'

const MAX32 = 0xffff_ffff
const str = (s: string) => `da${Buffer.byteLength(s).toString(16).padStart(4, '0')}${Buffer.from(s).toString('hex')}`

/** A session with streams in several states: 1 open, 2 half-closed by the peer, 3 by us, 4 over, 5 reset. */
function inUse(opener: boolean) {
  const memory = new Memory()
  const bystander = new Peer({ memory })
  const { stream: spared, sink: sparedSink } = bystander.accept(1)
  sparedSink.appetite = 0
  bystander.send(raw.data(1, 'not touched'))
  const bound: string[] = []
  const peer = new Peer({
    opener,
    memory,
    events: opener
      ? { bind: t => bound.push(t.name), unbind: id => bound.push(String(id)) }
      : { bound: a => bound.push(String(a.id)) },
  })
  const sinks: Collect[] = []
  const streams = [1, 2, 3, 4, 5].map(id => {
    if (!opener) {
      const { stream, sink } = peer.accept(id)
      sinks.push(sink)
      return stream
    }
    const sink = new Collect()
    sinks.push(sink)
    return peer.open(sink)
  })
  peer.frames()
  peer.send(raw.fin(2), raw.fin(4))
  streams[2]!.finish()
  streams[3]!.finish()
  peer.frames()
  peer.send(raw.reset(5, RESET_CODE.ABORTED))
  expect(peer.session.streams).toBe(3)
  // Something is queued, something waits to be sent.
  sinks[0]!.appetite = 0
  peer.send(raw.data(1, Buffer.alloc(1000)))
  streams[1]!.offer(Buffer.alloc(100_000))
  return { peer, streams, sinks, memory, spared, bystander }
}

/** These bytes end the session as the rules want it. */
function breaks(opener: boolean, bytes: Buffer): void {
  const { peer, sinks, memory, bystander } = inUse(opener)
  expect(peer.send(bytes)).toBe(true)
  expect(peer.over).toHaveLength(1)
  expect(peer.over[0]!.by).toBe('violation')
  expect(peer.over[0]!.code).toBe(SESSION_CODE.PROTOCOL)
  expect(peer.session.streams).toBe(0)
  // Those that were open are reset; the one over by FIN both ways and the one reset before are not told again.
  expect(sinks.map(s => s.resets.length)).toEqual([1, 1, 1, 0, 1])
  // Only the bystander's bytes are counted.
  expect(memory.buffered).toBe(11)
  expect(memory.granted).toBe(0)
  expect(bystander.over).toEqual([])
  const frames = peer.frames()
  expect(ofType(frames, RESET).at(-1)!.slice(0, 3)).toEqual([RESET, 0, SESSION_CODE.PROTOCOL])
  // Deaf from then on.
  expect(peer.send(raw.ping(9), raw.data(1, 'more'))).toBe(true)
  expect(peer.frames()).toEqual([])
  expect(peer.over).toHaveLength(1)
}

/** These do not. */
function harmless(opener: boolean, bytes: Buffer): ReturnType<typeof inUse> {
  const all = inUse(opener)
  all.peer.send(bytes)
  expect(all.peer.over).toEqual([])
  return all
}

for (const opener of [true, false]) {
  describe(opener ? 'towards the side that opens' : 'towards the side that accepts', () => {
    test('frames of a stream that was never opened', () => {
      for (const id of [0, 6, 7, 0x7fff_ffff, 0x8000_0000, MAX32]) {
        breaks(opener, raw.data(id, 'x'))
        breaks(opener, raw.credit(id, 1))
        breaks(opener, raw.fin(id))
        if (id !== 0) breaks(opener, raw.reset(id, 0))
      }
    })

    test('frames of a stream that is over are dropped without an answer', () => {
      for (const id of [4, 5]) {
        const { peer } = harmless(
          opener,
          Buffer.concat([raw.data(id, 'x'), raw.credit(id, 1), raw.fin(id), raw.fin(id), raw.reset(id, 0)]),
        )
        expect(ofType(peer.frames(), RESET)).toEqual([])
      }
    })

    test('DATA after FIN, FIN after FIN', () => {
      breaks(opener, raw.data(2, 'x'))
      breaks(opener, raw.fin(2))
      breaks(opener, Buffer.concat([raw.fin(1), raw.data(1, 'x')]))
    })

    test('DATA beyond the credit: one byte is enough, and it is known from the header', () => {
      harmless(opener, raw.data(3, Buffer.alloc(TUNING.firstCredit)))
      breaks(opener, raw.data(3, Buffer.alloc(TUNING.firstCredit + 1)))
      breaks(opener, raw.data(3, Buffer.alloc(TUNING.firstCredit + 1)).subarray(0, 16))
      breaks(opener, Buffer.concat([raw.data(3, Buffer.alloc(TUNING.firstCredit)), raw.data(3, 'x')]))
      breaks(opener, raw.data(1, Buffer.alloc(TUNING.firstCredit - 999)))
    })

    test('CREDIT: 0, up to the limit, over it, and the sum over it', () => {
      breaks(opener, raw.credit(1, 0))
      harmless(opener, raw.credit(1, 1))
      harmless(opener, raw.credit(1, LIMIT.credit - TUNING.firstCredit))
      breaks(opener, raw.credit(1, LIMIT.credit - TUNING.firstCredit + 1))
      for (const bytes of [LIMIT.credit + 1, 0x7fff_ffff, 0x8000_0000, MAX32 - 1, MAX32])
        breaks(opener, raw.credit(1, bytes))
      const steps = Array.from({ length: 5 }, () => raw.credit(1, 0x40_0000))
      breaks(opener, Buffer.concat(steps))
    })

    test('CREDIT after our FIN, and RECEIPTs lower than known, are nothing', () => {
      harmless(opener, raw.credit(3, 1000))
      const { peer } = inUse(opener)
      peer.frames()
      const position = peer.written
      peer.send(raw.receipt(position), raw.receipt(position - 1), raw.receipt(0), raw.receipt(position))
      expect(peer.over).toEqual([])
      peer.send(raw.receipt(position + 1))
      expect(peer.over).toHaveLength(1)
    })

    test('RECEIPT of what was never sent', () => {
      for (const p of [2 ** 32, 2 ** 53 - 1]) breaks(opener, raw.receipt(p))
      for (const hex of ['0020000000000000', 'ffffffffffffffff', '8000000000000000'])
        breaks(opener, frameOf(`930d00cf${hex}`))
    })

    test('RESET: every code, and the first beyond', () => {
      for (let code = 0; code <= RESET_CODE.PROTOCOL; code++) {
        const { sinks } = harmless(opener, raw.reset(1, code))
        expect(sinks[0]!.resets).toEqual([code])
      }
      for (const code of [RESET_CODE.PROTOCOL + 1, 12, 0x7fff_ffff, MAX32]) breaks(opener, raw.reset(1, code))
      for (const code of [SESSION_CODE.DEAD + 1, MAX32]) breaks(opener, raw.reset(0, code))
    })

    test('RESET on stream 0 ends it in good order, with every code', () => {
      for (const code of Object.values(SESSION_CODE)) {
        const { peer, sinks, memory } = inUse(opener)
        // What follows in the same chunk is not looked at, not even for rules.
        peer.send(raw.reset(0, code, 'why'), raw.data(77, 'x'), raw.reset(0, code))
        expect(peer.over).toEqual([{ by: 'peer', code, text: 'why' }])
        expect(sinks.map(s => s.resets.length)).toEqual([1, 1, 1, 0, 1])
        expect(memory.buffered).toBe(11)
        expect(peer.frames()).toEqual([])
      }
    })

    test('texts: 0, 1, and around their limit, and what is not UTF-8', () => {
      const reset = (text: string) => frameOf(`94 06 01 00 ${text}`)
      for (const n of [0, 1, LIMIT.text - 1, LIMIT.text]) harmless(opener, reset(str('x'.repeat(n))))
      for (const n of [LIMIT.text + 1, 60_000]) breaks(opener, reset(str('x'.repeat(n))))
      harmless(opener, reset(str('é'.repeat(LIMIT.text / 2))))
      breaks(opener, reset(str(`${'é'.repeat(LIMIT.text / 2)}x`)))
      for (const bad of ['a1ff', 'a2c080', 'a3eda080', 'c400', 'c0', '01']) breaks(opener, reset(bad))
    })

    test('GOAWAY: stream 0 only, known codes, u32 last', () => {
      harmless(opener, raw.goaway(0))
      harmless(opener, raw.goaway(11, 'x', MAX32))
      breaks(opener, raw.goaway(12))
      breaks(opener, frameOf('95 09 01 00 a0 00'))
      breaks(opener, frameOf('95 09 00 00 a0 ff'))
      breaks(opener, frameOf('94 09 00 00 a0'))
      breaks(opener, frameOf('96 09 00 00 a0 00 00'))
    })

    test('types that have no place in a session, and types that nobody has', () => {
      for (const type of [0, 1, 14, 15, 16, 0x7f]) {
        const t = type.toString(16).padStart(2, '0')
        breaks(opener, frameOf(`93${t}0001`))
        breaks(opener, frameOf(`94${t}00c400c400`))
      }
      for (const body of ['93cc0600a0', '90', '80', '00', 'c0', 'a0', '91a0', '93ff00a0'])
        breaks(opener, frameOf(body.length < 4 ? `91${body}` : body))
    })

    test('PING and PONG: any number, whether asked or not', () => {
      for (const n of [0, 1, 0x7fff_ffff, 0x8000_0000, MAX32 - 1, MAX32]) {
        const { peer } = harmless(opener, Buffer.concat([raw.ping(n), raw.pong(n)]))
        expect(ofType(peer.frames(), PONG)).toEqual([[PONG, 0, n]])
      }
    })

    test('frames of the wrong direction', () => {
      const bind = frameOf(`93 0a 00 83 a26964 01 a46e616d65 a2${Buffer.from('db').toString('hex')} a4706f7274 c0`)
      const bound = frameOf('93 0b 00 84 a26964 01 a4686f7374 a168 a4706f7274 01 a565706f6368 00')
      const unbind = frameOf('93 0c 00 01')
      if (opener) {
        breaks(opener, raw.dataInit(6))
        breaks(opener, bound)
        harmless(opener, Buffer.concat([bind, unbind]))
      } else {
        breaks(opener, bind)
        breaks(opener, unbind)
        harmless(opener, bound)
      }
    })
  })
}

describe('DATA_INIT, field by field', () => {
  const init = (fields: { id?: string; tunnel?: string; visitor?: string; edge?: string; credit?: string }) =>
    frameOf(
      `96 02 ${fields.id ?? '06'} ${fields.tunnel ?? '00'} ${fields.visitor ?? 'a0'} ${fields.edge ?? 'a0'} ${fields.credit ?? '00'}`,
    )
  const good = (bytes: Buffer) => {
    const { peer } = harmless(false, bytes)
    expect(peer.accepted).toHaveLength(6)
  }
  const bad = (bytes: Buffer) => breaks(false, bytes)

  test('the id: above all before it', () => {
    for (const id of ['00', '01', '04', '05', 'e0', 'ff']) bad(init({ id }))
    for (const id of ['06', '07', 'ce7fffffff', 'cefffffffe', 'ceffffffff']) good(init({ id }))
    // After the last there is none.
    bad(Buffer.concat([init({ id: 'ceffffffff' }), init({ id: 'ceffffffff' })]))
  })

  test('the tunnel: 16 bits', () => {
    for (const tunnel of ['00', '01', 'cdfffe', 'cdffff']) good(init({ tunnel }))
    for (const tunnel of ['ce00010000', 'ceffffffff', 'ff', 'c0', 'a0']) bad(init({ tunnel }))
  })

  test('the addresses: 64 bytes', () => {
    for (const n of [0, 1, 63, 64]) {
      good(init({ visitor: str('x'.repeat(n)) }))
      good(init({ edge: str('x'.repeat(n)) }))
    }
    for (const n of [65, 1000]) {
      bad(init({ visitor: str('x'.repeat(n)) }))
      bad(init({ edge: str('x'.repeat(n)) }))
    }
  })

  test('the first credit: up to the limit', () => {
    const max = LIMIT.credit
    for (const n of [0, 1, max - 1, max]) good(init({ credit: `ce${u32(n)}` }))
    for (const n of [max + 1, 0x7fff_ffff, MAX32]) bad(init({ credit: `ce${u32(n)}` }))
    bad(init({ credit: 'd0ff' }))
  })

  test('more or fewer fields', () => {
    bad(frameOf('95 02 06 00 a0 a0'))
    bad(frameOf('97 02 06 00 a0 a0 00 00'))
  })
})

describe('BIND and BOUND, field by field', () => {
  const bind = (fields: string) => frameOf(`93 0a 00 ${fields}`)
  const id = 'a26964'
  const name = 'a46e616d65'
  const port = 'a4706f7274'
  test('BIND', () => {
    const made = (i = '00', n = 'a161', p = 'c0') => bind(`83${id}${i}${name}${n}${port}${p}`)
    for (const i of ['00', 'cdffff']) harmless(true, made(i))
    for (const i of ['ce00010000', 'ff', 'c0']) breaks(true, made(i))
    for (const n of [1, 63, 64]) harmless(true, made('00', str('x'.repeat(n))))
    for (const n of [0, 65]) breaks(true, made('00', str('x'.repeat(n))))
    for (const p of ['c0', '01', 'cdfffe', 'cdffff']) harmless(true, made('00', 'a161', p))
    for (const p of ['00', 'ce00010000', 'ff', 'a131']) breaks(true, made('00', 'a161', p))
    breaks(true, bind(`82${id}00${name}a161`))
    breaks(true, bind(`84${id}00${name}a161${port}c0a17800`))
    breaks(true, bind(`83${id}00${name}a161a95f5f70726f746f5f5f80`))
    breaks(true, frameOf(`93 0a 01 83${id}00${name}a161${port}c0`))
  })
  test('BOUND', () => {
    const granted = (h = 'a168', p = '01', e = '00') =>
      frameOf(`93 0b 00 84${id}00a4686f7374${h}${port}${p}a565706f6368${e}`)
    for (const n of [0, 255]) harmless(false, granted(str('x'.repeat(n))))
    breaks(false, granted(str('x'.repeat(256))))
    for (const p of ['01', 'cdffff']) harmless(false, granted('a168', p))
    for (const p of ['00', 'c0', 'ce00010000']) breaks(false, granted('a168', p))
    for (const e of ['00', 'ceffffffff']) harmless(false, granted('a168', '01', e))
    breaks(false, granted('a168', '01', 'ff'))
    const refused = (r: string, w: string) => frameOf(`93 0b 00 83${id}00a772656675736564${r}a3776879${w}`)
    harmless(false, refused(str('x'.repeat(32)), str('y'.repeat(256))))
    breaks(false, refused(str('x'.repeat(33)), 'a0'))
    breaks(false, refused('a0', str('y'.repeat(257))))
  })
  test('UNBIND', () => {
    for (const n of ['00', 'cdffff']) harmless(true, frameOf(`93 0c 00 ${n}`))
    for (const n of ['ce00010000', 'ff', 'c0']) breaks(true, frameOf(`93 0c 00 ${n}`))
    breaks(true, frameOf('93 0c 01 00'))
  })
})

describe('floods', () => {
  test('of streams: as many as the limit, then BUSY, and no more kept for those', () => {
    const peer = new Peer()
    for (let id = 1; id <= LIMIT.streams + 1000; id += 500) {
      const batch: Buffer[] = []
      for (let i = 0; i < 500; i++) batch.push(raw.dataInit(id + i))
      peer.send(...batch)
      peer.frames()
      peer.send(raw.receipt(peer.written))
    }
    expect(peer.session.streams).toBe(LIMIT.streams)
    expect(peer.over).toEqual([])
  })

  test('of streams from a peer that does not read: the session ends before its answers take megabytes', () => {
    const peer = new Peer({ events: { opened: stream => stream.abort(RESET_CODE.REFUSED) } })
    peer.frames()
    peer.room = 0
    peer.send(raw.ping(1))
    peer.bytes()
    let id = 1
    while (!peer.session.isOver && id < 200_000) {
      const batch: Buffer[] = []
      for (let i = 0; i < 1000; i++) batch.push(raw.dataInit(id++))
      peer.send(...batch)
      peer.bytes()
    }
    expect(peer.over).toHaveLength(1)
    expect(peer.over[0]!.code).toBe(SESSION_CODE.PROTOCOL)
    expect(id).toBeLessThan(LIMIT.streams + 2000)
  })

  test('of streams opened and reset: nothing is left of them', () => {
    const peer = new Peer()
    for (let id = 1; id < 20_000; id += 100) {
      const batch: Buffer[] = []
      for (let i = 0; i < 100; i++) batch.push(raw.dataInit(id + i), raw.data(id + i, 'x'), raw.reset(id + i, 0))
      peer.send(...batch)
      expect(peer.session.streams).toBe(0)
    }
    expect(ofType(peer.frames(), RESET)).toEqual([])
    expect(peer.memory.buffered).toBe(0)
  })

  test('of PINGs while it does not read: one PONG, and no ring', () => {
    class Counted extends Memory {
      out = 0
      override takeBlock(): Buffer {
        this.out++
        return super.takeBlock()
      }
      override giveBlock(block: Buffer): void {
        this.out--
        super.giveBlock(block)
      }
    }
    const memory = new Counted()
    const peer = new Peer({ memory })
    peer.frames()
    peer.room = 0
    for (let i = 0; i < 100_000; i++) {
      peer.send(raw.ping(i))
      peer.bytes()
    }
    expect(memory.out).toBeLessThanOrEqual(1)
    peer.room = 1e9
    expect(ofType(peer.frames(), PONG).length).toBeLessThanOrEqual(2)
  })

  test('of PINGs by one that reads and never says so: the ring, and no more', () => {
    const peer = new Peer()
    const most = TUNING.windowMax + TUNING.smallRoom + TUNING.controlRoom
    peer.frames()
    for (let i = 0; i < 1_600_000; i++) {
      peer.send(raw.ping(i))
      peer.bytes()
    }
    expect(peer.written).toBeLessThanOrEqual(most)
    expect(peer.over).toEqual([])
  })

  test('of one byte a frame: CREDIT for half a window, not for each', () => {
    const peer = new Peer()
    peer.accept(1)
    peer.frames()
    let frames = 0
    for (let i = 0; i < 60_000; i++) {
      peer.send(raw.data(1, 'x'))
      const bytes = peer.bytes()
      for (let at = 0; at < bytes.length; at += 4 + bytes.readUInt32BE(at)) frames++
    }
    // One CREDIT; a RECEIPT for each 128 KiB of a megabyte of frames.
    expect(frames).toBeLessThan(20)
    expect(peer.over).toEqual([])
  })

  test('of CREDIT, one byte at a time, for a stream that waits: a frame each at most, and no other stream waits', () => {
    const peer = new Peer({ opener: true, peerFirstCredit: 0 })
    const stream = peer.open()
    stream.offer(Buffer.alloc(2000))
    const other = peer.open()
    other.offer(Buffer.from('hello'))
    peer.frames()
    const batch = Array.from({ length: 1000 }, () => raw.credit(stream.id, 1))
    peer.send(...batch, raw.credit(other.id, 5))
    const frames = ofType(peer.frames(), 3)
    expect(frames.map(f => f[1]).sort()).toEqual([stream.id, other.id])
  })

  test('of tunnel messages: what we answer is bounded', () => {
    const peer = new Peer({
      opener: true,
      events: { bind: t => peer.session.send({ type: 11, answer: { id: t.id, refused: 'no', why: '' } }) },
    })
    peer.frames()
    peer.room = 0
    peer.send(raw.ping(1))
    peer.bytes()
    const bind = frameOf('93 0a 00 83 a26964 01 a46e616d65 a161 a4706f7274 c0')
    for (let i = 0; i < 2000 && !peer.session.isOver; i++) {
      peer.send(bind)
      peer.bytes()
    }
    expect(peer.session.isOver).toBe(true)
  })

  test('of RECEIPTs: nothing is answered, nothing is kept', () => {
    const peer = new Peer({ opener: true })
    peer.frames()
    const batch = Array.from({ length: 1000 }, (_, i) => raw.receipt(i % 12))
    for (let i = 0; i < 100; i++) peer.send(...batch)
    // A RECEIPT of our own for each 128 KiB.
    expect(ofType(peer.frames(), RECEIPT).length).toBeLessThanOrEqual(1)
    expect(peer.over).toEqual([])
  })
})

describe('draining', () => {
  test('GOAWAY, then DATA_INIT from a peer that had not read it: BUSY, and the open streams go on', () => {
    const peer = new Peer()
    const { sink } = peer.accept(1)
    peer.session.goaway(SESSION_CODE.SHUTDOWN, 'draining')
    peer.send(raw.dataInit(2), raw.data(2, 'early'), raw.data(1, 'still'))
    expect(peer.accepted).toHaveLength(1)
    expect(sink.bytes.toString()).toBe('still')
    const frames = peer.frames()
    expect(ofType(frames, 9)).toEqual([[9, 0, SESSION_CODE.SHUTDOWN, 'draining', 1]])
    expect(ofType(frames, RESET)).toEqual([[RESET, 2, RESET_CODE.BUSY, '']])
    expect(peer.over).toEqual([])
  })

  test('GOAWAY is said once, and nothing after the end', () => {
    const peer = new Peer()
    peer.session.goaway(SESSION_CODE.SHUTDOWN, 'first')
    peer.session.goaway(SESSION_CODE.REPLACED, 'second')
    expect(ofType(peer.frames(), 9)).toEqual([[9, 0, SESSION_CODE.SHUTDOWN, 'first', 0]])
    peer.session.close(SESSION_CODE.SHUTDOWN, 'over')
    const { wakes } = peer
    peer.session.goaway(SESSION_CODE.SHUTDOWN, 'third')
    peer.session.send({ type: 12, tunnel: 1 })
    peer.session.close(SESSION_CODE.REVOKED, 'again')
    expect(peer.wakes).toBe(wakes)
    expect(peer.frames()).toEqual([[RESET, 0, SESSION_CODE.SHUTDOWN, 'over']])
    expect(peer.over).toHaveLength(1)
    expect(peer.session.deadline()).toBe(Number.POSITIVE_INFINITY)
    expect(peer.session.tick(1e9)).toBe(Number.POSITIVE_INFINITY)
  })

  test('a peer that said GOAWAY is asked for no stream, and may say it twice', () => {
    const said: number[] = []
    const peer = new Peer({ opener: true, events: { goaway: code => said.push(code) } })
    const stream = peer.open()
    peer.send(raw.goaway(SESSION_CODE.REPLACED), raw.goaway(SESSION_CODE.SHUTDOWN))
    expect(said).toEqual([SESSION_CODE.REPLACED, SESSION_CODE.SHUTDOWN])
    expect(peer.session.open({ tunnel: 1, visitor: 'v', edge: 'e' }, new Collect())).toBeNull()
    expect(stream.offer(Buffer.from('goes on'))).toBe(true)
    expect(ofType(peer.frames(), DATA_INIT)).toHaveLength(1)
  })
})

describe('a session that ends inside a callback', () => {
  for (const way of ['close', 'lost'] as const) {
    const end = (peer: Peer) =>
      way === 'close' ? peer.session.close(SESSION_CODE.SHUTDOWN, 'bye') : peer.session.lost()
    test(`${way} in data(), with more in the same chunk`, () => {
      const { peer, sinks, memory } = inUse(false)
      sinks[2]!.onData = () => end(peer)
      peer.send(raw.data(3, 'x'), raw.data(3, 'y'), raw.data(1, 'z'), raw.dataInit(6), raw.fin(1))
      expect(sinks[2]!.bytes.toString()).toBe('xy')
      expect(sinks.map(s => s.ended)).toEqual([0, 1, 0, 1, 0])
      expect(peer.over).toHaveLength(1)
      expect(memory.buffered).toBe(11)
      expect(ofType(peer.frames(), RESET)).toHaveLength(way === 'close' ? 1 : 0)
    })

    test(`${way} in free(), in the middle of a transmit`, () => {
      const { peer, streams, sinks, memory } = inUse(false)
      sinks[1]!.onFree = () => end(peer)
      streams[0]!.offer(Buffer.alloc(100_000))
      peer.frames()
      peer.send(raw.credit(2, 500_000), raw.receipt(peer.written))
      expect(() => peer.bytes()).not.toThrow()
      expect(peer.over).toHaveLength(1)
      expect(memory.buffered).toBe(11)
    })

    test(`${way} in reset(), while another ends it`, () => {
      const { peer, sinks, memory } = inUse(false)
      for (const sink of sinks) sink.onReset = () => end(peer)
      peer.send(raw.credit(1, 0))
      expect(peer.over).toHaveLength(1)
      expect(peer.over[0]!.by).toBe('violation')
      expect(sinks.map(s => s.resets.length)).toEqual([1, 1, 1, 0, 1])
      expect(memory.buffered).toBe(11)
    })
  }
})
