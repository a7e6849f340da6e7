// `warren try --check`: what a direct TCP connection does, seen through a tunnel. A service of its own behind the tunnel
// and a visitor in front of it, both in this process, so that each side's account can be compared with the other's.
import type { TunnelSpec } from '../config/index.ts'
import { parseHostPort } from '../config/index.ts'
import { dial, type Ended, type Listener, listen } from '../net/index.ts'
import { formatBytes, formatRate, formatSpan } from '../screen/index.ts'
import type { Emit } from '../telemetry/events.ts'
import { Probe } from './probe.ts'
import type { Running } from './running.ts'

export type Finding = { readonly ok: boolean; readonly what: string }

const HOST = '127.0.0.1'
const BULK = 16 * 1024 * 1024
const TAIL = 1024 * 1024
/** What takes longer than this hangs. */
const PATIENCE_MS = 20_000

/** Tells each finding as it is made; true when all of them are good. */
export async function checkTunnel(
  start: (tunnels: TunnelSpec[], emit: Emit) => Promise<Running>,
  tell: (finding: Finding) => void,
): Promise<boolean> {
  const service = new Service()
  const opened = new Map<string, PromiseWithResolvers<string>>([
    ['check', Promise.withResolvers()],
    ['nobody', Promise.withResolvers()],
  ])
  const tunnels = [
    { name: 'check', local: { kind: 'tcp', host: HOST, port: service.port }, port: null },
    { name: 'nobody', local: { kind: 'tcp', host: HOST, port: unusedPort() }, port: null },
  ] satisfies TunnelSpec[]
  const running = await start(tunnels, event => {
    if (event.event === 'tunnel') opened.get(event.name)?.resolve(event.address)
  })
  const failed = running.closed.then(error => {
    throw error ?? new Error('the agent ended')
  })
  failed.catch(() => {})

  let passed = true
  const step = async (what: string, act: () => Promise<string>): Promise<void> => {
    const finding = await inTime(Promise.race([act(), failed])).then(
      detail => ({ ok: true, what: detail === '' ? what : `${what}: ${detail}` }),
      (error: unknown) => ({ ok: false, what: `${what}: ${error instanceof Error ? error.message : error}` }),
    )
    passed &&= finding.ok
    tell(finding)
  }
  try {
    let address = ''
    await step('a tunnel to a local service', async () => {
      address = await addressOf(opened, 'check')
      return `open at ${address}`
    })
    await step('a byte there and back', async () => {
      const [visitor, server] = await service.meet(address)
      const began = performance.now()
      await Promise.all([visitor.send(1), server.receive(1).then(() => server.send(1)), visitor.receive(1)])
      const took = performance.now() - began
      await endBoth(visitor, server)
      return formatSpan(took)
    })
    await step('bytes to the service', async () => {
      const [visitor, server] = await service.meet(address)
      return transfer(visitor, server)
    })
    await step('bytes to the visitor', async () => {
      const [visitor, server] = await service.meet(address)
      return transfer(server, visitor)
    })
    await step('bytes both ways at once', async () => {
      const [visitor, server] = await service.meet(address)
      await Promise.all([visitor.send(BULK), server.send(BULK), visitor.receive(BULK), server.receive(BULK)])
      same(visitor, server)
      same(server, visitor)
      await endBoth(visitor, server)
      return `${formatBytes(BULK)} each way, both hashes equal`
    })
    await step('half-close by the visitor', async () => {
      const [visitor, server] = await service.meet(address)
      return halfClose(visitor, server)
    })
    await step('half-close by the service', async () => {
      const [visitor, server] = await service.meet(address)
      return halfClose(server, visitor)
    })
    await step('a reset by the service', async () => {
      const [visitor, server] = await service.meet(address)
      await Promise.all([visitor.send(1), server.receive(1)])
      server.abort()
      return arrivesAsReset(visitor)
    })
    await step('a reset by the visitor', async () => {
      const [visitor, server] = await service.meet(address)
      await Promise.all([visitor.send(1), server.receive(1)])
      visitor.abort()
      return arrivesAsReset(server)
    })
    await step('a service that is down', async () => {
      const visitor = await connect(await addressOf(opened, 'nobody'))
      return arrivesAsReset(visitor)
    })
  } finally {
    service.stop()
    running.stop()
    await inTime(running.closed).catch(() => {})
  }
  return passed
}

/** The local service: hands each connection to whoever waits for the next one. */
class Service {
  readonly #listener: Listener
  #next: PromiseWithResolvers<Probe> = Promise.withResolvers()

  constructor() {
    this.#listener = listen({ host: HOST, port: 0 }, connection => {
      const probe = new Probe(connection)
      this.#next.resolve(probe)
      return probe
    })
  }

  get port(): number {
    return this.#listener.port
  }

  /** Both ends of one new connection through the tunnel. */
  async meet(address: string): Promise<[visitor: Probe, server: Probe]> {
    this.#next = Promise.withResolvers()
    return Promise.all([connect(address), this.#next.promise])
  }

  stop(): void {
    this.#listener.stop()
  }
}

function connect(address: string): Promise<Probe> {
  const { promise, resolve, reject } = Promise.withResolvers<Probe>()
  dial(parseHostPort(address), PATIENCE_MS, result => {
    if ('fail' in result) {
      reject(new Error(`the public address does not answer: ${result.detail}`))
      return
    }
    const probe = new Probe(result.ok)
    resolve(probe)
    return probe
  })
  return promise
}

/** A port where nobody listens. */
function unusedPort(): number {
  const listener = listen({ host: HOST, port: 0 }, connection => new Probe(connection))
  const { port } = listener
  listener.stop()
  return port
}

async function addressOf(opened: ReadonlyMap<string, PromiseWithResolvers<string>>, name: string): Promise<string> {
  const address = await opened.get(name)?.promise
  if (address === undefined) throw new Error(`there is no tunnel named ${name}`)
  return address
}

async function transfer(from: Probe, to: Probe): Promise<string> {
  const began = performance.now()
  await Promise.all([from.send(BULK), to.receive(BULK)])
  const seconds = (performance.now() - began) / 1000
  same(from, to)
  await endBoth(from, to)
  return `${formatBytes(BULK)}, hashes equal, ${formatRate(BULK / seconds)}`
}

/** One side ends its direction; the other one still sends all that it has, and it arrives. */
async function halfClose(first: Probe, second: Probe): Promise<string> {
  await first.send(TAIL)
  first.shutdown()
  await second.ended
  same(first, second)
  await second.send(TAIL)
  second.shutdown()
  await first.ended
  same(second, first)
  expectEnd('closed', await first.closed, await second.closed)
  return `the other way went on, ${formatBytes(TAIL)}, hashes equal`
}

async function arrivesAsReset(other: Probe): Promise<string> {
  // A FIN in its place would leave the connection half open.
  const fin = other.ended.then((): Ended => 'closed')
  expectEnd('reset', await Promise.race([fin, other.closed]))
  return 'arrives as a reset'
}

async function endBoth(one: Probe, other: Probe): Promise<void> {
  one.shutdown()
  other.shutdown()
  expectEnd('closed', await one.closed, await other.closed)
}

function same(from: Probe, to: Probe): void {
  if (from.sentHash() !== to.receivedHash()) throw new Error('what arrived is not what was sent')
}

function expectEnd(wanted: Ended, ...seen: Ended[]): void {
  const other = seen.find(how => how !== wanted)
  if (other !== undefined) throw new Error(`the connection ended as ${other}, not as ${wanted}`)
}

function inTime<T>(promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`nothing for ${PATIENCE_MS / 1000} s`)), PATIENCE_MS)
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
