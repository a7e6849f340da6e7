// Listening: what is taken stays taken, a crowd is let in at once, and a unix socket belongs to one process.
import { afterAll, describe, expect, spyOn, test } from 'bun:test'
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { WarrenError } from '../../src/errors.ts'
import { type Listener, listen } from '../../src/net/index.ts'
import { temporaryFolder } from '../folder.ts'
import { Deaf } from './deafness.ts'
import { dialled, pair, Station, Tape } from './tape.ts'

const folder = temporaryFolder()
const here = import.meta.dir

function codeOf(act: () => unknown): string {
  try {
    act()
  } catch (thrown) {
    if (thrown instanceof WarrenError) return thrown.code
    throw thrown
  }
  return 'none'
}

function listenAt(host: string, port: number): Listener {
  return listen({ host, port }, () => new Tape())
}

/** A process that listens at a unix socket by way of src/net and says whether it could. */
function holder(path: string) {
  const child = Bun.spawn([process.execPath, join(here, 'holder.ts'), path], { stdout: 'pipe', stderr: 'inherit' })
  afterAll(() => child.kill())
  return { child, answer: firstLine(child.stdout) }
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of stream) {
    text += decoder.decode(chunk)
    if (text.includes('\n')) break
  }
  return text.trim()
}

describe('tcp', () => {
  test('a port that is taken is an error, also for this very process', () => {
    const first = listenAt('127.0.0.1', 0)
    expect(codeOf(() => listenAt('127.0.0.1', first.port))).toBe('W-PORT-BOUND')
    expect(codeOf(() => listenAt('0.0.0.0', first.port))).toBe('W-PORT-BOUND')
    expect(codeOf(() => listenAt('::', first.port))).toBe('W-PORT-BOUND')
    first.stop()
    first.stop()
    listenAt('127.0.0.1', first.port).stop()
  })

  test('nobody else can listen beside us, however they ask', async () => {
    const ours = listenAt('127.0.0.1', 0)
    const theirs = () =>
      Bun.listen({ hostname: '127.0.0.1', port: ours.port, reusePort: true, socket: { data() {} } } as never)
    expect(theirs).toThrow('Failed to listen')
    ours.stop()
  })

  test('an address that is not of this machine', () => {
    expect(codeOf(() => listenAt('192.0.2.1', 0))).toBe('W-PORT-BOUND')
  })

  test('a port that this user may not have: what to do is not to look for another relay', () => {
    // Root may have them all, so the system's answer is made up.
    const bind = spyOn(Bun, 'listen').mockImplementation(() => {
      throw Object.assign(new Error('Failed to listen'), { code: 'EACCES' })
    })
    try {
      expect(() => listenAt('127.0.0.1', 443)).toThrow(
        expect.objectContaining({
          code: 'W-PORT-BOUND',
          message: '127.0.0.1:443 may not be bound by this user',
          todo: expect.stringContaining('1024'),
        }),
      )
    } finally {
      bind.mockRestore()
    }
  })

  test('a listener that stops leaves its connections alone', async () => {
    const { near, far, station } = await pair('tcp', folder)
    expect(station.listener.connections).toBe(1)
    near.write(10)
    await far.got(10)
    const answer = await dialled(station.target, 1_000).answer
    expect('fail' in answer && answer.fail).toBe('refused')
    near.it.abort()
    await far.closed()
    expect(station.listener.connections).toBe(0)
  })

  test('IPv4 visitors of an IPv6 listener have IPv4 addresses', async () => {
    const tapes: Tape[] = []
    const arrived = Promise.withResolvers<void>()
    const both = listen({ host: '::', port: 0 }, connection => {
      const tape = new Tape()
      tape.connection = connection
      tapes.push(tape)
      if (tapes.length === 2) arrived.resolve()
      return tape
    })
    for (const host of ['127.0.0.1', '::1']) await dialled({ host, port: both.port }, 1_000).answer
    await arrived.promise
    expect(tapes.map(t => t.it.remoteHost).sort()).toEqual(['127.0.0.1', '::1'])
    expect(tapes.map(t => t.it.localHost).sort()).toEqual(['127.0.0.1', '::1'])
    both.stop()
  })

  test('3,000 connect at once while nobody accepts, and no SYN is sent twice', async () => {
    const station = new Station('tcp', folder)
    // This process stands still meanwhile: the kernel's backlog alone lets them in.
    const crowd = Bun.spawnSync([process.execPath, join(here, 'crowd.ts'), String(station.listener.port), '3000'])
    const { connected, slowest } = JSON.parse(crowd.stdout.toString())
    expect(connected).toBe(3000)
    expect(slowest).toBeLessThan(900)
    station.listener.stop()
  }, 20_000)
})

describe('unix', () => {
  const free = () => join(folder, `${crypto.randomUUID()}.sock`)
  const at = (path: string) => listen({ path }, () => new Tape())

  test('only its owner may connect, and the file goes with the listener', () => {
    const path = free()
    const before = process.umask()
    const listener = at(path)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(process.umask()).toBe(before)
    expect(listener.path).toBe(path)
    listener.stop()
    expect(existsSync(path)).toBe(false)
  })

  test('what a dead process left behind is replaced', async () => {
    const path = free()
    const { child, answer } = holder(path)
    expect(await answer).toBe('listening')
    child.kill('SIGKILL')
    await child.exited
    expect(existsSync(path)).toBe(true)
    const listener = at(path)
    const tape = new Tape()
    expect('ok' in (await dialled({ path }, 1_000, tape).answer)).toBe(true)
    tape.it.abort()
    listener.stop()
  })

  test('also at a path that is too long to be asked, by who is alone there', async () => {
    const deep = join(folder, 'a-name-of-forty-characters-and-some-more'.repeat(3))
    mkdirSync(deep)
    const path = join(deep, 'control.sock')
    const { child, answer } = holder(path)
    expect(await answer).toBe('listening')
    child.kill('SIGKILL')
    await child.exited
    expect(codeOf(() => at(path))).toBe('W-LOCKED')
    const listener = listen({ path, alone: true }, () => new Tape())
    const tape = new Tape()
    expect('ok' in (await dialled({ path }, 1_000, tape).answer)).toBe(true)
    tape.it.abort()
    listener.stop()
  })

  test('what a living process holds is not', async () => {
    const path = free()
    const { answer } = holder(path)
    expect(await answer).toBe('listening')
    expect(codeOf(() => at(path))).toBe('W-LOCKED')
    expect('ok' in (await dialled({ path }, 1_000).answer)).toBe(true)
  })

  test('nor what one holds that is too busy to accept', async () => {
    const path = free()
    await Deaf.start(path)
    expect(codeOf(() => at(path))).toBe('W-LOCKED')
  })

  test('of many that find a dead one, one gets it', async () => {
    const path = free()
    const { child, answer } = holder(path)
    await answer
    child.kill('SIGKILL')
    await child.exited
    const answers = await Promise.all(Array.from({ length: 6 }, () => holder(path).answer))
    expect(answers.sort()).toEqual([...Array(5).fill('W-LOCKED'), 'listening'])
  }, 10_000)

  test('a file that is no socket is left alone', () => {
    const path = free()
    writeFileSync(path, 'precious')
    expect(codeOf(() => at(path))).toBe('W-STATE')
    expect(statSync(path).size).toBe(8)
  })

  test('a folder that does not exist, a path that is too long', () => {
    expect(codeOf(() => at(join(folder, 'none', 'x.sock')))).toBe('W-STATE')
    expect(codeOf(() => at(join(folder, 'x'.repeat(120))))).toBe('W-STATE')
  })
})
