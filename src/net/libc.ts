// The few calls of the C library that Bun has no way to make: a deeper listen backlog, the pending error of a socket, what
// becomes of it when the process dies or nobody answers, what it knows of TCP, reads and writes past Bun, the number of the
// next descriptor, whether anybody listens at a unix socket, and a folder's lock. Where there is no such library, each says so and its caller goes without.
// Numbers go through `| 0`: once such a call is compiled, Bun 1.4.5 hands on an integer that is held as a double as 0.
import { dlopen, ptr, read } from 'bun:ffi'
import { closeSync, openSync } from 'node:fs'

export const LINUX = process.platform === 'linux'
const AF_UNIX = 1
export const AF_INET = 2
export const SOCK_STREAM = 1
/** SOCK_NONBLOCK | SOCK_CLOEXEC: on Linux a connect to a full backlog would wait; elsewhere it never does. */
export const AT_ONCE = LINUX ? 0x80800 : 0
const LOCK_EX = 2
export const SOL_SOCKET = LINUX ? 1 : 0xffff
const SO_LINGER = LINUX ? 13 : 0x0080
const SO_OOBINLINE = LINUX ? 10 : 0x0100
const SO_TYPE = LINUX ? 3 : 0x1008
const SO_ERROR = LINUX ? 4 : 0x1007
export const IPPROTO_TCP = 6
const TCP_INFO = 11
export const TCP_SYNCNT = 7
/** Where Linux's struct tcp_info has what is read of it, in words of four bytes; it only ever grows at its end. */
export const INFO = { mss: 4, unacked: 6, sacked: 7, rtt: 17, bytesAcked: 30, notSent: 36, minRtt: 37 } as const
const ENOENT = 2
const EAGAIN = LINUX ? 11 : 35
const ECONNREFUSED = LINUX ? 111 : 61

const ERRNO = LINUX ? '__errno_location' : '__error'
const SYMBOLS = {
  listen: { args: ['i32', 'i32'], returns: 'i32' },
  socket: { args: ['i32', 'i32', 'i32'], returns: 'i32' },
  connect: { args: ['i32', 'ptr', 'u32'], returns: 'i32' },
  getsockopt: { args: ['i32', 'i32', 'i32', 'ptr', 'ptr'], returns: 'i32' },
  setsockopt: { args: ['i32', 'i32', 'i32', 'ptr', 'u32'], returns: 'i32' },
  readv: { args: ['i32', 'ptr', 'i32'], returns: 'i32' },
  sendmsg: { args: ['i32', 'ptr', 'i32'], returns: 'i32' },
  dup: { args: ['i32'], returns: 'i32' },
  close: { args: ['i32'], returns: 'i32' },
  flock: { args: ['i32', 'i32'], returns: 'i32' },
  [ERRNO]: { args: [], returns: 'ptr' },
} as const

function load() {
  const arch = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
  const names = LINUX ? ['libc.so.6', `libc.musl-${arch}.so.1`] : ['libSystem.B.dylib']
  for (const name of names) {
    try {
      return dlopen(name, SYMBOLS).symbols
    } catch {
      // Not this one: another name, or none at all on this platform.
    }
  }
  return null
}

let loaded: ReturnType<typeof load> | undefined

/** Loaded at first use: a command that opens no socket does not pay for it. */
export function libc(): ReturnType<typeof load> {
  if (loaded === undefined) loaded = load()
  return loaded
}

/** Why the call before this one failed. */
function errno(c: NonNullable<ReturnType<typeof load>>): number {
  const at = c[ERRNO]!()
  return at === null ? 0 : read.i32(at, 0)
}

/** A second `listen` on a listener only changes its backlog (Bun's own is fixed at 512). False: it stays as it was. */
export function setBacklog(fd: number, backlog: number): boolean {
  const c = libc()
  return c !== null && fd >= 0 && c.listen(fd | 0, backlog | 0) === 0
}

