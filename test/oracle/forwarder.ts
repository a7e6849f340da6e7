// A TCP forwarder, honest unless told which bug to have: what the oracle itself is tried on. The honest one has to pass
// like a tunnel that makes no mistake; each bug is one that real tunnels have had, and has to be found.
//
//   bun test/oracle/forwarder.ts BUG PORT...     prints the ports it listens on, one for each, as a JSON array
import { ptr } from 'bun:ffi'
import { ERRNO, host4, must, POLL, Poll, sockets, type Watched } from './sockets.ts'

export const BUGS = ['none', 'fin-for-rst', 'lost-tail', 'full-close', 'late-fin', 'flipped-byte', 'rst-lost'] as const
export type Bug = (typeof BUGS)[number]

const LOOPBACK = host4('127.0.0.1')
const QUEUE_MOST = 256 << 10
const FLIPPED_AT = 70_000
const scratch = Buffer.alloc(64 << 10)
const scratchAt = ptr(scratch)
const poll = new Poll()

/** One of the two sockets of a forwarded connection. */
class Leg implements Watched {
  peer!: Leg
  readonly #fd: number
  readonly #bug: Bug
  readonly #key: number
  #queue: Buffer[] = []
  #queued = 0
  #arrived = 0
  #finWanted = false
  #finSent = false
  #inEnded = false
  #closed = false

  constructor(fd: number, bug: Bug) {
    this.#fd = fd
    this.#bug = bug
    this.#key = poll.watch(fd, this)
  }

  ready(events: number): void {
    if (events & (POLL.error | POLL.hangup) && !this.#closed) {
      const error = sockets.pending_error(this.#fd)
      if (error !== 0) this.#broke()
    }
    this.#read()
    this.#flush()
  }

  #read(): void {
    while (!this.#closed && !this.#inEnded && this.peer.#queued < QUEUE_MOST) {
      const n = sockets.receive(this.#fd, scratchAt, scratch.length)
      if (n === ERRNO.EAGAIN) return
      if (n < 0) return this.#broke()
      if (n === 0) {
        this.#inEnded = true
        this.peer.#finish()
        return
      }
      const chunk = Buffer.from(scratch.subarray(0, n))
      const at = FLIPPED_AT - this.#arrived
      if (this.#bug === 'flipped-byte' && at >= 0 && at < n) chunk[at] = chunk[at]! ^ 1
      this.#arrived += n
      this.peer.#queue.push(chunk)
      this.peer.#queued += n
      this.peer.#flush()
    }
  }

  #finish(): void {
    if (this.#bug === 'late-fin' && !this.#inEnded) return
    this.#finWanted = true
    if (this.#bug === 'late-fin') this.peer.#finWanted = true
    if (this.#bug === 'lost-tail') this.#queue = []
    if (this.#bug === 'full-close') this.peer.#finWanted = true
    this.#flush()
    this.peer.#flush()
  }

  #flush(): void {
    while (!this.#closed && this.#queue.length > 0) {
      const head = this.#queue[0]!
      // The last byte waits for the next one, so that there is a tail to lose, whatever the timing.
      const kept = this.#bug === 'lost-tail' && this.#queue.length === 1 ? 1 : 0
      if (head.length === kept) break
      const n = sockets.transmit(this.#fd, ptr(head), 0, head.length - kept)
      if (n === ERRNO.EAGAIN) return
      if (n < 0) return this.#broke()
      this.#queued -= n
      if (n === head.length) this.#queue.shift()
      else this.#queue[0] = Buffer.from(head.subarray(n))
      poll.again(this.peer.#key)
    }
    if (this.#closed || !this.#finWanted || this.#finSent) return
    this.#finSent = true
    sockets.finish(this.#fd)
    if (this.#bug === 'full-close') this.#inEnded = true
    this.#settle()
    this.peer.#settle()
  }

  #settle(): void {
    if (!this.#closed && this.#finSent && this.#inEnded) this.#close(false)
  }

  #broke(): void {
    if (this.#closed) return
    const { peer } = this
    this.#close(false)
    if (this.#bug === 'rst-lost' && this.#inEnded) return peer.#finish()
    if (this.#bug === 'fin-for-rst') peer.#close(false)
    else peer.#close(true)
  }

  #close(hard: boolean): void {
    if (this.#closed) return
    this.#closed = true
    poll.forget(this.#key)
    if (hard) sockets.reset(this.#fd)
    else sockets.shut(this.#fd)
  }
}

class Forward implements Watched {
  readonly port: number
  readonly #fd: number
  readonly #to: number
  readonly #bug: Bug

  constructor(to: number, bug: Bug) {
    this.#to = to
    this.#bug = bug
    this.#fd = must('listen', sockets.listen_at(LOOPBACK, 0))
    this.port = sockets.port_of(this.#fd)
    poll.watch(this.#fd, this)
  }

  ready(): void {
    for (;;) {
      const fd = sockets.accept_from(this.#fd, 0)
      if (fd === ERRNO.EAGAIN) return
      const near = new Leg(must('accept', fd), this.#bug)
      // Blocking would be simpler, but a write before the connect is done just waits for it.
      const far = new Leg(must('connect', sockets.dial_to(LOOPBACK, this.#to, 0)), this.#bug)
      near.peer = far
      far.peer = near
    }
  }
}

if (import.meta.main) {
  const [bug, ...ports] = process.argv.slice(2)
  const known = BUGS.find(b => b === bug)
  if (!known) throw new Error(`no such bug: ${bug}`)
  const forwards = ports.map(port => new Forward(Number(port), known))
  process.stdout.write(`${JSON.stringify(forwards.map(f => f.port))}\n`)
  // The loop never gives control back, so whoever started this process ends it; its parent's death ends it too.
  const parent = process.ppid
  while (process.ppid === parent) poll.turn(1000)
}
