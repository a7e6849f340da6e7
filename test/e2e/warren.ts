// Starts relays and agents as a user would, from the program that WARREN names (the compiled binary), or from the source
// without it; reads their events, and says what they logged when something did not come.
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Event } from '../../src/telemetry/events.ts'
import { leaveNone, lines } from '../oracle/process.ts'

const ROOT = new URL('../..', import.meta.url).pathname
const PROGRAM = process.env['WARREN']
  ? [resolve(ROOT, process.env['WARREN'])]
  : [process.execPath, join(ROOT, 'src/cli.ts')]

const WAIT_MS = 20_000
const LOG_LINES = 60

export type EventOf<Name extends Event['event']> = Extract<Event, { event: Name }>
export type Address = { host: string; port: number }

const folders: string[] = []
process.on('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** A folder of its own, gone with this process. */
export function folder(what = 'state'): string {
  const made = mkdtempSync(join(tmpdir(), `warren-${what}-`))
  folders.push(made)
  return made
}

/** Fails after a time with what `why` says then. The one clock of the tests: they wait for states, never for times. */
export function within<T>(ms: number, promise: Promise<T>, why: () => string): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`${why()} (waited ${ms} ms)`)), ms)
  return Promise.race([promise, late.promise]).finally(() => clearTimeout(timer))
}

/** Looks until something holds. For states that nobody announces. */
export async function until<T>(look: () => T | Promise<T>, what: string, ms = WAIT_MS): Promise<NonNullable<T>> {
  const end = performance.now() + ms
  for (;;) {
    const found = await look()
    if (found) return found as NonNullable<T>
    if (performance.now() > end) throw new Error(`never: ${what} (looked for ${ms} ms)`)
    await Bun.sleep(5)
  }
}

export function parseAddress(text: string): Address {
  const at = text.lastIndexOf(':')
  return { host: text.slice(0, at).replace(/^\[(.*)\]$/, '$1'), port: Number(text.slice(at + 1)) }
}

/** How to start it: inside a namespace with `prefix`, for example. */
export type Start = { prefix?: string[]; env?: Record<string, string>; stdin?: string }

/** One run of warren that stays: a relay or an agent. */
export class Warren implements AsyncDisposable {
  readonly events: Event[] = []
  readonly pid: number
  readonly name: string
  readonly #process: Bun.Subprocess<'pipe', 'pipe', 'pipe'>
  readonly #log: string[] = []
  readonly #read: Promise<unknown>
  #waiting: (() => void)[] = []
  #ended = false

  constructor(name: string, args: string[], how: Start = {}) {
    this.name = name
    this.#process = Bun.spawn([...(how.prefix ?? []), ...PROGRAM, ...args], {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
      cwd: tmpdir(),
      env: { ...cleanEnv(), ...how.env },
    })
    leaveNone(this.#process)
    this.pid = this.#process.pid
    if (how.stdin !== undefined) this.#process.stdin.write(how.stdin)
    this.#process.stdin.end()
    this.#read = Promise.all([this.#readEvents(), this.#readLog()]).then(() => {
      this.#ended = true
      this.#wake()
    })
  }

  async #readEvents(): Promise<void> {
    for await (const line of lines(this.#process.stdout)) {
      let event: Event
      try {
        event = JSON.parse(line) as Event
      } catch {
        this.#note(`not an event: ${line}`)
        continue
      }
      this.events.push(event)
      this.#wake()
    }
  }

  async #readLog(): Promise<void> {
    for await (const line of lines(this.#process.stderr)) this.#note(line)
  }

  #note(line: string): void {
    this.#log.push(line)
    if (this.#log.length > LOG_LINES) this.#log.shift()
    this.#wake()
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  /** What it said last: for the message of a failure. */
  get said(): string {
    const events = this.events.slice(-12).map(event => JSON.stringify(event))
    return `${this.name} (pid ${this.pid}) said:\n  ${[...events, ...this.#log].join('\n  ')}`
  }

  get log(): string {
    return this.#log.join('\n')
  }

  /** The first event of that kind, from the `from`th on, that `match` accepts; waits for it. */
  async event<Name extends Event['event']>(
    name: Name,
    match: (event: EventOf<Name>) => boolean = () => true,
    from = 0,
    ms = WAIT_MS,
  ): Promise<EventOf<Name>> {
    const end = performance.now() + ms
    for (let at = from; ; ) {
      while (at < this.events.length) {
        const event = this.events[at++]!
        if (event.event === name && match(event as EventOf<Name>)) return event as EventOf<Name>
      }
      if (this.#ended) throw new Error(`it ended without event ${name}, status ${await this.exited}\n${this.said}`)
      const wake = Promise.withResolvers<void>()
      this.#waiting.push(wake.resolve)
      await within(Math.max(1, end - performance.now()), wake.promise, () => `no event ${name}\n${this.said}`)
    }
  }

  /** Its exit status; of a signal 128 and its number, as a shell says it. */
  get exited(): Promise<number> {
    return this.#process.exited
  }

  async exit(ms = WAIT_MS): Promise<number> {
    const status = await within(ms, this.exited, () => `it did not end\n${this.said}`)
    await this.#read
    return status
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal)
  }

  /** At once and without a word, as a crash would. */
  async crash(): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.exited
  }

  /** Sockets it holds, the listeners and the session among them. */
  sockets(): number {
    return descriptors(this.pid).filter(target => target.startsWith('socket:')).length
  }

  /** What it alone costs, in bytes. */
  pss(): number {
    const rollup = readFileSync(`/proc/${this.pid}/smaps_rollup`, 'latin1')
    return Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1]) * 1024
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.exited
  }
}

