// One plain endpoint of a scripted connection: does its steps, and writes down exactly what it sent, what arrived and
// how each direction ended.
import { ptr } from 'bun:ffi'
import { Random } from './random.ts'
import type { Side, Step } from './script.ts'
import { ERRNO, POLL, type Poll, sockets, type Watched } from './sockets.ts'

/** `cut`: ended by this side's own reset. */
export type EndedBy = 'fin' | 'rst' | 'cut'

export type EndpointLog = {
  /** Bytes that the steps asked for, and of these how many the kernel took. */
  asked: number
  sent: number
  received: number
  /** Where what arrived first differs from what was sent, or -1. Every byte is compared, which no hash can better. */
  differsAt: number
  /** Bytes that a barrier confirmed as read by the other side. */
  confirmed: number
  in: EndedBy | null
  out: EndedBy | null
  /** It took a reset step; with both directions ended before, that changes no end of its own. */
  reset: boolean
  /** In the order in which it happened here. */
  order: ('in' | 'out')[]
  /** Anything that no endpoint should ever see: an errno other than a reset. */
  strange: string | null
  /** The step that it stood at when the script was given up, or null. */
  stuckAt: string | null
}

// Random once, and long enough that no direction reads the same bytes twice: a byte lost, doubled or moved by any
// distance shows.
const SOURCE_BYTES = 16 << 20
const source = new Uint32Array(SOURCE_BYTES / 4)
new Random(20).fill(source)
const SOURCE = Buffer.from(source.buffer)
const SOURCE_AT = ptr(SOURCE)

const SCRATCH = Buffer.alloc(1 << 18)
const SCRATCH_AT = ptr(SCRATCH)
const READS_A_TURN = 8

/** Where in the source a direction's bytes begin. */
export function sourceOffset(index: number, side: Side): number {
  return new Random(index, side === 'visitor' ? 1 : 2).u32() % (SOURCE_BYTES / 2)
}

export class Endpoint implements Watched {
  peer: Endpoint | null = null
  readonly log: EndpointLog = {
    asked: 0,
    sent: 0,
    received: 0,
    differsAt: -1,
    confirmed: 0,
    in: null,
    out: null,
    reset: false,
    order: [],
    strange: null,
    stuckAt: null,
  }

  readonly #poll: Poll
  readonly #steps: readonly Step[]
  readonly #sip: number
  readonly #from: number
  readonly #expects: number
  #fd: number
  #key: number
  #at = 0
  #reading = true
  #finAsked = false
  #wakeAt = 0
  #started = false
  /** All steps taken: read on, finish what is queued, half-close, wait for the other side to do the same. */
  #ending = false
  /** The RST was seen, with this errno: EPIPE says that a FIN had come before it, ECONNRESET that none had. */
  #broken = 0

  constructor(
    poll: Poll,
    fd: number,
    steps: readonly Step[],
    sip: number,
    from: number,
    expects: number,
    key: number | null,
  ) {
    this.#poll = poll
    this.#fd = fd
    this.#steps = steps
    this.#sip = Math.min(sip, SCRATCH.length)
    this.#from = from
    this.#expects = expects
    this.#key = key ?? poll.watch(fd, this)
    if (key !== null) poll.handOver(key, this)
  }

  get done(): boolean {
    return this.#fd < 0
  }

  /** When it wants to be called by the clock, or Infinity. */
  get wakeAt(): number {
    return this.done || this.#wakeAt === 0 ? Infinity : this.#wakeAt
  }

  start(now: number): void {
    this.#started = true
    this.advance(now)
  }

  ready(events: number): void {
    if (this.done) return
    if (events & (POLL.error | POLL.hangup)) this.#noteError(sockets.pending_error(this.#fd))
    this.#read()
    this.#write()
    this.#settle()
  }

