// What the tests of net share: a handler that writes down what it is told, and pairs of connections of each kind.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import {
  type Connection,
  type Dialing,
  type Dialled,
  type DialledTls,
  descriptors,
  dial,
  dialTls,
  type Ended,
  type Handler,
  type Listener,
  listen,
  listenTls,
  type NotDialled,
  type Target,
} from '../../src/net/index.ts'
import { certificate } from './certificate.ts'

export const ALPN = 'warren/1'
export const KINDS = ['tcp', 'unix', 'tls'] as const
export type Kind = (typeof KINDS)[number]

/** Waits for a state, and not for a time: every event looks again. */
export class Waiting {
  private waiting: { ready: () => boolean; resolve: () => void }[] = []

  protected wake(): void {
    for (const waiter of [...this.waiting]) {
      if (!waiter.ready()) continue
      this.waiting.splice(this.waiting.indexOf(waiter), 1)
      waiter.resolve()
    }
  }

  until(ready: () => boolean, what: string, state: () => string): Promise<void> {
    if (ready()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`waited for ${what}, is at: ${state()}`)), 4_500)
      const done = () => {
        clearTimeout(timer)
        resolve()
      }
      this.waiting.push({ ready, resolve: done })
    })
  }
}

/** Runs of data are one 'data' each. */
export class Tape extends Waiting implements Handler {
  readonly events: string[] = []
  bytes = 0
  onBytes: ((buf: Buffer) => boolean) | null = null
  connection: Connection | null = null

  onData(buf: Buffer): boolean {
    this.bytes += buf.length
    if (this.events.at(-1) !== 'data') this.events.push('data')
    const free = this.onBytes === null || this.onBytes(buf)
    this.wake()
    return free
  }

  onDrain(): void {
    this.drained()
    this.wake()
  }

  drained: () => void = () => {}

  onEnd(): void {
    this.events.push('end')
    this.wake()
  }

  onClose(how: Ended): void {
    this.events.push(`close:${how}`)
    this.wake()
  }

  get it(): Connection {
    if (this.connection === null) throw new Error('no connection yet')
    return this.connection
  }

  saw(event: string): Promise<void> {
    return this.until(
      () => this.events.includes(event),
      event,
      () => this.story,
    )
  }

  get story(): string {
    return this.events.join(' ')
  }

  got(bytes: number): Promise<void> {
    return this.until(
      () => this.bytes >= bytes,
      `${bytes} bytes`,
      () => `${this.bytes} bytes, ${this.story}`,
    )
  }

  closed(): Promise<void> {
    return this.until(
      () => this.events.at(-1)?.startsWith('close') === true,
      'close',
      () => this.story,
    )
  }

  write(bytes: number): number {
    return this.it.write(Buffer.alloc(bytes, 7), 0, bytes)
  }

  /** The same, as three parts of a buffer that lie apart. */
  writeParts(bytes: number): number {
    const len = [Math.ceil(bytes / 2), Math.floor(bytes / 4), bytes - Math.ceil(bytes / 2) - Math.floor(bytes / 4)]
    const at = [5, len[0]! + 10, len[0]! + len[1]! + 15]
    const buf = Buffer.alloc(bytes + 20, 8)
    for (const [i, from] of at.entries()) buf.fill(7, from, from + len[i]!)
    return this.it.writeParts({ buf, count: 3, bytes, at, len })
  }

  /** Writes until the socket takes no more. */
  fill(): number {
    const chunk = Buffer.alloc(1 << 20, 7)
    let taken = 0
    for (;;) {
      const n = this.it.write(chunk, 0, chunk.length)
      taken += n
      if (n < chunk.length) return taken
    }
  }
}

/** A listener of a kind; each accepted connection gets a Tape of its own. */
export class Station extends Waiting {
  readonly tapes: Tape[] = []
  readonly listener: Listener
  readonly path: string

