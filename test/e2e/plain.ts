// Plain TCP programs for the tests: visitors and services that know nothing of warren, on Bun's own sockets. Where a test
// turns on RST against FIN while both sides write, it uses the oracle's endpoints instead: these here fold a reset that a
// write meets first into a plain close.
import type { Socket, TCPSocketListener, UnixSocketListener } from 'bun'
import { descriptorOf } from '../../src/net/descriptors.ts'
import { setBacklog } from '../../src/net/libc.ts'
import { within } from './warren.ts'

export type Place = { host: string; port: number } | { path: string }
/** How what the other side sends ended. */
export type End = 'fin' | 'reset'

const WAIT_MS = 30_000
/** Bun asks for 512. What a full queue makes wait, and now and then resets, is the service's doing, not the tunnel's. */
const BACKLOG = 4096

export class Plain {
  received = 0
  /** Set to false by who only counts: a bulk transfer is not kept. */
  keep = true
  /** Sees each chunk as it comes. */
  onData: ((chunk: Buffer) => void) | null = null
  readonly ended: Promise<End>
  #socket: Socket<Plain> | null = null
  #chunks: Buffer[] = []
  #kept = 0
  #end = Promise.withResolvers<End>()
  #over: End | null = null
  #finished = false
  #wake: (() => void)[] = []
  #drained: (() => void)[] = []

  constructor() {
    this.ended = this.#end.promise
  }

  static async dial(place: Place): Promise<Plain> {
    const plain = new Plain()
    const how = { allowHalfOpen: true, data: plain, socket: HANDLER }
    if ('path' in place) await Bun.connect<Plain>({ unix: place.path, ...how })
    else await Bun.connect<Plain>({ hostname: place.host, port: place.port, ...how })
    return plain
  }

  opened(socket: Socket<Plain>): void {
    this.#socket = socket
  }

  arrived(chunk: Buffer): void {
    this.received += chunk.length
    this.onData?.(chunk)
    if (this.keep) {
      this.#chunks.push(chunk)
      this.#kept += chunk.length
    }
    this.#tell()
  }

  over(end: End): void {
    if (this.#over !== null) return
    this.#over = end
    this.#end.resolve(end)
    this.#tell()
  }

  closed(error: Error | undefined): void {
    // After its own FIN, the other side's is told by the close alone.
    this.over(error === undefined && this.#finished ? 'fin' : 'reset')
    for (const drained of this.#drained.splice(0)) drained()
  }

  drained(): void {
    for (const drained of this.#drained.splice(0)) drained()
  }

  #tell(): void {
    for (const wake of this.#wake.splice(0)) wake()
  }

  get isOver(): boolean {
    return this.#over !== null
  }

  /** Resolves when the kernel has taken all, false when the connection went away before. */
  async send(bytes: Uint8Array | string): Promise<boolean> {
    const buffer = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
    let at = 0
    while (at < buffer.length) {
      const n = this.#socket?.write(buffer, at, buffer.length - at) ?? -1
      if (n < 0) return false
      at += n
      if (at < buffer.length) {
        const drained = Promise.withResolvers<void>()
        this.#drained.push(drained.resolve)
        await drained.promise
      }
    }
    return true
  }

  /** Half-close. */
  finish(): void {
    this.#finished = true
    this.#socket?.shutdown()
  }

  reset(): void {
    this.#socket?.terminate()
  }

  pause(): void {
    this.#socket?.pause()
  }

  resume(): void {
    this.#socket?.resume()
  }

  /** The next n bytes; throws when they can no longer come. */
  async read(n: number): Promise<Buffer> {
    while (this.#kept < n) {
      if (this.#over !== null) throw new Error(`${this.#over} after ${this.#kept} of ${n} bytes`)
      const wake = Promise.withResolvers<void>()
      this.#wake.push(wake.resolve)
      await within(WAIT_MS, wake.promise, () => `${this.#kept} of ${n} bytes came`)
    }
    const all = Buffer.concat(this.#chunks)
    this.#chunks = [all.subarray(n)]
    this.#kept = all.length - n
    return all.subarray(0, n)
  }

  /** Everything until the end, and how it ended. */
  async readAll(ms = WAIT_MS): Promise<{ bytes: Buffer; end: End }> {
    const end = await within(ms, this.ended, () => `no end, after ${this.received} bytes`)
    const bytes = Buffer.concat(this.#chunks)
    this.#chunks = []
    this.#kept = 0
    return { bytes, end }
  }
}

const HANDLER = {
  open(socket: Socket<Plain>) {
    socket.data.opened(socket)
  },
  data(socket: Socket<Plain>, chunk: Buffer) {
    socket.data.arrived(chunk)
  },
  drain(socket: Socket<Plain>) {
    socket.data.drained()
  },
  end(socket: Socket<Plain>) {
    socket.data.over('fin')
  },
  close(socket: Socket<Plain>, error?: Error) {
    socket.data.closed(error)
  },
  error() {},
}

export type Service = Disposable & {
  port: number
  /** As `warren tcp` takes it. */
  local: string
  /** Those that came so far; an agent comes once by itself, to see whether the service answers. */
  accepted: Plain[]
  /** The next one that comes. */
  next(): Promise<Plain>
}

/** A service in this process; `serve` runs for every connection. */
export function service(serve: (plain: Plain) => void, at: { host?: string; path?: string } = {}): Service {
  const accepted: Plain[] = []
  let next = Promise.withResolvers<Plain>()
  const socket = {
    ...HANDLER,
    open(raw: Socket<Plain>) {
      const plain = new Plain()
      raw.data = plain
      plain.opened(raw)
      accepted.push(plain)
      serve(plain)
      next.resolve(plain)
      next = Promise.withResolvers()
    },
  }
  const host = at.host ?? '127.0.0.1'
  const listener: TCPSocketListener<Plain> | UnixSocketListener<Plain> =
    at.path !== undefined
      ? Bun.listen<Plain>({ unix: at.path, allowHalfOpen: true, socket })
      : Bun.listen<Plain>({ hostname: host, port: 0, allowHalfOpen: true, socket })
  setBacklog(descriptorOf(listener), BACKLOG)
  const port = 'port' in listener ? listener.port : 0
  const tcp = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  return {
    port,
    local: at.path !== undefined ? `unix:${at.path}` : tcp,
    accepted,
    next: () => next.promise,
    [Symbol.dispose]() {
      listener.stop(true)
    },
  }
}

/** Sends back what comes, and the end after it. */
export function echo(plain: Plain): void {
  let sending = Promise.resolve(true)
  plain.keep = false
  plain.onData = chunk => {
    plain.pause()
    sending = sending.then(async () => {
      const sent = await plain.send(chunk)
      plain.resume()
      return sent
    })
  }
  void plain.ended.then(async end => {
    if (end === 'fin' && (await sending)) plain.finish()
  })
}

/** The same bytes for the same seed, so that both ends can make and check them without holding them twice. */
export function block(seed: number, length: number): Buffer {
  const words = new Uint32Array(Math.ceil(length / 4))
  let a = seed >>> 0
  for (let i = 0; i < words.length; i++) {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    words[i] = t ^ (t >>> 14)
  }
  return Buffer.from(words.buffer, 0, length)
}

export function sha256(bytes: Uint8Array): string {
  return new Bun.CryptoHasher('sha256').update(bytes).digest('hex')
}
