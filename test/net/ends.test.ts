// How connections end, seen from both sides: an independent peer (Node) says what it saw on its socket. The cases are the
// ones in which Bun's own account of an end is late, missing or wrong.
import { describe, expect, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from '../folder.ts'
import { RawHost, type RawPeer } from './raw.ts'
import { ALPN, dialled, KINDS, type Kind, Station, Tape, turns } from './tape.ts'

const folder = temporaryFolder()
const host = new RawHost()

let marks = 0
function mark(): string {
  return join(folder, `mark-${marks++}`)
}

/** A raw peer connected to us; `reading` is whether it reads at all. */
async function meet(kind: Kind, reading = true): Promise<{ us: Tape; peer: RawPeer }> {
  const station = new Station(kind, folder)
  const peer = host.peer()
  const { port } = station.listener
  if (kind === 'unix') peer.order('connect', { path: station.path, reading })
  else if (kind === 'tcp') peer.order('connect', { host: '127.0.0.1', port, reading })
  else peer.order('tls', { host: '127.0.0.1', port, alpn: ALPN, reading })
  await peer.saw('open')
  const us = await station.accepted()
  station.listener.stop()
  return { us, peer }
}

/**
 * A peer that never reads, and how its socket ends. Bun, because Node tells a reset behind bytes that it has not read as
 * an end (libuv takes a short read with a hang-up for one).
 */
async function meetIdle(kind: Kind): Promise<{ us: Tape; sees: Promise<string> }> {
  const station = new Station(kind, folder)
  const { promise: sees, resolve } = Promise.withResolvers<string>()
  const { promise: open, resolve: opened } = Promise.withResolvers<void>()
  const socket = {
    open() {},
    handshake(socket: Bun.Socket) {
      socket.pause()
      opened()
    },
    data() {},
    end: () => resolve('end'),
    close: (_: Bun.Socket, error?: Error) =>
      resolve(error !== undefined && 'code' in error ? String(error.code) : 'close'),
  }
  const to = { hostname: '127.0.0.1', port: station.listener.port, allowHalfOpen: true, socket }
  const secure =
    kind === 'tls' ? { tls: { rejectUnauthorized: false, ALPNProtocols: Buffer.from('\x08warren/1') } } : {}
  const peer = await Bun.connect({ ...to, ...secure })
  if (kind === 'tls') await open
  else peer.pause()
  const us = await station.accepted()
  station.listener.stop()
  return { us, sees }
}

/** How bytes are written: a buffer, or parts of one. */
const WAYS = ['write', 'writeParts'] as const

describe.each(KINDS)('%s', kind => {
  /** A peer that closes a unix socket sends no reset of its own: its reset is what it left unread. */
  const resets = kind !== 'unix'

  test('the peer finishes first: the other direction stays open', async () => {
    const { us, peer } = await meet(kind)
    peer.order('send', { n: 1000 })
    peer.order('fin')
    await us.saw('end')
    expect(us.story).toBe('data end')
    expect(us.write(5000)).toBe(5000)
    await peer.got(5000)
    us.it.shutdown()
    await peer.saw('end')
    await us.closed()
    expect(us.story).toBe('data end close:closed')
    expect(us.bytes).toBe(1000)
    await peer.saw('close')
    expect(peer.events).not.toContain('error:ECONNRESET')
  })

  test('we finish first: the other direction stays open', async () => {
    const { us, peer } = await meet(kind)
    us.write(5000)
    us.it.shutdown()
    us.it.shutdown()
    await peer.saw('end')
    expect(peer.bytes).toBe(5000)
    expect(us.write(10)).toBe(0)
    peer.order('send', { n: 100_000 })
    peer.order('fin')
    await us.closed()
    expect(us.story).toBe('data end close:closed')
    expect(us.bytes).toBe(100_000)
  })

  test('all that was taken arrives before our FIN, however slow the reader', async () => {
    const { us, peer } = await meet(kind, false)
    const taken = us.fill()
    us.it.shutdown()
    await turns(folder)
    peer.order('read')
    await peer.saw('end')
    expect(peer.bytes).toBe(taken)
    peer.order('fin')
    await us.closed()
    expect(us.story).toBe('end close:closed')
  })

  test('pausing holds back the end behind the data', async () => {
    const { us, peer } = await meet(kind)
    us.it.pause()
    us.it.pause()
    peer.order('send', { n: 1000 })
    peer.order('fin')
    await peer.saw('fin')
    await turns(folder)
    expect(us.story).toBe('')
    us.it.resume()
    await us.saw('end')
    expect(us.story).toBe('data end')
    us.it.shutdown()
    await us.closed()
    expect(us.story).toBe('data end close:closed')
  })

  test('pausing holds back the end after our own shutdown as well', async () => {
    const { us, peer } = await meet(kind)
    us.it.pause()
    us.it.shutdown()
    peer.order('send', { n: 1000 })
    peer.order('fin')
    await peer.saw('fin')
    await turns(folder)
    expect(us.story).toBe('')
    us.it.resume()
    await us.closed()
    expect(us.story).toBe('data end close:closed')
  })

  test('a paused connection that has seen the end still closes when we finish', async () => {
    const { us, peer } = await meet(kind)
    peer.order('fin')
    await us.saw('end')
    us.it.pause()
    us.it.shutdown()
    await us.closed()
    expect(us.story).toBe('end close:closed')
  })

  if (resets) {
    test("the peer's reset is a reset, and no end", async () => {
      const { us, peer } = await meet(kind)
      peer.order('send', { n: 1000 })
      await us.got(1000)
      peer.order('reset')
      await us.closed()
      expect(us.story).toBe('data close:reset')
    })

    test('a reset reaches a paused connection', async () => {
      const { us, peer } = await meet(kind)
      us.it.pause()
      peer.order('reset')
      await us.closed()
      expect(us.story).toBe('close:reset')
    })

    test('a reset behind our own shutdown is a reset', async () => {
      const { us, peer } = await meet(kind)
      us.it.shutdown()
      await peer.saw('end')
      peer.order('reset')
      await us.closed()
      expect(us.story).toBe('close:reset')
    })

    test('a reset behind the end is a reset', async () => {
      const { us, peer } = await meet(kind)
      peer.order('fin')
      await us.saw('end')
      peer.order('reset')
      await us.closed()
      expect(us.story).toBe('end close:reset')
    })

    test('a reset behind the end that our shutdown meets first is a reset', async () => {
      const { us, peer } = await meet(kind)
      peer.order('fin')
      await us.saw('end')
      await peer.saw('fin')
      peer.orderAndStandStill('reset', mark())
      us.it.shutdown()
      await us.closed()
      expect(us.story).toBe('end close:reset')
    })

    test.each(WAYS)('a reset behind the end that our write meets first is a reset: %s', async way => {
      const { us, peer } = await meet(kind)
      peer.order('fin')
      await us.saw('end')
      await peer.saw('fin')
      peer.orderAndStandStill('reset', mark())
      expect(us[way](10)).toBe(0)
      await us.closed()
      expect(us.story).toBe('end close:reset')
    })

    test('a reset that our shutdown meets first is a reset', async () => {
      const { us, peer } = await meet(kind)
      peer.orderAndStandStill('reset', mark())
      us.it.shutdown()
      await us.closed()
      expect(us.story).toBe('close:reset')
    })
  }

  test.each(WAYS)('a reset that our write meets first is a reset, with what came before it: %s', async way => {
    const { us, peer } = await meet(kind)
    peer.order('send', { n: 1000 })
    await us.got(1000)
    peer.orderAndStandStill('reset', mark())
    expect(us[way](10)).toBe(0)
    expect(us.it.writable).toBe(false)
    expect(us[way](10)).toBe(0)
    await us.closed()
    expect(us.story).toBe('data close:reset')
  })

  test.each(WAYS)('what arrived before a reset that our write met is still read: %s', async way => {
    const { us, peer } = await meet(kind)
    peer.order('send', { n: 60_000 })
    peer.orderAndStandStill('reset', mark())
    expect(us[way](10)).toBe(0)
    await us.closed()
    expect(us.story).toBe('data close:reset')
    expect(us.bytes).toBe(60_000)
  })

  test.each(WAYS)('a paused connection whose write meets a reset does not wait for resume: %s', async way => {
    const { us, peer } = await meet(kind)
    us.it.pause()
    peer.orderAndStandStill('reset', mark())
    expect(us[way](10)).toBe(0)
    expect(us.story).toBe('')
    await us.closed()
    expect(us.events.at(-1)).toBe('close:reset')
    expect(us.events).not.toContain('end')
  })

  test.each(WAYS)('pausing after a write has met a reset does not hold back the reset: %s', async way => {
    const { us, peer } = await meet(kind)
    peer.orderAndStandStill('reset', mark())
    expect(us[way](10)).toBe(0)
    us.it.pause()
    await us.closed()
    expect(us.story).toBe('close:reset')
  })

  test('a peer that closes with our bytes unread resets us', async () => {
    const { us, peer } = await meet(kind, false)
    us.fill()
    peer.order('destroy')
    await us.closed()
    expect(us.story).toBe('close:reset')
  })

  test('a peer that closes with our bytes unread resets us behind our shutdown', async () => {
    const { us, peer } = await meet(kind, false)
    us.fill()
    us.it.shutdown()
    peer.order('destroy')
    await us.closed()
    expect(us.story).toBe('close:reset')
  })

  test('a peer that closes is half gone: finishing closes', async () => {
    const { us, peer } = await meet(kind)
    peer.order('send', { n: 1000 })
    peer.order('fin')
    await peer.saw('fin')
    peer.order('destroy')
    await us.saw('end')
    await peer.saw('destroyed')
    await turns(folder)
    expect(us.story).toBe('data end')
    us.it.shutdown()
    // Never before the call returns.
    expect(us.story).toBe('data end')
    await us.closed()
    // Over TLS our close_notify meets a socket that is gone.
    if (kind !== 'tls') expect(us.story).toBe('data end close:closed')
  })

  test.each(WAYS)('a peer that closes is half gone: writing on meets a reset: %s', async way => {
    const { us, peer } = await meet(kind)
    peer.order('fin')
    await us.saw('end')
    peer.order('destroy')
    await peer.saw('destroyed')
    await turns(folder)
    expect(us.story).toBe('end')
    us[way](10)
    await us.closed()
    expect(us.story).toBe('end close:reset')
  })

  test('abort tells the handler before it returns, and only once', async () => {
    const { us } = await meet(kind)
    us.it.abort()
    expect(us.story).toBe('close:reset')
    us.it.abort()
    us.it.shutdown()
    us.it.pause()
    us.it.resume()
    us.it.linger(10)
    us.it.keepAlive(1000)
    us.it.mute()
    expect(us.write(1)).toBe(0)
    await turns(folder)
    expect(us.story).toBe('close:reset')
  })

  test('the peer sees an abort as a reset', async () => {
    const { us, peer } = await meet(kind)
    if (kind === 'unix') {
      // A unix socket resets only over bytes that were left unread.
      us.it.pause()
      peer.order('send', { n: 1000 })
      await peer.saw('sent')
    }
    us.it.abort()
    await peer.saw('error:ECONNRESET')
    expect(peer.events).not.toContain('end')
  })

  if (resets) {
    test('the peer sees an abort as a reset with bytes under way', async () => {
      const { us, sees } = await meetIdle(kind)
      us.fill()
      us.it.abort()
      expect(await sees).toBe('ECONNRESET')
    })

    test('the peer sees an abort behind our shutdown as a reset', async () => {
      const { us, sees } = await meetIdle(kind)
      us.fill()
      us.it.shutdown()
      us.it.abort()
      expect(us.story).toBe('close:reset')
      expect(await sees).toBe('ECONNRESET')
    })

    test('the peer sees an abort behind its own end as a reset', async () => {
      const { us, peer } = await meet(kind)
      peer.order('fin')
      await us.saw('end')
      us.it.abort()
      expect(us.story).toBe('end close:reset')
      await peer.saw('error:ECONNRESET')
      expect(peer.events).not.toContain('end')
    })
  }

  test('mute: not a call more, and the peer is cut off', async () => {
    const { us, peer } = await meet(kind)
    peer.order('send', { n: 10 })
    await us.got(10)
    us.it.mute()
    us.it.mute()
    peer.order('send', { n: 10 })
    await peer.saw('close')
    us.it.abort()
    expect(us.story).toBe('data')
    expect(us.write(1)).toBe(0)
  })

  test('a handler may abort from each of its calls', async () => {
    for (const event of ['data', 'end'] as const) {
      const { us, peer } = await meet(kind)
      if (event === 'data') {
        us.onBytes = () => {
          us.it.abort()
          return true
        }
      } else us.onEnd = () => us.it.abort()
      peer.order('send', { n: 10 })
      peer.order('fin')
      await us.closed()
      await turns(folder)
      expect(us.story).toBe('data close:reset')
    }
  })

  test('a handler may be swapped', async () => {
    const { us, peer } = await meet(kind)
    const { us: other } = await meet(kind)
    peer.order('send', { n: 10 })
    await us.got(10)
    us.it.handler = other
    peer.order('send', { n: 10 })
    await other.got(10)
    peer.order('fin')
    await other.saw('end')
    expect(us.story).toBe('data')
  })
})

describe('a process that is killed', () => {
  /** How a peer that was not reading finds the connection once the process that wrote to it is gone. */
  async function killed(...how: string[]): Promise<{ near: Tape; taken: number }> {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, 'doomed.ts'), ...how], {
      stdin: 'pipe',
      stdout: 'pipe',
    })
    const lines = child.stdout.getReader()
    const number = async () => Number(new TextDecoder().decode((await lines.read()).value))
    const near = new Tape()
    await dialled({ host: '127.0.0.1', port: await number() }, 2_000, near).answer
    near.it.pause()
    child.stdin.write('.')
    await child.stdin.flush()
    const taken = await number()
    child.kill('SIGKILL')
    await child.exited
    near.it.resume()
    return { near, taken }
  }

  for (const by of ['guard', 'listener', 'early'])
    test(`resets what it guards: ${by}`, async () => {
      const { near } = await killed(by)
      await near.closed()
      expect(near.events.at(-1)).toBe('close:reset')
      expect(near.events).not.toContain('end')
    })

  test('ends what it does not guard: what the guard is for', async () => {
    const { near } = await killed('leave')
    await near.saw('end')
    near.it.abort()
  })

  test('resets what it dials, also before it could know that it is connected', async () => {
    const station = new Station('tcp', '')
    const dialler = join(import.meta.dir, 'dialler.ts')
    const child = Bun.spawn([process.execPath, dialler, String(station.listener.port)], { stdout: 'pipe' })
    await child.stdout.getReader().read()
    const near = await station.accepted()
    child.kill('SIGKILL')
    await near.closed()
    expect(near.events).toEqual(['close:reset'])
    station.listener.stop()
  })

  test('has all arrive that it finished, guarded or not', async () => {
    for (const by of ['guard', 'listener']) {
      const { near, taken } = await killed(by, 'finish')
      await near.saw('end')
      expect(near.bytes).toBe(taken)
      near.it.abort()
    }
  })
})

