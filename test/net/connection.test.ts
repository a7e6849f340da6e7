// Bytes through a Connection: order, backpressure, deadlines, and the buffers' owners.
import { ptr } from 'bun:ffi'
import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { deadlines } from '../../src/net/deadlines.ts'
import { descriptorOf } from '../../src/net/descriptors.ts'
import { dial, listen, release } from '../../src/net/index.ts'
import { INFO, info, inform, LINUX, libc } from '../../src/net/libc.ts'
import { relearnRate } from '../../src/net/path.ts'
import { until } from '../e2e/warren.ts'
import { temporaryFolder } from '../folder.ts'
import { algorithmOf, bbrRate, choose, mayChooseBbr, roundTrips } from './congestion.ts'
import { KINDS, pair, Random, seed, Tape, turns } from './tape.ts'

const folder = temporaryFolder()
/** What other test files in this process still wait for. */
const idle = deadlines.size
const SEED = seed()

/**
 * Sends `total` random bytes in writes of random sizes, of which each second one is of parts that lie anywhere, going on
 * where a short write stopped; the hash of what it sent.
 */
function sendRandom(tape: Tape, total: number, random: Random): Promise<string> {
  const source = Buffer.alloc(1 << 20)
  for (let i = 0; i < source.length; i += 4) source.writeUInt32LE(random.below(2 ** 32), i)
  const hash = new Bun.CryptoHasher('sha1')
  const { promise, resolve } = Promise.withResolvers<string>()
  let left = total
  const pump = () => {
    while (left > 0) {
      const at: number[] = []
      const len: number[] = []
      let bytes = 0
      const count = Math.max(1, random.below(40) - 19)
      for (let i = 0; i < count && bytes < left; i++) {
        at.push(random.below(source.length))
        len.push(Math.min(left - bytes, 1 + random.below(source.length - at[i]!)))
        bytes += len[i]!
      }
      const parts = { buf: source, count: at.length, bytes, at, len }
      const taken = count === 1 ? tape.it.write(source, at[0]!, bytes) : tape.it.writeParts(parts)
      for (let i = 0, todo = taken; todo > 0; todo -= len[i++]!)
        hash.update(source.subarray(at[i], at[i]! + Math.min(todo, len[i]!)))
      left -= taken
      if (taken < bytes) return
    }
    tape.drained = () => {}
    tape.it.shutdown()
    resolve(hash.digest('hex'))
  }
  tape.drained = pump
  pump()
  return promise
}

/** Hashes what arrives, pausing now and then, and keeping none of it. */
function receiveSlowly(tape: Tape, random: Random): () => string {
  const hash = new Bun.CryptoHasher('sha1')
  tape.onBytes = buf => {
    hash.update(buf)
    if (random.below(8) === 0) {
      tape.it.pause()
      setTimeout(() => tape.it.resume(), random.below(3))
    }
    return true
  }
  return () => hash.digest('hex')
}

