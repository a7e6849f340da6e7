// Raw sockets for the oracle (sockets.c says why), and the loop that waits for many of them at once.
import { cc, dlopen, type Pointer, ptr } from 'bun:ffi'

const LIBC = process.arch === 'arm64' ? '/lib/aarch64-linux-gnu/libc.so.6' : '/lib/x86_64-linux-gnu/libc.so.6'

// In the order of the table in sockets.c.
const IMPORTED = [
  '__errno_location',
  'socket',
  'bind',
  'listen',
  'accept4',
  'connect',
  'recv',
  'send',
  'shutdown',
  'setsockopt',
  'getsockopt',
  'getsockname',
  'close',
  'epoll_create1',
  'epoll_ctl',
  'epoll_wait',
  'open',
  'setns',
]

function compile() {
  // The C library's own name is found on any Linux; the long path is for where the plain name is a linker script.
  const libc = load(['libc.so.6', LIBC])
  const table = new BigUint64Array(IMPORTED.map(name => BigInt(libc[name] ?? 0)))
  const { symbols } = cc({
    source: new URL('./sockets.c', import.meta.url).pathname,
    flags: ['-nostdlib'],
    symbols: {
      use: { args: ['ptr'], returns: 'void' },
      listen_at: { args: ['i32', 'i32'], returns: 'i32' },
      port_of: { args: ['i32'], returns: 'i32' },
      accept_from: { args: ['i32', 'i32'], returns: 'i32' },
      dial_to: { args: ['i32', 'i32', 'i32'], returns: 'i32' },
      receive: { args: ['i32', 'ptr', 'i32'], returns: 'i32' },
      transmit: { args: ['i32', 'ptr', 'i32', 'i32'], returns: 'i32' },
      finish: { args: ['i32'], returns: 'i32' },
      shut: { args: ['i32'], returns: 'i32' },
      reset: { args: ['i32'], returns: 'i32' },
      pending_error: { args: ['i32'], returns: 'i32' },
      poll_new: { args: [], returns: 'i32' },
      poll_watch: { args: ['i32', 'i32', 'i32'], returns: 'i32' },
      poll_wait: { args: ['i32', 'ptr', 'i32', 'i32'], returns: 'i32' },
      namespace_open: { args: ['ptr'], returns: 'i32' },
      namespace_enter: { args: ['i32'], returns: 'i32' },
    },
  })
  symbols.use(ptr(table))
  return symbols
}

function load(names: string[]): Record<string, Pointer> {
  const wanted = Object.fromEntries(IMPORTED.map(name => [name, { args: [], returns: 'i32' } as const]))
  for (const name of names) {
    try {
      const { symbols } = dlopen(name, wanted)
      return Object.fromEntries(IMPORTED.map(symbol => [symbol, (symbols[symbol] as unknown as { ptr: Pointer }).ptr]))
    } catch {}
  }
  throw new Error(`no C library of those names: ${names.join(', ')}`)
}

/**
 * Each call gives its result, or its errno as a negative number. Numbers that were computed go in through `| 0`: once
 * such a call is compiled, Bun 1.4.5 hands on a double that holds an integer as 0 or as the lowest integer.
 */
export const sockets = compile()

export const ERRNO = { EAGAIN: -11, EPIPE: -32, ECONNRESET: -104, ETIMEDOUT: -110, ECONNREFUSED: -111 } as const
export const POLL = { in: 1, out: 4, error: 8, hangup: 16 } as const

/** A call that must not fail. */
export function must(what: string, result: number): number {
  if (result < 0) throw new Error(`${what}: errno ${-result}`)
  return result
}

/** Dotted IPv4 as the kernel wants it: network order, in an integer of a little-endian machine. */
export function host4(text: string): number {
  const parts = text.split('.').map(Number)
  if (parts.length !== 4 || parts.some(p => !Number.isInteger(p) || p < 0 || p > 255))
    throw new Error(`not IPv4: ${text}`)
  return (parts[3]! << 24) | (parts[2]! << 16) | (parts[1]! << 8) | parts[0]!
}

/** Runs `make` inside a network namespace (a path under /run/netns), so that the sockets it opens live there for good. */
export function inNamespace<T>(path: string | null, make: () => T): T {
  if (path === null) return make()
  const home = must('own namespace', sockets.namespace_open(ptr(Buffer.from('/proc/thread-self/ns/net\0'))))
  const there = must(path, sockets.namespace_open(ptr(Buffer.from(`${path}\0`))))
  must(`enter ${path}`, sockets.namespace_enter(there))
  try {
    return make()
  } finally {
    must('come back', sockets.namespace_enter(home))
    sockets.shut(there)
    sockets.shut(home)
  }
}

export interface Watched {
  /** Bits of POLL. Edge-triggered: act until the kernel says EAGAIN, or ask to be called again. */
  ready(events: number): void
}

/** One epoll set. Keys are never used twice, so an event of a closed socket finds nobody. */
export class Poll {
  readonly #fd = must('epoll_create1', sockets.poll_new())
  readonly #watched = new Map<number, Watched>()
  readonly #out = new Int32Array(512)
  #again = new Set<number>()
  #key = 0

  watch(fd: number, who: Watched): number {
    const key = ++this.#key
    must('epoll_ctl', sockets.poll_watch(this.#fd, fd, key))
    this.#watched.set(key, who)
    return key
  }

  /** Another takes over the events of a socket that is watched already. */
  handOver(key: number, to: Watched): void {
    this.#watched.set(key, to)
  }

  /** Call before the socket is closed; the kernel forgets it by itself at close. */
  forget(key: number): void {
    this.#watched.delete(key)
    this.#again.delete(key)
  }

  /** For who stopped before EAGAIN: `ready(0)` at the next turn. */
  again(key: number): void {
    this.#again.add(key)
  }

  turn(timeoutMs: number): void {
    const again = this.#again
    this.#again = new Set()
    const n = sockets.poll_wait(
      this.#fd,
      ptr(this.#out),
      256,
      again.size > 0 ? 0 : Math.max(0, Math.ceil(timeoutMs)) | 0,
    )
    if (n < 0 && n !== -4) throw new Error(`epoll_wait: errno ${-n}`)
    for (let i = 0; i < n; i++) this.#watched.get(this.#out[2 * i]!)?.ready(this.#out[2 * i + 1]!)
    for (const key of again) this.#watched.get(key)?.ready(0)
  }
}