/** Where `getsockopt` puts its answer. */
const OPTION = new Int32Array(1)
const OPTION_SIZE = new Uint32Array(1)

/** The socket's pending error, taken off it; 0 when there is none or nobody to ask. */
export function takeSocketError(fd: number): number {
  const c = libc()
  if (c === null || fd < 0) return 0
  OPTION_SIZE[0] = 4
  return c.getsockopt(fd | 0, SOL_SOCKET, SO_ERROR, ptr(OPTION), ptr(OPTION_SIZE)) === 0 ? OPTION[0]! : 0
}

/** struct linger: off, and on with no time at all. */
const LINGER_OFF = new Int32Array([0, 0])
const LINGER_NOT = new Int32Array([1, 0])

/** Whether closing the socket, as the system does when the process dies, resets it instead of ending it by FIN. */
export function resetOnClose(fd: number, on: boolean): void {
  const c = libc()
  if (c !== null && fd >= 0) c.setsockopt(fd | 0, SOL_SOCKET, SO_LINGER, ptr(on ? LINGER_NOT : LINGER_OFF), 8)
}

/** What `inform` was last told: struct tcp_info, in words. */
export const info = new Uint32Array(INFO.minRtt + 1)
const infoSize = new Uint32Array(1)

/** Fills in `info` of a TCP socket; false: nobody to ask, or not all of it. */
export function inform(fd: number): boolean {
  const c = libc()
  if (!LINUX || c === null || fd < 0) return false
  infoSize[0] = info.byteLength
  return c.getsockopt(fd | 0, IPPROTO_TCP, TCP_INFO, ptr(info), ptr(infoSize)) === 0 && infoSize[0]! >= info.byteLength
}

/** How many connections a listener's system holds for it to accept; -1: nobody to ask. */
export function queuedAt(fd: number): number {
  if (!inform(fd)) return -1
  // Of a listener, `unacked` is this.
  return info[INFO.unacked]!
}

/** Whether `readNow` can be had at all. */
export function canReadNow(): boolean {
  return LINUX && libc() !== null
}

/** struct iovec, an address and a size of 64 bits each in two words, for as many pieces as one call is given. */
const VECTOR = new Uint32Array(4 * 16)
const WORD = 2 ** 32

function putVector(i: number, address: number, size: number): void {
  VECTOR[4 * i] = address % WORD
  VECTOR[4 * i + 1] = address / WORD
  VECTOR[4 * i + 2] = size
}

/**
 * Reads what has arrived at a TCP socket into `into`, from `at` of its piece `first` on and from the begin of each further
 * one: up to `len` bytes; how many. 0: there is nothing now, or the peer's FIN, which Bun reports all the same. -1: the
 * connection was reset, which nobody is told but by this. Its state would not tell: between the read that finds nothing and
 * a look at it the peer's last bytes and FIN may arrive, and behind ours that is the same state.
 */
export function readNow(fd: number, into: readonly Uint8Array[], first: number, at: number, len: number): number {
  const c = libc()
  if (c === null || fd < 0) return 0
  let pieces = 0
  for (let left = len; left > 0 && 4 * pieces < VECTOR.length; pieces++) {
    const piece = into[first + pieces]!
    const from = pieces === 0 ? at : 0
    const n = Math.min(left, piece.length - from)
    putVector(pieces, ptr(piece, from), n)
    left -= n
  }
  const taken = c.readv(fd | 0, ptr(VECTOR), pieces | 0)
  if (taken >= 0) return taken
  return errno(c) === EAGAIN ? 0 : -1
}

/** MSG_DONTWAIT | MSG_NOSIGNAL */
const NOT_WAITING = 0x4040
/** struct msghdr of 56 bytes, of which only the vector, its address and its length, is not 0. */
const MESSAGE = new Uint32Array(14)