describe.each(KINDS)('%s', kind => {
  test('what the system can be asked and told of a path, near or far, changes no byte', async () => {
    const { near, far } = await pair(kind, folder)
    const missing = process.platform === 'linux' && kind !== 'unix' ? Number.POSITIVE_INFINITY : -1
    expect(near.it.path.missing).toBe(missing)
    near.it.path.hold(1 << 24)
    near.it.path.pace(2 ** 40)
    expect(near.it.path.heldBack).toBe(false)
    near.it.path.relearn()
    const got = receiveSlowly(far, new Random(SEED + 5))
    const sent = sendRandom(near, 8 << 20, new Random(SEED + 6))
    near.it.path.relearn()
    far.it.shutdown()
    const hash = await sent
    await Promise.all([near.closed(), far.closed()])
    expect(got()).toBe(hash)
    expect(near.it.path.missing).toBe(-1)
    expect(near.it.path.heldBack).toBe(false)
    near.it.path.relearn()
  })

  test('64 MiB each way at once, in order, under backpressure', async () => {
    const total = 64 << 20
    const { near, far } = await pair(kind, folder)
    const nearGot = receiveSlowly(near, new Random(SEED + 1))
    const farGot = receiveSlowly(far, new Random(SEED + 2))
    const nearSent = sendRandom(near, total, new Random(SEED + 3))
    const farSent = sendRandom(far, total, new Random(SEED + 4))
    const sent = await Promise.all([nearSent, farSent])
    await Promise.all([near.closed(), far.closed()])
    expect([near.bytes, far.bytes]).toEqual([total, total])
    expect([farGot(), nearGot()]).toEqual(sent)
    expect([near.story, far.story]).toEqual(['data end close:closed', 'data end close:closed'])
  }, 20_000)

  test('a reader that pauses stops the writer, and resuming lets it go on', async () => {
    const { near, far } = await pair(kind, folder)
    far.it.pause()
    let drains = 0
    near.drained = () => drains++
    const taken = near.fill()
    expect(near.it.writable).toBe(false)
    await turns(folder)
    expect(near.it.write(Buffer.alloc(1 << 20), 0, 1 << 20)).toBeLessThan(1 << 20)
    far.it.resume()
    await near.until(
      () => drains > 0,
      'drain',
      () => 'nothing',
    )
    expect(near.it.writable).toBe(true)
    await far.got(taken)
    near.it.abort()
  })

  test('no call for room when nothing was blocked', async () => {
    const { near, far } = await pair(kind, folder)
    let drains = 0
    near.drained = () => drains++
    near.it.pause()
    near.it.resume()
    near.write(10)
    far.it.shutdown()
    await near.saw('end')
    await turns(folder)
    expect(drains).toBe(0)
    near.it.abort()
  })

  test('a chunk that the handler keeps stays whole; one that it gives back is freed', async () => {
    const { near, far } = await pair(kind, folder)
    const chunks: { buf: Buffer; kept: boolean }[] = []
    far.onBytes = buf => {
      const kept = chunks.length % 2 === 0
      chunks.push({ buf, kept })
      return !kept
    }
    // Each write is a chunk of its own: the next one waits for it.
    for (let i = 1; i <= 6; i++) {
      near.write(100_000)
      await far.got(i * 100_000)
    }
    for (const { buf, kept } of chunks) {
      if (kept) expect(buf.equals(Buffer.alloc(buf.length, 7)) && buf.length > 0).toBe(true)
    }
    const large = chunks.filter(c => !c.kept)
    expect(large.some(c => c.buf.buffer.byteLength === 0)).toBe(true)
    near.it.abort()
  })

  test('lingers until no byte has moved for its time', async () => {
    const { near, far } = await pair(kind, folder)
    const began = performance.now()
    near.it.linger(200)
    await near.closed()
    const took = performance.now() - began
    expect(near.story).toBe('close:timeout')
    expect(took).toBeGreaterThanOrEqual(195)
    expect(took).toBeLessThan(800)
    await far.until(
      () => far.story !== '',
      'the far end',
      () => far.story,
    )
    // A unix socket has no RST: the peer sees both directions end.
    expect(far.story).toBe(kind === 'unix' ? 'end' : 'close:reset')
    far.it.abort()
  })

  test('lingers on while bytes move, in either direction', async () => {
    for (const sender of ['near', 'far'] as const) {
      const both = await pair(kind, folder)
      const { near } = both
      const reader = sender === 'near' ? both.far : near
      // Looked after by hand: the timer that calls this comes in fifteen seconds.
      near.it.linger(60_000)
      let now = near.it.due
      for (let looks = 1; looks <= 12; looks++) {
        both[sender].write(1)
        await reader.got(looks)
        now = near.it.expire(now)
        expect(now).toBeGreaterThan(0)
      }
      expect(near.story).toBe(sender === 'near' ? '' : 'data')
      for (let quiet = 1; quiet <= 3; quiet++) now = near.it.expire(now)
      expect(near.events).not.toContain('close:timeout')
      expect(near.it.expire(now)).toBe(0)
      expect(near.events.at(-1)).toBe('close:timeout')
    }
  })

  test('lingers no longer than it may at most, whatever moves', async () => {
    const { near, far } = await pair(kind, folder)
    const began = performance.now()
    near.it.linger(20_000, 60_000)
    let now = near.it.due
    for (let looks = 1; now > 0; looks++) {
      expect(now).toBeLessThanOrEqual(began + 60_100)
      far.write(1)
      await near.got(looks)
      now = near.it.expire(now)
    }
    expect(near.it.due).toBeLessThanOrEqual(began + 60_100)
    expect(near.events.at(-1)).toBe('close:timeout')
    expect(near.bytes).toBe(12)
    far.it.abort()
  })

  test('a linger ends by 0, by a later one, and with its connection', async () => {
    const { near, far } = await pair(kind, folder)
    const before = deadlines.size
    near.it.linger(50)
    near.it.linger(0)
    expect(deadlines.size).toBe(before)
    far.it.linger(50)
    far.it.linger(60_000)
    expect(deadlines.size).toBe(before + 1)
    expect(far.it.due - performance.now()).toBeGreaterThan(10_000)
    far.it.abort()
    near.it.mute()
    expect(deadlines.size).toBeLessThanOrEqual(idle)
  })
})

