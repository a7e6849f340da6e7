// Load for the crash tests: visitors and their service in one process, on the oracle's raw sockets, because a crash ends
// connections in every way there is and each end has to be told apart for certain. Every connection says first how many
// bytes will go each way; so both sides know whether an end came too early.
//
//   bun test/e2e/load.ts VISITORS SEED     prints the service's port; commands on stdin, each answered by one JSON line:
//   go HOST PORT · stats · stop
import { ptr } from 'bun:ffi'
import { lines, start } from '../oracle/process.ts'
import { Random } from '../oracle/random.ts'
import { ERRNO, host4, must, POLL, Poll, sockets, type Watched } from '../oracle/sockets.ts'
import { until, within } from './warren.ts'

export type Stats = {
  /** Connections that ended by FIN both ways, with every byte. */
  complete: number
  reset: number
  refused: number
  bytes: number
  /** What must never be: a clean end before the last byte, or a wrong byte. */
  wrong: string[]
  /** Clean ends at the service before a byte: an agent's own look whether it answers, or one more that must never be. */
  empty: number
  open: number
  /** Where the first few open ones stand. */
  stand: string[]
}

const HEADER = 12
const MOST = 400_000
const RETRY_MS = 10
const LOOPBACK = host4('127.0.0.1')

export class Load implements AsyncDisposable {
  readonly port: number
  readonly #program: ReturnType<typeof start>
  readonly #answers: AsyncGenerator<string, undefined>

  private constructor(program: ReturnType<typeof start>, answers: AsyncGenerator<string, undefined>, port: number) {
    this.#program = program
    this.#answers = answers
    this.port = port
  }

  static async open(visitors: number, seed: number): Promise<Load> {
    const program = start([process.execPath, import.meta.path, String(visitors), String(seed)])
    const answers = lines(program.stdout)
    return new Load(program, answers, Number((await answers.next()).value))
  }

  go(at: { host: string; port: number }): Promise<Stats> {
    return this.#ask(`go ${at.host} ${at.port}`)
  }

  stats(): Promise<Stats> {
    return this.#ask('stats')
  }

  /** No new connections; resolves when the last one has ended. */
  async stop(): Promise<Stats> {
    let stats = await this.#ask('stop')
    await until(async () => {
      stats = await this.stats()
      return stats.open === 0
    }, 'all connections end').catch(thrown => {
      throw new Error(`${String(thrown)}, ${stats.open} are open:\n  ${stats.stand.join('\n  ')}`)
    })
    return stats
  }

  async #ask(command: string): Promise<Stats> {
    this.#program.stdin.write(`${command}\n`)
    this.#program.stdin.flush()
    const { value } = await within(60_000, this.#answers.next(), () => `the load does not answer ${command}`)
    if (value === undefined) throw new Error('the load ended')
    return JSON.parse(value) as Stats
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#program.kill('SIGKILL')
    await this.#program.exited
  }
}

if (import.meta.main) await serve(Number(process.argv[2]), Number(process.argv[3]))