  constructor(
    readonly kind: Kind,
    folder: string,
    setUp: (tape: Tape) => void = () => {},
  ) {
    super()
    this.path = join(folder, `${randomBytes(6).toString('hex')}.sock`)
    const accept = (connection: Connection): Tape => {
      const tape = new Tape()
      tape.connection = connection
      setUp(tape)
      this.tapes.push(tape)
      this.wake()
      return tape
    }
    if (kind === 'unix') this.listener = listen({ path: this.path }, accept)
    else if (kind === 'tcp') this.listener = listen({ host: '127.0.0.1', port: 0 }, accept)
    else {
      const { key, cert } = certificate
      this.listener = listenTls({ host: '127.0.0.1', port: 0, key, cert, alpn: ALPN, handshakeMs: 5_000 }, accept)
    }
  }

  get target(): Target {
    return this.kind === 'unix' ? { path: this.path } : { host: '127.0.0.1', port: this.listener.port }
  }

  async accepted(n = 0): Promise<Tape> {
    await this.until(
      () => this.tapes.length > n,
      `connection ${n}`,
      () => `${this.tapes.length} connections`,
    )
    return this.tapes[n]!
  }
}

export type Answer = { dialing: Dialing; answer: Promise<Dialled | DialledTls | NotDialled> }

/** Dials plainly, and gives the connection to `tape`. */
export function dialled(target: Target, timeoutMs: number, tape = new Tape()): Answer {
  let dialing!: Dialing
  const answer = new Promise<Dialled | NotDialled>(resolve => {
    dialing = dial(target, timeoutMs, result => {
      resolve(result)
      if (!('ok' in result)) return
      tape.connection = result.ok
      return tape
    })
  })
  return { dialing, answer }
}

export function dialledTls(host: string, port: number, timeoutMs: number, tape = new Tape(), alpn = ALPN): Answer {
  let dialing!: Dialing
  const answer = new Promise<DialledTls | NotDialled>(resolve => {
    dialing = dialTls({ host, port }, { timeoutMs, alpn }, result => {
      resolve(result)
      if (!('ok' in result)) return
      tape.connection = result.ok
      return tape
    })
  })
  return { dialing, answer }
}

export type Pair = { near: Tape; far: Tape; station: Station }

/** Both ends of one connection in this process: `near` dialled, `far` was accepted. */
export async function pair(kind: Kind, folder: string): Promise<Pair> {
  const station = new Station(kind, folder)
  const near = new Tape()
  const { target } = station
  const { answer } =
    kind === 'tls' && 'host' in target
      ? dialledTls(target.host, target.port, 5_000, near)
      : dialled(target, 5_000, near)
  const result = await answer
  if (!('ok' in result)) throw new Error(`${result.fail}: ${result.detail}`)
  const far = await station.accepted()
  station.listener.stop()
  return { near, far, station }
}

/** Several turns of the event loop with all of its pending socket events: what had not come by then was held back. */
export async function turns(folder: string): Promise<void> {
  for (let i = 0; i < 3; i++) {
    const { near, far } = await pair('tcp', folder)
    near.write(1)
    await far.got(1)
    near.it.abort()
    await far.closed()
  }
}

/** Lets what is closing close, until net holds as many descriptors as that. Gives the number that it came to. */
export async function descriptorsSettle(folder: string, wanted: number): Promise<number> {
  for (let i = 0; i < 50 && descriptors.open() !== wanted; i++) await turns(folder)
  return descriptors.open()
}

/** Numbers that a seed repeats: mulberry32. */
export class Random {
  private state: number

  constructor(readonly seed: number) {
    this.state = seed >>> 0
  }

  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }

  below(n: number): number {
    return Math.floor(this.next() * n)
  }
}

/** The seed of this run: printed, and taken back from SEED. */
export function seed(): number {
  const given = process.env['SEED']
  const chosen = given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given)
  console.log(`SEED=${chosen}`)
  return chosen
}
