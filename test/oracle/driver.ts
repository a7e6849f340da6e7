// Runs many scripts at once, each first directly over loopback and then by the way under test, in one thread that only
// waits for the kernel. `slot`: one listener of a service; scripts of a slot run one after the other, so that the next
// connection that a service accepts is known to belong to the visitor that has just connected.
import { Endpoint, sourceOffset } from './endpoint.ts'
import { judge, judgeRun, type PairLog } from './judge.ts'
import type { Script, Side } from './script.ts'
import { ERRNO, host4, inNamespace, must, POLL, Poll, sockets, type Watched } from './sockets.ts'

export type Way = { host: string; port: number }
export type Failure = { index: number; script: Script; problems: string[]; direct: PairLog | null; via: PairLog | null }
export type Namespaces = { visitor: string | null; service: string | null }

const NONE = {
  asked: 0,
  sent: 0,
  received: 0,
  differsAt: -1,
  confirmed: 0,
  in: null,
  out: null,
  reset: false,
  strange: null,
  stuckAt: null,
}

/** One connection and its two endpoints, from the visitor's connect to the last close. */
class Pair implements Watched {
  readonly #poll: Poll
  readonly #script: Script
  readonly #index: number
  readonly #deadline: number
  #fd: number
  #key: number
  #visitor: Endpoint | null = null
  #service: Endpoint | null = null
  #failed: string | null = null

  constructor(poll: Poll, script: Script, index: number, fd: number, deadline: number) {
    this.#poll = poll
    this.#script = script
    this.#index = index
    this.#deadline = deadline
    this.#fd = fd
    this.#key = fd < 0 ? 0 : poll.watch(fd, this)
    if (fd < 0) this.#failed = `connect: errno ${-fd}`
  }

  get wantsService(): boolean {
    return this.#failed === null && this.#service === null
  }

  get done(): boolean {
    return this.#failed !== null || (this.#visitor?.done === true && this.#service?.done === true)
  }