async function serve(visitors: number, seed: number): Promise<void> {
  const poll = new Poll()
  const random = new Random(seed)
  const words = new Uint32Array(1 << 18)
  new Random(7).fill(words)
  const source = Buffer.from(words.buffer)
  const sourceAt = ptr(source)
  const scratch = Buffer.alloc(1 << 16)
  const scratchAt = ptr(scratch)
  const stats: Stats = { complete: 0, reset: 0, refused: 0, bytes: 0, wrong: [], empty: 0, open: 0, stand: [] }
  const open = new Set<Flow>()
  let at: { host: number; port: number } | null = null
  let idle: number[] = []

  /** Either end of a connection: sends a header or waits for it, then its bytes and FIN, and reads to the other's. */
  class Flow implements Watched {
    #key: number
    #sent = 0
    #received = 0
    #head = Buffer.alloc(HEADER)
    #broken = 0
    #finished = false
    #ended = false
    readonly #fd: number
    readonly #visitor: boolean
    /** Bytes to send, to receive, and where in the source they begin; a service learns them from the header. */
    #toSend: number
    #toReceive: number
    #from: number

    constructor(fd: number, plan: { up: number; down: number; from: number } | null) {
      this.#fd = fd
      this.#visitor = plan !== null
      this.#toSend = plan === null ? -1 : plan.up
      this.#toReceive = plan === null ? -1 : plan.down
      this.#from = plan === null ? -1 : plan.from
      for (const [i, n] of plan === null ? [] : [plan.up, plan.down, plan.from].entries())
        this.#head.writeUInt32LE(n, i * 4)
      this.#key = poll.watch(fd, this)
      open.add(this)
    }

    ready(events: number): void {
      if (this.#key === 0) return
      if (events & (POLL.error | POLL.hangup)) {
        const error = sockets.pending_error(this.#fd)
        if (error !== 0) this.#broken = error
        if (error === ERRNO.ECONNREFUSED) return this.#close('refused')
      }
      this.#write()
      this.#read()
      if (this.#key === 0) return
      if (this.#broken !== 0 && this.#ended) this.#close('reset')
      else if (this.#finished && this.#ended) this.#close('complete')
    }

    #write(): void {
      const lead = this.#visitor ? HEADER : 0
      while (this.#broken === 0 && this.#toSend >= 0 && this.#sent < lead + this.#toSend) {
        const n =
          this.#sent < lead
            ? sockets.transmit(this.#fd, ptr(this.#head), this.#sent | 0, (lead - this.#sent) | 0)
            : sockets.transmit(
                this.#fd,
                sourceAt,
                (this.#from + this.#sent - lead) | 0,
                (lead + this.#toSend - this.#sent) | 0,
              )
        if (n === ERRNO.EAGAIN) return
        if (n < 0) {
          this.#broken = n
          return
        }
        this.#sent += n
      }
      if (this.#broken !== 0 || this.#finished || this.#toSend < 0) return
      this.#finished = true
      sockets.finish(this.#fd)
    }

    #read(): void {
      while (this.#key !== 0 && !this.#ended) {
        const n = sockets.receive(this.#fd, scratchAt, scratch.length)
        if (n === ERRNO.EAGAIN) return
        if (n < 0) {
          this.#broken = n
          this.#ended = true
          return
        }
        if (n === 0) {
          this.#ended = true
          if (this.#broken === ERRNO.ECONNRESET) return
          const lead = this.#visitor ? 0 : HEADER
          if (!this.#visitor && this.#received === 0) {
            stats.empty++
            this.#close('reset')
          } else if (this.#toReceive < 0 || this.#received < lead + this.#toReceive) {
            this.#wrong(`a clean end after ${this.#received} of ${lead + Math.max(0, this.#toReceive)} bytes`)
            this.#close('reset')
          }
          return
        }
        this.#take(n)
      }
    }

    #take(n: number): void {
      stats.bytes += n
      let at = 0
      if (!this.#visitor && this.#received < HEADER) {
        at = Math.min(n, HEADER - this.#received)
        scratch.copy(this.#head, this.#received, 0, at)
        this.#received += at
        if (this.#received === HEADER) {
          this.#toReceive = this.#head.readUInt32LE(0)
          this.#toSend = this.#head.readUInt32LE(4)
          this.#from = this.#head.readUInt32LE(8)
          this.#write()
        }
      }
      if (at === n) return
      const seen = this.#received - (this.#visitor ? 0 : HEADER)
      const expected = this.#from + seen
      if (scratch.compare(source, expected, expected + n - at, at, n) !== 0) this.#wrong(`a wrong byte after ${seen}`)
      this.#received += n - at
    }

    /** Where it stands: for the message when it never ends. */
    get state(): string {
      const who = this.#visitor ? 'visitor' : 'service'
      const ends = `${this.#finished ? 'finished' : 'sending'}, ${this.#ended ? 'ended' : 'receiving'}`
      return `${who}: sent ${this.#sent} of ${this.#toSend}, received ${this.#received} of ${this.#toReceive}, ${ends}`
    }

    #wrong(what: string): void {
      stats.wrong.push(`${this.#visitor ? 'visitor' : 'service'}: ${what}`)
    }

    #close(how: 'complete' | 'reset' | 'refused'): void {
      poll.forget(this.#key)
      this.#key = 0
      sockets.shut(this.#fd)
      open.delete(this)
      if (!this.#visitor) return
      stats[how]++
      idle.push(how === 'complete' ? 0 : performance.now() + RETRY_MS)
    }
  }

  const listener = must('listen', sockets.listen_at(LOOPBACK, 0))
  poll.watch(listener, {
    ready() {
      for (;;) {
        const fd = sockets.accept_from(listener, 0)
        if (fd === ERRNO.EAGAIN) return
        new Flow(must('accept', fd), null)
      }
    },
  })

  function connect(): void {
    if (at === null) return
    const now = performance.now()
    const due = idle.filter(when => when <= now)
    idle = idle.filter(when => when > now)
    for (const _ of due) {
      const fd = sockets.dial_to(at.host, at.port, 0)
      if (fd < 0) {
        stats.refused++
        idle.push(now + RETRY_MS)
      } else
        new Flow(fd, {
          up: random.between(0, MOST),
          down: random.between(0, MOST),
          from: random.between(0, source.length - MOST),
        })
    }
  }

  const answer = () =>
    console.log(JSON.stringify({ ...stats, open: open.size, stand: [...open].slice(0, 6).map(f => f.state) }))
  const commands = (async () => {
    for await (const line of console) {
      const [command, host, port] = line.split(' ')
      if (command === 'go') {
        at = { host: host4(host!), port: Number(port) | 0 }
        idle = Array.from({ length: visitors }, () => 0)
      } else if (command === 'stop') at = null
      answer()
    }
  })()
  void commands.then(() => process.exit())
  console.log(sockets.port_of(listener))
  for (;;) {
    connect()
    poll.turn(4)
    await new Promise(setImmediate)
  }
}