/**
 * Sends `count` parts of `buf`, the first 16 of more, in one call; how many bytes were taken. 0, too: it failed, or there is
 * nobody to ask.
 */
export function sendNow(
  fd: number,
  buf: Uint8Array,
  at: readonly number[],
  len: readonly number[],
  count: number,
): number {
  const c = libc()
  if (!LINUX || c === null || fd < 0) return 0
  const start: number = ptr(buf)
  const parts = Math.min(count, VECTOR.length / 4)
  for (let i = 0; i < parts; i++) putVector(i, start + at[i]!, len[i]!)
  const vector: number = ptr(VECTOR)
  MESSAGE[4] = vector % WORD
  MESSAGE[5] = vector / WORD
  MESSAGE[6] = parts
  return Math.max(0, c.sendmsg(fd | 0, ptr(MESSAGE), NOT_WAITING))
}

/** The number that the next descriptor of this process gets; -1 when there is nobody to ask. */
export function nextDescriptor(): number {
  const c = libc()
  if (c === null) return -1
  const fd = c.dup(0)
  if (fd >= 0) c.close(fd)
  return fd
}

const ON = new Int32Array([1])

/** A byte that was sent as urgent is read in its place among the others; otherwise nobody would ever get it. */
export function readUrgentInline(fd: number): void {
  const c = libc()
  if (c !== null && fd >= 0) c.setsockopt(fd | 0, SOL_SOCKET, SO_OOBINLINE, ptr(ON), 4)
}

/** SYNs that are sent again, 1 and 3 s behind the first. */
const SYN_RETRIES = new Int32Array([2])

/**
 * A socket that is being connected: as after `resetOnClose` and `readUrgentInline`, and on Linux the system gives up after 7 s
 * instead of two minutes, in which it would have its descriptor. False, if `fd` is no stream socket: another thread may have
 * taken the number meanwhile.
 */
export function prepareDial(fd: number): boolean {
  const c = libc()
  if (c === null || fd < 0) return false
  OPTION_SIZE[0] = 4
  if (c.getsockopt(fd | 0, SOL_SOCKET, SO_TYPE, ptr(OPTION), ptr(OPTION_SIZE)) !== 0) return false
  if (OPTION[0] !== SOCK_STREAM) return false
  resetOnClose(fd, true)
  readUrgentInline(fd)
  if (LINUX) c.setsockopt(fd | 0, IPPROTO_TCP, TCP_SYNCNT, ptr(SYN_RETRIES), 4)
  return true
}

/** full: somebody listens, and cannot take one more at this moment. unknown: there is nobody to ask. */
export type UnixListener = 'live' | 'full' | 'none' | 'unknown'

/** Whether a process listens at the unix socket `path`. It sees a connection that is closed at once. */
export function unixListener(path: string): UnixListener {
  const c = libc()
  if (c === null) return 'unknown'
  const name = Buffer.from(path)
  const address = Buffer.alloc(110)
  if (LINUX) address.writeUInt16LE(AF_UNIX, 0)
  else address.set([name.length + 3, AF_UNIX])
  if (name.copy(address, 2) !== name.length) return 'unknown'
  const fd = c.socket(AF_UNIX, SOCK_STREAM | AT_ONCE, 0)
  if (fd < 0) return 'unknown'
  try {
    if (c.connect(fd, ptr(address), name.length + 3) === 0) return 'live'
    const error = errno(c)
    if (error === EAGAIN) return 'full'
    return error === ECONNREFUSED || error === ENOENT ? 'none' : 'unknown'
  } finally {
    closeSync(fd)
  }
}

/** Runs `act` while holding the lock of a folder, so that of two processes only one at a time replaces a file in it. */
export function holdingFolder<T>(folder: string, act: () => T): T {
  const c = libc()
  if (c === null) return act()
  const fd = openSync(folder, 'r')
  try {
    c.flock(fd, LOCK_EX)
    return act()
  } finally {
    closeSync(fd)
  }
}