  get wakeAt(): number {
    return Math.min(this.#deadline, this.#visitor?.wakeAt ?? Infinity, this.#service?.wakeAt ?? Infinity)
  }

  get looksRefused(): boolean {
    return looksRefused(this.log)
  }

  get log(): PairLog {
    const log = (endpoint: Endpoint | null) => endpoint?.log ?? { ...NONE, order: [] }
    return { visitor: log(this.#visitor), service: log(this.#service), failed: this.#failed }
  }

  /** The visitor's connect is decided. */
  ready(events: number): void {
    if (!(events & (POLL.out | POLL.error | POLL.hangup))) return
    const error = sockets.pending_error(this.#fd)
    if (error !== 0) {
      this.#poll.forget(this.#key)
      this.#failed = `connect: errno ${-error}`
      sockets.shut(this.#fd)
      return
    }
    this.#visitor = this.#endpoint('visitor', this.#fd, this.#key)
    this.#fd = -1
    this.#meet()
  }

  accepted(fd: number): void {
    this.#service = this.#endpoint('service', fd, null)
    this.#meet()
  }

  /** True while it got anywhere. */
  advance(now: number): boolean {
    if (this.done) return false
    const visitor = this.#visitor?.advance(now) === true
    const service = this.#service?.advance(now) === true
    if (this.#visitor?.done && this.#service === null && !this.done)
      this.#fail('the visitor was cut off before a service was reached')
    else if (now >= this.#deadline && !this.done) this.#fail('not finished in time')
    return visitor || service
  }

  #endpoint(side: Side, fd: number, key: number | null): Endpoint {
    const { [side]: steps, sip } = this.#script
    const [mine, theirs] = [
      sourceOffset(this.#index, side),
      sourceOffset(this.#index, side === 'visitor' ? 'service' : 'visitor'),
    ]
    return new Endpoint(this.#poll, fd, steps, sip[side], mine, theirs, key)
  }

  #meet(): void {
    const [visitor, service] = [this.#visitor, this.#service]
    const now = performance.now()
    if (visitor && service) {
      visitor.peer = service
      service.peer = visitor
      visitor.start(now)
      service.start(now)
    } else if (this.#script.early) visitor?.start(now)
  }

  #fail(why: string): void {
    this.#failed = why
    this.#visitor?.giveUp()
    this.#service?.giveUp()
    if (this.#fd >= 0) sockets.reset(this.#fd)
    this.#fd = -1
  }
}

// A service that resets before a byte has moved can look to an agent like one that refuses, so that it comes back after
// 2 s to see whether it is up. That connection is counted, and must not be taken for the next script's.
const HELD_MS = 2600

function looksRefused({ visitor, service }: PairLog): boolean {
  return service.reset && service.received === 0 && visitor.received === 0
}

/** `direct`: whether it is run over loopback first. A script whose pauses are long need not be, when it is fit by its make. */
type Task = { index: number; script: Script; direct: boolean; done: (failure: Failure | null) => void }

class Slot implements Watched {
  readonly #driver: Driver
  readonly #fd: number
  readonly port: number
  via: Way | null = null
  #task: Task | null = null
  #direct: PairLog | null = null
  #pair: Pair | null = null
  #heldUntil = 0
  /** Connections that reached the service though no visitor had just connected. */
  strays = 0
  /** Of an agent that looks again whether a service is up which has just reset. */
  looks = 0

  constructor(driver: Driver, host: string, namespace: string | null) {
    this.#driver = driver
    this.#fd = inNamespace(namespace, () => must('listen', sockets.listen_at(host4(host), 0)))
    this.port = must('port', sockets.port_of(this.#fd))
    driver.poll.watch(this.#fd, this)
  }

  idle(now: number): boolean {
    return this.#task === null && now >= this.#heldUntil
  }

  wakeAt(now: number): number {
    if (this.#pair !== null) return this.#pair.wakeAt
    return now < this.#heldUntil ? this.#heldUntil : Infinity
  }

  run(task: Task): void {
    this.#task = task
    this.#direct = null
    this.#connect()
  }

  ready(): void {
    for (;;) {
      const fd = sockets.accept_from(this.#fd, this.#task?.script.buffer ?? 0)
      if (fd === ERRNO.EAGAIN) return
      must('accept', fd)
      if (this.#pair?.wantsService) this.#pair.accepted(fd)
      else {
        if (performance.now() < this.#heldUntil || this.#pair?.looksRefused === true) this.looks++
        else this.strays++
        // An end, not a reset: that would look like a refusal again, and bring the agent back once more.
        sockets.shut(fd)
      }
    }
  }

  /** Sends away who came before the scripts: an agent tries at its start whether its services answer. */
  clear(): void {
    this.ready()
    this.strays = 0
  }

  advance(now: number): void {
    const pair = this.#pair
    if (pair === null) return
    while (pair.advance(now));
    if (!pair.done) return
    const task = this.#task!
    this.#pair = null
    if (task.direct && this.#direct === null) {
      this.#direct = pair.log
      if (judge(task.script, pair.log, pair.log).length === 0) this.#connect()
      else this.#finish(null)
    } else this.#finish(pair.log)
  }

  #finish(via: PairLog | null): void {
    const task = this.#task!
    const direct = this.#direct
    this.#task = null
    if (this.via !== null && via !== null && looksRefused(via)) this.#heldUntil = performance.now() + HELD_MS
    const last = via ?? direct!
    const problems = direct === null ? judgeRun(task.script, last) : judge(task.script, direct, last)
    task.done(problems.length === 0 ? null : { index: task.index, script: task.script, problems, direct, via })
  }

  #connect(): void {
    const task = this.#task!
    const driver = this.#driver
    const direct = task.direct && this.#direct === null
    // The direct run stays inside the service's own host: what the tunnel is measured against is loopback.
    const namespace = direct ? driver.namespaces.service : driver.namespaces.visitor
    const at = direct || this.via === null ? { host: driver.serviceHost, port: this.port } : this.via
    const fd = inNamespace(namespace, () => sockets.dial_to(host4(at.host), at.port, task.script.buffer))
    this.#pair = new Pair(driver.poll, task.script, task.index, fd, performance.now() + driver.timeoutMs)
  }
}

export class Driver {
  readonly poll = new Poll()
  readonly namespaces: Namespaces
  readonly serviceHost: string
  timeoutMs: number
  readonly #slots: Slot[]

  constructor(
    slots: number,
    timeoutMs: number,
    namespaces: Namespaces = { visitor: null, service: null },
    serviceHost = '127.0.0.1',
  ) {
    this.namespaces = namespaces
    this.serviceHost = serviceHost
    this.timeoutMs = timeoutMs
    this.#slots = Array.from({ length: slots }, () => new Slot(this, serviceHost, namespaces.service))
  }

  get ports(): number[] {
    return this.#slots.map(slot => slot.port)
  }

  get strays(): number {
    return this.#slots.reduce((sum, slot) => sum + slot.strays, 0)
  }

  get looks(): number {
    return this.#slots.reduce((sum, slot) => sum + slot.looks, 0)
  }

  /** Where each slot's visitor connects to, once that way is open; without it, straight to the service. */
  via(ways: Way[] | null): void {
    for (const slot of this.#slots) slot.clear()
    this.#slots.forEach((slot, i) => {
      slot.via = ways?.[i] ?? null
    })
  }

  /** Runs scripts until `next` has no more; at most one a slot at a time. Stops early when `enough` says so. */
  runAll(
    next: () => { index: number; script: Script } | null,
    failed: (failure: Failure) => void,
    enough: () => boolean,
    direct = true,
  ): void {
    let open = 0
    let more = true
    while (open > 0 || more) {
      const began = performance.now()
      for (const slot of this.#slots) {
        if (!more || !slot.idle(began)) continue
        const task = enough() ? null : next()
        if (task === null) {
          more = false
          break
        }
        open++
        slot.run({
          ...task,
          direct,
          done: failure => {
            open--
            if (failure !== null) failed(failure)
          },
        })
      }
      const now = performance.now()
      let wake = now + 1000
      for (const slot of this.#slots) {
        slot.advance(now)
        wake = Math.min(wake, slot.wakeAt(now))
      }
      if (more && this.#slots.some(slot => slot.idle(now))) continue
      if (more || open > 0) this.poll.turn(wake - performance.now())
    }
  }
}