const SMALL = 32_767
const BULK = 32_768

if (!mayChooseBbr) {
  console.log('NOT RUN: what is done about BBR, as not everybody may choose it here; as root: modprobe tcp_bbr,')
  console.log('NOT RUN: then sysctl net.ipv4.tcp_allowed_congestion_control="reno cubic bbr"')
}

if (mayChooseBbr)
  describe('BBR', () => {
    /** One of which BBR has learned a rate. */
    async function learned(): Promise<Tape> {
      const { near, far } = await pair('tcp', folder)
      choose(near.it, 'bbr')
      far.onBytes = () => true
      near.write(SMALL)
      await far.got(SMALL)
      expect(bbrRate(near.it)).toBeGreaterThan(0)
      return near
    }

    test('starts over, and no other algorithm is touched', async () => {
      const near = await learned()
      const fd = descriptorOf(near.it['socket'])
      relearnRate(fd)
      expect(bbrRate(near.it)).toBe(0)
      expect(algorithmOf(near.it)).toBe('bbr')
      choose(near.it, 'reno')
      relearnRate(fd)
      expect(algorithmOf(near.it)).toBe('reno')
      near.it.abort()
    })

    test('starts over just where a packet did not take twice as long as the handshake did', async () => {
      const near = await learned()
      const [rtt, least] = roundTrips(near.it)
      near.it.path.relearn()
      expect(bbrRate(near.it) === 0).toBe(rtt <= 2 * least)
      near.it.abort()
    })

    test('does not pace bulk within this machine, and goes on pacing what is small', async () => {
      const { near, far } = await pair('tcp', folder)
      for (const { it } of [near, far]) choose(it, 'bbr')
      far.onBytes = () => true
      near.write(SMALL)
      await far.got(SMALL)
      expect(algorithmOf(near.it)).toBe('bbr')
      near.write(BULK)
      await far.got(SMALL + BULK)
      expect(algorithmOf(near.it)).toBe('reno')
      expect(algorithmOf(far.it)).toBe('bbr')
      near.it.abort()
    })

    test('paces bulk to anywhere else', async () => {
      const { near, far } = await pair('tcp', folder)
      choose(near.it, 'bbr')
      Object.defineProperty(near.it, 'remoteHost', { value: '192.0.2.1' })
      far.onBytes = () => true
      near.write(BULK)
      await far.got(BULK)
      expect(algorithmOf(near.it)).toBe('bbr')
      near.it.abort()
    })
  })

if (LINUX)
  test('a peer that reads slowly what the system has is lingered for', async () => {
    const { near, far } = await pair('tcp', folder)
    far.it.pause()
    near.fill()
    near.it.shutdown()
    near.it.linger(60_000)
    const acknowledged = (): number => {
      expect(inform(descriptorOf(near.it['socket']))).toBe(true)
      return info[INFO.bytesAcked]!
    }
    const into = [Buffer.alloc(1 << 16)]
    let now = near.it.expire(near.it.due)
    let before = acknowledged()
    // More than the checks of a linger, and nothing that this process could see move.
    for (let looks = 0; looks < 6; looks++) {
      await until(() => far.it.take(into, 0, 0, into[0]!.length) >= 0 && acknowledged() !== before, 'bytes taken')
      before = acknowledged()
      now = near.it.expire(now)
      expect(now).toBeGreaterThan(0)
    }
    // An acknowledgement may come later than the bytes.
    let stillSince = performance.now()
    const stands = () => {
      if (acknowledged() !== before) stillSince = performance.now()
      before = acknowledged()
      return performance.now() - stillSince > 200
    }
    await until(stands, 'no more bytes acknowledged')
    for (let quiet = 0; quiet < 5 && now > 0; quiet++) now = near.it.expire(now)
    expect(now).toBe(0)
    expect(near.events.at(-1)).toBe('close:timeout')
    far.it.abort()
  })

test('a peer that never reads does not outlive the linger of who has finished', async () => {
  const { near, far } = await pair('tcp', folder)
  far.it.pause()
  near.fill()
  near.it.shutdown()
  near.it.linger(100)
  await near.closed()
  expect(near.story).toBe('close:timeout')
  await far.closed()
  expect(far.events.at(-1)).toBe('close:reset')
})

