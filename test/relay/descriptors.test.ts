// Near its limit of file descriptors a relay keeps what sessions need, and says so once a second.
import { afterAll, expect, test } from 'bun:test'
import net from 'node:net'
import { join } from 'node:path'
import { temporaryFolder } from '../folder.ts'

const LIMIT = 400

/** The lines of a stream, as they come. */
class Lines {
  readonly seen: string[] = []
  #more = Promise.withResolvers<void>()

  constructor(stream: ReadableStream<Uint8Array>) {
    void this.#follow(stream)
  }

  /** The first group of the first match, in a line from `from` on that is there or is to come. */
  async find(what: RegExp, from = 0): Promise<string> {
    for (let i = from; ; i++) {
      while (i === this.seen.length) await this.#more.promise
      const found = what.exec(this.seen[i]!)
      if (found !== null) return found[1] ?? ''
    }
  }

  async #follow(stream: ReadableStream<Uint8Array>): Promise<void> {
    let rest = ''
    for await (const chunk of stream) {
      const parts = (rest + Buffer.from(chunk).toString()).split('\n')
      rest = parts.pop() ?? ''
      this.seen.push(...parts)
      this.#more.resolve()
      this.#more = Promise.withResolvers()
    }
  }
}

/** The relay or an agent, under a limit of descriptors that it cannot raise. */
function run(limit: number, ...args: string[]) {
  const command = `ulimit -n ${limit} && exec "$0" src/cli.ts "$@"`
  const child = Bun.spawn(['sh', '-c', command, process.execPath, ...args], { stdout: 'pipe', stderr: 'pipe' })
  afterAll(() => child.kill('SIGKILL'))
  return { child, events: new Lines(child.stdout), log: new Lines(child.stderr) }
}

/** Its state in `folder`. */
function runRelay(limit: number, folder: string, ...more: string[]) {
  const where = ['--listen', '127.0.0.1:0', '--bind', '127.0.0.1', '--state', join(folder, 'r')]
  return run(limit, 'relay', ...where, '--json', ...more)
}

/** The port of a service that echoes. */
function echo(): number {
  const server = net.createServer(socket => {
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  afterAll(() => void server.close())
  return (server.address() as net.AddressInfo).port
}

const WINDOWS = process.platform === 'win32'
if (WINDOWS) console.log('NOT RUN: a relay near its limit of descriptors, as Windows has none')

if (!WINDOWS)
  test('a relay near its limit resets visitors, keeps its sessions, and recovers', async () => {
    const service = echo()
    const folder = temporaryFolder()
    const relay = runRelay(LIMIT, folder)
    const invite = await relay.events.find(/"invite":"([^"]+)"/)
    const agentArgs = ['tcp', `127.0.0.1:${service}`, '--state', join(folder, 'a'), '--json']
    const agent = run(4096, ...agentArgs, '--relay', invite)
    const port = Number(await agent.events.find(/"address":"[^"]*:(\d+)"/))

    // More visitors than the relay has descriptors: each ends in an echo or in a reset, none in silence.
    const sockets: net.Socket[] = []
    const outcomes = await Promise.all(
      Array.from({ length: LIMIT + 100 }, () => {
        const socket = net.connect(port, '127.0.0.1')
        sockets.push(socket)
        return new Promise<'echo' | 'reset'>(resolve => {
          socket.on('connect', () => socket.write('x'))
          socket.on('data', () => resolve('echo'))
          socket.on('error', () => resolve('reset'))
        })
      }),
    )
    const echoes = outcomes.filter(o => o === 'echo').length
    expect(echoes).toBeGreaterThan(100)
    expect(echoes).toBeLessThan(LIMIT - 100)
    await relay.log.find(/(visitors reset)/)
    expect(relay.log.seen.filter(line => line.includes('visitors reset')).length).toBeLessThanOrEqual(2)

    // There is room for an agent all the same.
    const second = run(4096, ...agentArgs, '--name', 'second')
    await second.events.find(/"state":"(connected)"/)

    for (const socket of sockets) socket.destroy()
    for (;;) {
      const back = await new Promise<boolean>(resolve => {
        const socket = net.connect(port, '127.0.0.1', () => socket.write('x'))
        socket.on('data', () => {
          socket.destroy()
          resolve(true)
        })
        socket.on('error', () => resolve(false))
      })
      if (back) break
    }
  }, 30_000)

if (!WINDOWS)
  test('an agent that has none left resets streams with limit, and goes on', async () => {
    const folder = temporaryFolder()
    const relay = runRelay(4096, folder)
    const invite = await relay.events.find(/"invite":"([^"]+)"/)
    const agentArgs = ['tcp', `127.0.0.1:${echo()}`, '--state', join(folder, 'a'), '--json', '--relay', invite]
    const agent = run(100, ...agentArgs)
    const port = Number(await agent.events.find(/"address":"[^"]*:(\d+)"/))
    const sockets = Array.from({ length: 130 }, () => net.connect(port, '127.0.0.1').on('error', () => {}))
    await agent.events.find(/("end":"limit")/)
    // Told once a second, as often as it looks whether its address is still there.
    for (let looks = 0; looks < 3; looks++) {
      const next = agent.events.find(/("event":"rtt")/, agent.events.seen.length)
      expect(await Promise.race([next, agent.child.exited])).toBe('"event":"rtt"')
    }
    for (const socket of sockets) socket.destroy()
  }, 30_000)

if (!WINDOWS)
  test('strangers and tunnels leave a relay the descriptors that its sessions need', async () => {
    const folder = temporaryFolder()
    const relay = runRelay(300, folder, '--ports', '24000-24999')
    const invite = await relay.events.find(/"invite":"([^"]+)"/)
    const control = Number(await relay.events.find(/"control":"[^"]*:(\d+)"/))
    const service = echo()
    const services = Array.from({ length: 250 }, (_, i) => `s${i}=127.0.0.1:${service}`)
    const agentArgs = ['--state', join(folder, 'a'), '--json']
    const agent = run(4096, 'tcp', ...services, ...agentArgs, '--relay', invite)
    const port = Number(await agent.events.find(/"address":"[^"]*:(\d+)"/))
    expect(await agent.events.find(/"code":"(W-[A-Z-]+)"/)).toBe('W-RELAY-BUSY')
    // A quarter of its limit is the strangers'; who comes beyond is turned away at once.
    const silent = Array.from({ length: 200 }, () =>
      net.connect({ port: control, host: '127.0.0.1', localAddress: '127.0.0.9' }),
    )
    let closed = 0
    await new Promise<void>(resolve => {
      for (const socket of silent) {
        socket.on('error', () => {})
        socket.on('close', () => {
          if (++closed === 125) resolve()
        })
      }
    })
    for (const socket of silent) socket.destroy()
    // Another process of the key, for a tunnel that is open already.
    const second = run(4096, 'tcp', `s0=127.0.0.1:${service}`, ...agentArgs)
    expect(Number(await second.events.find(/"address":"[^"]*:(\d+)"/))).toBe(port)
  }, 30_000)
