// Dialling: every way to fail has its name, giving up is final, and no descriptor is lost from sight.
import { ptr } from 'bun:ffi'
import { afterEach, describe, expect, spyOn, test } from 'bun:test'
import { join } from 'node:path'
import { deadlines } from '../../src/net/deadlines.ts'
import { descriptors, dial } from '../../src/net/index.ts'
import { IPPROTO_TCP, LINUX, libc, nextDescriptor, TCP_SYNCNT, unixListener } from '../../src/net/libc.ts'
import { temporaryFolder } from '../folder.ts'
import { Deaf } from './deafness.ts'
import { type Answer, descriptorsSettle, dialled, dialledTls, Station, Tape, turns } from './tape.ts'

const folder = temporaryFolder()
/** What other test files in this process still wait for. */
const idle = deadlines.size

afterEach(() => {
  expect(deadlines.size).toBeLessThanOrEqual(idle)
})

async function failure(answer: Answer): Promise<string> {
  const result = await answer.answer
  return 'fail' in result ? result.fail : 'none'
}

/** A port where nobody listens. */
function deadPort(): number {
  const station = new Station('tcp', folder)
  station.listener.stop()
  return station.listener.port
}

/** Gives a name addresses for the length of `act`. */
async function named<T>(addresses: string[] | Error, act: () => Promise<T>): Promise<T> {
  const answer = async () => {
    if (addresses instanceof Error) throw addresses
    return addresses.map(address => ({ address, family: address.includes(':') ? (6 as const) : (4 as const), ttl: 0 }))
  }
  const lookup = spyOn(Bun.dns, 'lookup').mockImplementation(answer)
  try {
    return await act()
  } finally {
    lookup.mockRestore()
  }
}

test.if(LINUX)(
  'a dial that is given up is not tried for two minutes by the system, which has its descriptor meanwhile',
  async () => {
    const deaf = await Deaf.start()
    const fd = nextDescriptor()
    const given = dialled({ host: '127.0.0.1', port: deaf.port }, 300)
    const retries = new Int32Array(1)
    libc()!.getsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, ptr(retries), ptr(new Uint32Array([4])))
    expect(retries[0]).toBe(2)
    expect(await failure(given)).toBe('timeout')
    deaf.wakeUp()
  },
)

describe('failures', () => {
  test('nobody listens', async () => {
    const before = descriptors.open()
    const path = join(folder, 'none.sock')
    expect(await dialled({ host: '127.0.0.1', port: deadPort() }, 1_000).answer).toMatchObject({
      detail: 'connection refused',
    })
    // Of a name, the address that it was is told.
    const port = deadPort()
    expect(await named(['127.0.0.2'], () => dialled({ host: 'a.name', port }, 1_000).answer)).toMatchObject({
      detail: '127.0.0.2: connection refused',
    })
    expect(await dialled({ path }, 1_000).answer).toMatchObject({ detail: 'there is no such socket' })
    expect(await failure(dialled({ host: '127.0.0.1', port: deadPort() }, 1_000))).toBe('refused')
    expect(await failure(dialled({ host: '[::1]', port: deadPort() }, 1_000))).toBe('refused')
    expect(await failure(dialled({ path: join(folder, 'none.sock') }, 1_000))).toBe('refused')
    expect(await descriptorsSettle(folder, before)).toBe(before)
  })

  test('no answer', async () => {
    const deaf = await Deaf.start()
    const began = performance.now()
    expect(await failure(dialled({ host: '127.0.0.1', port: deaf.port }, 300))).toBe('timeout')
    const took = performance.now() - began
    expect(took).toBeGreaterThanOrEqual(295)
    expect(took).toBeLessThan(800)
    deaf.wakeUp()
    await deaf.resets(1)
  })

  test('a name without addresses', async () => {
    const nothing = Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'DNS_ENOTFOUND' })
    const target = { host: 'service.test', port: 1 }
    expect(await named(nothing, () => failure(dialled(target, 1_000)))).toBe('not-found')
    expect(await named([], () => failure(dialled(target, 1_000)))).toBe('not-found')
  })

  test('a lookup that takes too long, and one that comes after giving up', async () => {
    const station = new Station('tcp', folder)
    const late = Promise.withResolvers<Bun.DNSLookup[]>()
    const lookup = spyOn(Bun.dns, 'lookup').mockImplementation(() => late.promise)
    expect(await failure(dialled({ host: 'service.test', port: station.listener.port }, 50))).toBe('timeout')
    const before = descriptors.open()
    late.resolve([{ address: '127.0.0.1', family: 4, ttl: 0 }])
    await turns(folder)
    expect(await descriptorsSettle(folder, before)).toBe(before)
    expect(station.tapes.length).toBe(0)
    station.listener.stop()
    lookup.mockRestore()
  })

  test('no descriptor left', async () => {
    // Bun raises its soft limit to the hard one: both are set.
    const script = `ulimit -n 60; exec "${process.execPath}" "${join(import.meta.dir, 'exhaust.ts')}"`
    const child = Bun.spawn(['sh', '-c', script], { stdout: 'pipe', stderr: 'inherit' })
    expect((await child.stdout.text()).trim()).toBe('tcp limit, unix limit, later refused, limit 60')
  })

  test('never before dial returns', async () => {
    for (const target of [{ path: join(folder, 'none.sock') }, { host: '127.0.0.1', port: deadPort() }]) {
      let returned = false
      const told = Promise.withResolvers<boolean>()
      dial(target, 1_000, () => told.resolve(returned))
      returned = true
      expect(await told.promise).toBe(true)
    }
  })
})