test('an owner that throws when its deadline comes does not stop the deadlines of others', () => {
  const child = Bun.spawnSync([process.execPath, join(import.meta.dir, 'throwing.ts')])
  expect(child.stdout.toString()).toBe('thrown\nmet\n')
})

test('keepAlive arms the kernel once a connection has lasted', async () => {
  const { near } = await pair('tcp', folder)
  const hex = (port: number) => `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  /** The kind of timer that the kernel runs for this end: 02 is keepalive. */
  const timer = () => {
    const lines = readFileSync('/proc/net/tcp', 'latin1').split('\n')
    const fields = lines.map(line => line.trim().split(/\s+/))
    const ours = fields.find(f => f[1]?.endsWith(hex(near.it.localPort)) && f[2]?.endsWith(hex(near.it.remotePort)))
    return ours?.[5]?.slice(0, 2)
  }
  expect(timer()).toBe('00')
  near.it.keepAlive(60_000, 1)
  expect(timer()).toBe('00')
  while (timer() !== '02') await turns(folder)
  near.it.abort()
})

test('addresses of both ends', async () => {
  const { near, far, station } = await pair('tcp', folder)
  expect([near.it.remoteHost, near.it.remotePort]).toEqual(['127.0.0.1', station.listener.port])
  expect([far.it.localHost, far.it.localPort]).toEqual(['127.0.0.1', station.listener.port])
  expect([far.it.remoteHost, far.it.remotePort]).toEqual([near.it.localHost, near.it.localPort])
  near.it.abort()
  const unix = await pair('unix', folder)
  for (const { it } of [unix.near, unix.far]) {
    expect([it.remoteHost, it.remotePort, it.localHost, it.localPort]).toEqual(['', 0, '', 0])
  }
  unix.near.it.abort()
})

test('release frees whole chunks of 16 KiB or more, and no others', () => {
  const whole = Buffer.from(new ArrayBuffer(16_384))
  release(whole)
  expect(whole.length).toBe(0)
  const small = Buffer.from(new ArrayBuffer(16_383))
  release(small)
  expect(small.length).toBe(16_383)
  const part = Buffer.from(new ArrayBuffer(40_000), 0, 39_999)
  release(part)
  expect(part.length).toBe(39_999)
})

/** Sends one byte as urgent, which Bun cannot. */
function sendUrgent(socket: object, byte: number): void {
  const payload = Buffer.of(byte)
  const vector = new BigUint64Array([BigInt(ptr(payload)), 1n])
  const message = new BigUint64Array(7)
  message[2] = BigInt(ptr(vector))
  message[3] = 1n
  expect(libc()!.sendmsg(descriptorOf(socket), ptr(message), 1)).toBe(1)
}

const RAW = { data() {}, open() {} } as const

if (!LINUX) console.log('NOT RUN: urgent bytes, which are sent here by a call that is laid out for Linux')

/** A raw socket of the test's, and its other end behind `tape`. */
const urgent: Record<string, (tape: Tape) => Promise<Bun.Socket<undefined>>> = {
  'a visitor sends': async tape => {
    const accepted = Promise.withResolvers<void>()
    const listener = listen({ host: '127.0.0.1', port: 0, guarded: true }, () => {
      accepted.resolve()
      return tape
    })
    const socket = await Bun.connect({ hostname: '127.0.0.1', port: listener.port, socket: RAW })
    await accepted.promise
    listener.stop()
    return socket
  },
  'a service sends': async tape => {
    const accepted = Promise.withResolvers<Bun.Socket<undefined>>()
    const service = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { ...RAW, open: accepted.resolve } })
    dial({ host: '127.0.0.1', port: service.port }, 1_000, result => ('ok' in result ? tape : undefined))
    const socket = await accepted.promise
    service.stop()
    return socket
  },
}

test.if(LINUX).each(Object.keys(urgent))('an urgent byte that %s is read in its place', async who => {
  const tape = new Tape()
  const read: Buffer[] = []
  tape.onBytes = buf => read.push(Buffer.from(buf)) > 0
  const socket = await urgent[who]!(tape)
  socket.write('ab')
  await tape.got(2)
  sendUrgent(socket, 0x43)
  socket.write('de')
  await tape.got(5)
  expect(Buffer.concat(read).toString()).toBe('abCde')
  socket.terminate()
  await tape.closed()
})