function descriptors(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap(fd => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)]
    } catch {
      return [] // Closed while we looked.
    }
  })
}

function cleanEnv(): Record<string, string> {
  const { WARREN_STATE: _, WARREN_RELAY: __, NODE_TLS_REJECT_UNAUTHORIZED: ___, ...env } = process.env
  return { ...(env as Record<string, string>), NO_COLOR: '1' }
}

/** One command that ends by itself. */
export async function run(args: string[], how: Start = {}): Promise<{ status: number; out: string; err: string }> {
  const child = Bun.spawn([...(how.prefix ?? []), ...PROGRAM, ...args], {
    stdin: how.stdin === undefined ? 'ignore' : new Blob([how.stdin]),
    stdout: 'pipe',
    stderr: 'pipe',
    cwd: tmpdir(),
    env: { ...cleanEnv(), ...how.env },
  })
  leaveNone(child)
  const both = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited])
  const [out, err, status] = await within(WAIT_MS, both, () => `warren ${args.join(' ')} did not end`)
  return { status, out, err }
}

export type RelayOptions = Start & {
  state?: string
  listen?: string
  host?: string
  bind?: string
  /** `A-B`; without it a range of its own, below the ports that the kernel gives to clients. */
  ports?: string
  more?: string[]
}

export class Relay extends Warren {
  readonly state: string
  control = ''
  ports = ''
  fingerprint = ''
  /** Of the first start; null later. */
  invite: string | null = null

  constructor(state: string, args: string[], how: Start) {
    super('relay', args, how)
    this.state = state
  }

  /** A new invite, made by the operator's command on the relay's machine. */
  async newInvite(...flags: string[]): Promise<string> {
    const made = await run(['invite', '--state', this.state, ...flags])
    if (made.status !== 0) throw new Error(`warren invite: ${made.err}`)
    return made.out.trim()
  }
}

let nextRange = 20_000 + (process.pid % 40) * 250

/** Ports for one relay. Two ranges never meet in one process; whatever else has bound one, the relay has to skip. */
export function portRange(count: number): string {
  const first = nextRange
  nextRange += count
  if (nextRange > 32_000) nextRange = 10_000
  return `${first}-${first + count - 1}`
}

export async function startRelay(options: RelayOptions = {}): Promise<Relay> {
  const host = options.host ?? '127.0.0.1'
  const state = options.state ?? folder('relay')
  const ports = options.ports ?? portRange(60)
  const listen = options.listen ?? (host.includes(':') ? `[${host}]:0` : `${host}:0`)
  const args = ['relay', '--listen', listen, '--ports', ports, '--public-host', host]
  const bind = ['--bind', options.bind ?? host]
  const relay = new Relay(state, [...args, ...bind, '--state', state, '--json', ...(options.more ?? [])], options)
  const ready = await relay.event('ready')
  relay.control = ready.control
  relay.ports = ports
  relay.fingerprint = ready.fingerprint
  relay.invite = ready.invite
  return relay
}

export type AgentOptions = Start & { state?: string; more?: string[] }

export class Agent extends Warren {
  readonly state: string

  constructor(state: string, args: string[], how: Start) {
    super('agent', args, how)
    this.state = state
  }

  /** Where a tunnel is open to the public; waits for it. */
  async tunnel(name: string, from = 0): Promise<Address> {
    const tunnel = await this.event('tunnel', event => event.name === name, from)
    return parseAddress(tunnel.address)
  }
}

/** An agent, not yet connected. `relay`: an invite, or null for the relay that its state remembers. */
export function launchAgent(relay: string | null, locals: string[], options: AgentOptions = {}): Agent {
  const state = options.state ?? folder('agent')
  const args = ['tcp', ...locals, ...(relay === null ? [] : ['--relay', relay]), '--state', state, '--json']
  return new Agent(state, [...args, ...(options.more ?? [])], options)
}

export async function startAgent(relay: string | null, locals: string[], options: AgentOptions = {}): Promise<Agent> {
  const agent = launchAgent(relay, locals, options)
  await agent.event('session', event => event.state === 'connected')
  return agent
}

/** A relay with one agent and one tunnel called `t`: what most tests need. */
export async function tunnelTo(local: string): Promise<{ relay: Relay; agent: Agent; at: Address } & AsyncDisposable> {
  const relay = await startRelay()
  const agent = await startAgent(relay.invite!, [`t=${local}`])
  const at = await agent.tunnel('t')
  return {
    relay,
    agent,
    at,
    async [Symbol.asyncDispose]() {
      await agent[Symbol.asyncDispose]()
      await relay[Symbol.asyncDispose]()
    },
  }
}