test('TLS that fails behind our own shutdown is no clean end', async () => {
  const { us, peer } = await meet('tls')
  us.it.shutdown()
  await peer.saw('end')
  peer.order('garbage')
  await us.closed()
  expect(us.story).toBe('close:reset')
})

test('TLS that fails is a reset', async () => {
  const { us, peer } = await meet('tls')
  peer.order('garbage')
  await us.closed()
  expect(us.story).toBe('close:reset')
})

describe('taken past Bun', () => {
  /** All that take() gives now, in pieces of 5000 bytes. */
  function takeAll(us: Tape): number {
    const pieces = Array.from({ length: 8 }, () => new Uint8Array(5_000))
    let all = 0
    for (;;) {
      const n = us.it.take(pieces, 1, 4_000, 30_000)
      const bytes = Buffer.concat(pieces).subarray(9_000, 9_000 + n)
      expect(bytes.every(byte => byte === 1)).toBe(true)
      if (n === 0) return all
      all += n
    }
  }

  test('what arrived is there at once, over all pieces, and the end is told by Bun', async () => {
    const { us, peer } = await meet('tcp')
    expect(us.it.takes).toBe(true)
    expect(takeAll(us)).toBe(0)
    us.it.pause()
    peer.order('send', { n: 60_000 })
    peer.order('fin')
    await peer.saw('fin')
    expect(takeAll(us)).toBe(60_000)
    expect(us.story).toBe('')
    us.it.resume()
    await us.saw('end')
    expect(us.story).toBe('end')
    expect(takeAll(us)).toBe(0)
    us.it.shutdown()
    await us.closed()
    expect(us.story).toBe('end close:closed')
  })

  test.each(['paused', 'read from'])('a reset that it meets is a reset, behind what came before it: %s', async how => {
    const { us, peer } = await meet('tcp')
    if (how === 'paused') us.it.pause()
    peer.order('send', { n: 60_000 })
    peer.orderAndStandStill('reset', mark())
    expect(takeAll(us)).toBe(60_000)
    await us.closed()
    expect(us.story).toBe('close:reset')
  })

  test('an end that comes while it is asked again and again, behind our own FIN, is no reset', async () => {
    const piece = [new Uint8Array(100)]
    const end = performance.now() + 20_000
    // A race of microseconds: a few rounds in a hundred would meet it.
    for (let round = 0; round < 200; round++) {
      const { us, peer } = await meet('tcp')
      us.it.pause()
      us.it.shutdown()
      const sent = mark()
      peer.order('send', { n: 100 })
      peer.order('fin', { mark: sent })
      let bytes = 0
      while (!existsSync(sent) && performance.now() < end)
        for (let i = 0; i < 100; i++) bytes += us.it.take(piece, 0, 0, 100)
      us.it.resume()
      await us.closed()
      // What came before the first look is Bun's to tell.
      expect(bytes + us.bytes).toBe(100)
      expect(us.story).toEndWith('end close:closed')
    }
  }, 30_000)

  test('is not to be had from TLS and unix sockets', async () => {
    for (const kind of ['tls', 'unix'] as const) {
      const { us } = await meet(kind)
      expect(us.it.takes).toBe(false)
      us.it.abort()
    }
  })
})