describe('a name with several addresses', () => {
  /** A listener on each of the addresses, all on one port. */
  async function onPort(hosts: string[]): Promise<{ port: number; stop: () => void }> {
    const { listen } = await import('../../src/net/index.ts')
    for (let tries = 0; tries < 20; tries++) {
      const first = listen({ host: hosts[0]!, port: 0 }, () => new Tape())
      try {
        const rest = hosts.slice(1).map(host => listen({ host, port: first.port }, () => new Tape()))
        const all = [first, ...rest]
        return { port: first.port, stop: () => all.forEach(l => void l.stop()) }
      } catch {
        first.stop()
      }
    }
    throw new Error('no port is free on all of them')
  }

  async function reached(addresses: string[], port: number): Promise<{ host: string; ms: number }> {
    const tape = new Tape()
    const began = performance.now()
    const result = await named(addresses, () => dialled({ host: 'service.test', port }, 3_000, tape).answer)
    if ('fail' in result) throw new Error(result.detail)
    const ms = performance.now() - began
    const host = tape.it.remoteHost
    tape.it.abort()
    return { host, ms }
  }

  test('IPv6 goes first', async () => {
    const { port, stop } = await onPort(['::1', '127.0.0.1'])
    expect((await reached(['127.0.0.1', '::1'], port)).host).toBe('::1')
    stop()
  })

  test('a refusal passes the turn on at once', async () => {
    const { port, stop } = await onPort(['127.0.0.1'])
    const { host, ms } = await reached(['::1', '127.0.0.1'], port)
    expect(host).toBe('127.0.0.1')
    expect(ms).toBeLessThan(200)
    stop()
  })

  test('silence passes it on after 250 ms, and the late one is dropped', async () => {
    const deaf = await Deaf.start('', '::1')
    const { listen } = await import('../../src/net/index.ts')
    const four = listen({ host: '127.0.0.1', port: deaf.port }, () => new Tape())
    const before = descriptors.open()
    const { host, ms } = await reached(['::1', '127.0.0.1'], deaf.port)
    expect(host).toBe('127.0.0.1')
    expect(ms).toBeGreaterThanOrEqual(245)
    expect(ms).toBeLessThan(700)
    expect(await descriptorsSettle(folder, before + 1)).toBe(before + 1)
    deaf.wakeUp()
    await deaf.resets(1)
    expect(await descriptorsSettle(folder, before)).toBe(before)
    four.stop()
  }, 10_000)

  test('over TLS, an address that opens during the handshake of another is dropped, and that one goes on', async () => {
    const deaf = await Deaf.start('', '::1')
    const { listen } = await import('../../src/net/index.ts')
    const station = new Station('tls', folder)
    const { port } = station.listener
    const before = descriptors.open()
    const up = new Tape()
    // Passes the handshake on once the late one was reset.
    const slow = listen({ host: '127.0.0.1', port: deaf.port }, client => {
      const down = new Tape()
      let way: Promise<unknown> | null = null
      up.onBytes = buf => client.write(buf, 0, buf.length) < 0
      down.onBytes = buf => {
        if (way === null) {
          deaf.wakeUp()
          way = deaf.resets(1).then(() => dialled({ host: '127.0.0.1', port }, 1_000, up).answer)
        }
        void way.then(() => up.it.write(buf, 0, buf.length))
        return false
      }
      return down
    })
    const near = new Tape()
    const answer = named(['::1', '127.0.0.1'], () => dialledTls('relay.test', deaf.port, 5_000, near).answer)
    expect('ok' in (await answer)).toBe(true)
    expect(near.it.remoteHost).toBe('127.0.0.1')
    const far = await station.accepted()
    near.it.abort()
    up.it.abort()
    await far.closed()
    slow.stop()
    station.listener.stop()
    expect(await descriptorsSettle(folder, before)).toBeLessThanOrEqual(before)
  }, 10_000)

  test('when all fail, the most telling failure is the answer', async () => {
    const port = deadPort()
    const answer = await named(['::1', 'fe80::1', '127.0.0.1'], () => failure(dialled({ host: 'x.test', port }, 1_000)))
    expect(answer).toBe('refused')
  })
})