  /** Takes as many steps as can be taken now; true if that was any. */
  advance(now: number): boolean {
    if (!this.#started || this.#ending) return false
    const from = this.#at
    while (!this.done && this.#broken === 0 && this.#at < this.#steps.length) {
      if (!this.#take(this.#steps[this.#at]!, now)) break
      this.#at++
    }
    if (this.#at >= this.#steps.length) this.#ending = this.#finAsked = true
    if (this.#at === from && !this.#ending) return false
    this.ready(0)
    return true
  }

  giveUp(): void {
    if (this.done) return
    const step = this.#steps[this.#at]
    this.log.stuckAt = step ? `step ${this.#at}, ${step.do}` : 'the end, waiting for both directions to close'
    this.#forget()
    sockets.reset(this.#fd)
    this.#fd = -1
  }

  /** True when the step is done. */
  #take(step: Step, now: number): boolean {
    const { log, peer } = this
    switch (step.do) {
      case 'write':
        log.asked += step.n
        this.#write()
        return true
      case 'pause':
        if (this.#wakeAt === 0) this.#wakeAt = now + step.ms
        if (now < this.#wakeAt) return false
        this.#wakeAt = 0
        return true
      case 'fin':
        this.#finAsked = true
        this.#write()
        return true
      case 'reset':
        this.#reset()
        return true
      case 'stop':
        this.#reading = false
        return true
      case 'resume':
        this.#reading = true
        return true
      case 'barrier': {
        const read = peer !== null && peer.log.received >= log.asked && (!this.#finAsked || peer.log.in === 'fin')
        if (read) log.confirmed = log.asked
        return read
      }
      case 'eof':
        return log.in !== null
      case 'gone':
        return false
    }
  }

  get #mayRead(): boolean {
    if (this.#reading || this.#broken !== 0 || this.#at >= this.#steps.length) return true
    const step = this.#steps[this.#at]!.do
    return step === 'barrier' || step === 'eof' || step === 'gone'
  }

  #read(): void {
    const { log } = this
    for (let i = 0; !this.done && log.in === null && this.#mayRead; i++) {
      if (i === READS_A_TURN) {
        this.#poll.again(this.#key)
        return
      }
      const n = sockets.receive(this.#fd, SCRATCH_AT, this.#sip)
      if (n === ERRNO.EAGAIN) return
      if (n > 0) this.#check(n)
      // After an error was fetched the kernel reports the rest as an end: it is the reset's, unless a FIN came first.
      else if (n === 0) this.#end('in', this.#broken === ERRNO.ECONNRESET ? 'rst' : 'fin')
      else this.#noteError(n)
      if (n < 0) this.#end('in', 'rst')
    }
  }

  #check(n: number): void {
    const { log } = this
    const at = this.#expects + log.received
    if (log.differsAt < 0 && SCRATCH.compare(SOURCE, at, at + n, 0, n) !== 0) {
      let i = 0
      while (SCRATCH[i] === SOURCE[at + i]) i++
      log.differsAt = log.received + i
    }
    log.received += n
  }

  #write(): void {
    const { log } = this
    while (!this.done && log.out === null && this.#broken === 0 && log.sent < log.asked) {
      const n = sockets.transmit(this.#fd, SOURCE_AT, (this.#from + log.sent) | 0, (log.asked - log.sent) | 0)
      if (n === ERRNO.EAGAIN) return
      if (n < 0) this.#noteError(n)
      else log.sent += n
    }
    if (this.done || log.out !== null || this.#broken !== 0 || !this.#finAsked || log.sent < log.asked) return
    const r = sockets.finish(this.#fd)
    if (r === 0) this.#end('out', 'fin')
    else this.#noteError(sockets.pending_error(this.#fd) || ERRNO.EPIPE)
  }

  #noteError(error: number): void {
    if (error === 0 || this.#broken !== 0) return
    this.#broken = error
    if (error !== ERRNO.ECONNRESET && error !== ERRNO.EPIPE) this.log.strange = `errno ${-error}`
    this.#end('out', 'rst')
  }

  #end(direction: 'in' | 'out', by: EndedBy): void {
    if (this.log[direction] !== null) return
    this.log[direction] = by
    this.log.order.push(direction)
  }

  #reset(): void {
    this.log.reset = true
    this.#forget()
    sockets.reset(this.#fd)
    this.#fd = -1
    this.#end('out', 'cut')
    this.#end('in', 'cut')
  }

  /** Closes when there is nothing left to happen. */
  #settle(): void {
    const { log } = this
    if (this.done || log.in === null || log.out === null) return
    // Both ends of a finished connection are known: what is left of the steps could only wait or be refused.
    this.#forget()
    sockets.shut(this.#fd)
    this.#fd = -1
  }

  #forget(): void {
    this.#poll.forget(this.#key)
    this.#wakeAt = 0
  }
}
