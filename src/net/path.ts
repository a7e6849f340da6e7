// What the system knows of the path under a connection, and how it sends on it. For the owner of a window of its own, that
// is a session's carrier; any other connection leaves this to the system, but for bulk on loopback. Without anybody to
// ask, each says so and its caller goes without.
import { ptr } from 'bun:ffi'
import { closeSync, readFileSync } from 'node:fs'
import { descriptorOf } from './descriptors.ts'
import { AF_INET, AT_ONCE, INFO, IPPROTO_TCP, info, inform, LINUX, libc, SOCK_STREAM, SOL_SOCKET } from './libc.ts'

const SO_SNDBUF = LINUX ? 7 : 0x1001
const SO_MAX_PACING_RATE = 47
const TCP_CONGESTION = 13

/** BBR starts with the smallest round trip of five minutes; where it now takes so many of them, the path is another one. */
const LONGER = 2

export class Path {
  readonly #socket: object

  constructor(socket: object) {
    this.#socket = socket
  }

  /** -1 once the connection is closed: then there is nobody to ask. */
  get #fd(): number {
    return descriptorOf(this.#socket)
  }

  /**
   * Bytes written that the peer's system does not have yet, sent or not, counted in whole packets. Infinity while it misses
   * nothing before what it has: what it did not hand on then is not for us to know. -1: nobody to ask.
   */
  get missing(): number {
    if (!inform(this.#fd)) return -1
    const sacked = info[INFO.sacked]!
    if (sacked === 0) return Number.POSITIVE_INFINITY
    return Math.max(0, info[INFO.unacked]! - sacked) * info[INFO.mss]! + info[INFO.notSent]!
  }

  /** Packets are missing before what has arrived, or more of what was written waits in the system than is on its way. */
  get heldBack(): boolean {
    if (!inform(this.#fd)) return false
    return info[INFO.sacked]! > 0 || info[INFO.notSent]! > info[INFO.unacked]! * info[INFO.mss]!
  }

  /** The system's round trip to its peer, in ms, with what waits on the path, not here; Infinity: nobody to ask. */
  get roundTrip(): number {
    return inform(this.#fd) ? info[INFO.rtt]! / 1000 : Number.POSITIVE_INFINITY
  }

  /**
   * Lets the system hold `bytes` for a path on which it needs them: what arrived behind a lost packet stays in its buffer
   * for a round trip, and counts. Where it allows no more than it takes by itself, nothing.
   */
  hold(bytes: number): void {
    sendBuffer ??= sendBufferFor(bytes)
    const fd = this.#fd
    if (sendBuffer > 0 && fd >= 0)
      libc()?.setsockopt(fd | 0, SOL_SOCKET, SO_SNDBUF, ptr(new Int32Array([sendBuffer])), 4)
  }

  /** Has the system spread what is written, to at most so many bytes a second; a burst would overflow queues on the way. */
  pace(bytesPerSecond: number): void {
    const c = libc()
    const fd = this.#fd
    if (!LINUX || c === null || fd < 0) return
    pacing[0] = BigInt(Math.ceil(bytesPerSecond))
    c.setsockopt(fd | 0, SOL_SOCKET, SO_MAX_PACING_RATE, ptr(pacing), 8)
  }

  /**
   * Has the system find out anew how fast the path is, where it works with what it once took that for. Not where the path
   * has become longer: it would start over with the round trip of the shorter one.
   */
  relearn(): void {
    const fd = this.#fd
    if (inform(fd) && info[INFO.rtt]! <= LONGER * info[INFO.minRtt]!) relearnRate(fd)
  }
}

const pacing = new BigUint64Array(1)

/** What to ask for so that a socket holds more than the system would let it grow to; 0: that is not to be had. */
let sendBuffer: number | undefined

function sendBufferFor(bytes: number): number {
  const c = libc()
  if (!LINUX || c === null) return 0
  const fd = c.socket(AF_INET, SOCK_STREAM | AT_ONCE, 0)
  if (fd < 0) return 0
  try {
    // Of what is asked for a socket gets twice as much, within a limit that a namespace may not even show. By itself it
    // grows to the last of these three numbers, so where the limit is lower, asking would make it smaller.
    const granted = new Int32Array([bytes / 2])
    const size = new Uint32Array([4])
    c.setsockopt(fd, SOL_SOCKET, SO_SNDBUF, ptr(granted), 4)
    if (c.getsockopt(fd, SOL_SOCKET, SO_SNDBUF, ptr(granted), ptr(size)) !== 0) return 0
    const grows = Number(readFileSync('/proc/sys/net/ipv4/tcp_wmem', 'latin1').trim().split(/\s+/)[2])
    return granted[0]! > grows ? bytes / 2 : 0
  } catch {
    return 0
  } finally {
    closeSync(fd)
  }
}

const BBR = Buffer.from('bbr')
const BBR_NAME = Buffer.from('bbr\0')
const RENO = Buffer.from('reno')
const ALGORITHM = Buffer.alloc(16)
const ALGORITHM_SIZE = new Uint32Array(1)

/** Whether anybody may choose BBR: without that, the way back from another algorithm could be barred. */
let bbrAllowed: boolean | undefined

function mayChooseBbr(): boolean {
  try {
    const names = readFileSync('/proc/sys/net/ipv4/tcp_allowed_congestion_control', 'latin1')
    return names.trim().split(' ').includes('bbr')
  } catch {
    return false
  }
}

/** Whether BBR decides how fast a socket sends; false, too: nobody to ask. */
function byBbr(fd: number): boolean {
  const c = libc()
  if (!LINUX || c === null || fd < 0) return false
  ALGORITHM_SIZE[0] = ALGORITHM.length
  if (c.getsockopt(fd | 0, IPPROTO_TCP, TCP_CONGESTION, ptr(ALGORITHM), ptr(ALGORITHM_SIZE)) !== 0) return false
  return ALGORITHM.subarray(0, BBR_NAME.length).equals(BBR_NAME)
}

function choose(fd: number, algorithm: Buffer): boolean {
  return libc()?.setsockopt(fd | 0, IPPROTO_TCP, TCP_CONGESTION, ptr(algorithm), algorithm.length) === 0
}

/**
 * Has BBR forget what it takes the path's rate for, and find it out as on a new connection: what it has learned goes with
 * the change to another algorithm and back. Nothing where another one is in use, which has nothing to forget, or BBR is not
 * for everybody to choose.
 */
export function relearnRate(fd: number): void {
  if (!byBbr(fd)) return
  bbrAllowed ??= mayChooseBbr()
  if (bbrAllowed && choose(fd, RENO)) choose(fd, BBR)
}

/** Has a socket send as fast as its window allows: BBR would time each packet, also where there is no path to overload. */
export function sendUnpaced(fd: number): void {
  if (byBbr(fd)) choose(fd, RENO)
}