describe('giving up', () => {
  test('a cancelled dial calls back no more', async () => {
    const before = descriptors.open()
    for (const kind of ['tcp', 'unix'] as const) {
      const station = new Station(kind, folder)
      let told = false
      dial(station.target, 1_000, () => {
        told = true
      }).cancel()
      const far = await station.accepted()
      await far.until(
        () => far.story !== '',
        'the end',
        () => far.story,
      )
      expect(far.story).toBe(kind === 'unix' ? 'end' : 'close:reset')
      far.it.abort()
      expect(told).toBe(false)
      station.listener.stop()
      expect(await descriptorsSettle(folder, before)).toBe(before)
    }
  })

  test('a connection that opens after the deadline or a cancel is reset, and its descriptor counted until then', async () => {
    const deaf = await Deaf.start()
    const target = { host: '127.0.0.1', port: deaf.port }
    const before = descriptors.open()
    let told = 0
    const dialing = dial(target, 60_000, () => {
      told++
    })
    expect(await failure(dialled(target, 50))).toBe('timeout')
    dialing.cancel()
    dialing.cancel()
    expect(descriptors.open()).toBe(before + 2)
    deaf.wakeUp()
    await deaf.resets(2)
    expect(await descriptorsSettle(folder, before)).toBe(before)
    expect(told).toBe(0)
  }, 10_000)

  test('a connection that nobody takes is dropped', async () => {
    const station = new Station('tcp', folder)
    dial(station.target, 1_000, () => {})
    const far = await station.accepted()
    await far.closed()
    expect(far.story).toBe('close:reset')
    station.listener.stop()
  })

  test('cancel after the answer does nothing', async () => {
    const station = new Station('tcp', folder)
    const tape = new Tape()
    const { dialing, answer } = dialled(station.target, 1_000, tape)
    await answer
    dialing.cancel()
    const far = await station.accepted()
    tape.write(10)
    await far.got(10)
    tape.it.abort()
    station.listener.stop()
  })
})

test('a unix service whose backlog is full is waited for', async () => {
  const path = join(folder, 'full.sock')
  const deaf = await Deaf.start(path)
  const tape = new Tape()
  expect(unixListener(path)).toBe('full')
  // The first attempt is made in this call.
  const { answer } = dialled({ path }, 5_000, tape)
  deaf.wakeUp()
  expect('ok' in (await answer)).toBe(true)
  tape.it.abort()
})

describe('descriptors', () => {
  test('are counted as the kernel counts them, through a churn of every kind', async () => {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, 'churn.ts'), folder], {
      stdout: 'pipe',
      stderr: 'inherit',
    })
    const { off, left, timers } = JSON.parse(await child.stdout.text())
    expect({ off, left, timers }).toEqual({ off: Array(off.length).fill(off[0]), left: 0, timers: 0 })
  }, 10_000)

  test('near the limit', () => {
    expect(descriptors.limit()).toBeGreaterThan(1_000)
    expect(descriptors.near(0)).toBe(false)
    expect(descriptors.near(descriptors.limit())).toBe(true)
  })
})
