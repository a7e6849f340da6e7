// The processes of one contender or service: started in a group, waited for, their CPU and memory added up over all of
// their children, and ended.
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { leaveNone } from '../test/oracle/process.ts'

const TICKS_PER_SECOND = 100
const END_MS = 3_000
const LOG_BYTES = 2_000
/** A command that takes longer hangs; it is killed, or it would load every later measurement. */
const HANG_MS = 100_000

/** Where programs that are not from Debian are installed, and the bench's own are built. */
export const ROOT =
  process.env['WARREN_BENCH'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'warren-bench')

/** The path of a program, from Debian or from setup.sh; null when it is not installed. */
export function program(name: string): string | null {
  const own = join(ROOT, 'bin', name)
  return existsSync(own) ? own : Bun.which(name, { PATH: `${process.env['PATH']}:/usr/sbin:/sbin` })
}

/** One end of the path: its address, and what a command begins with to run there. */
export type Side = { readonly host: string; readonly prefix: readonly string[] }

/** Where a contender runs: visitors and the relay in front, the agent and the service behind. */
export type World = { readonly front: Side; readonly back: Side }

const HERE: Side = { host: '127.0.0.1', prefix: [] }
export const LOOPBACK: World = { front: HERE, back: HERE }

export type Memory = { pss: number; rss: number }

type Stat = { pid: number; parent: number; ticks: number; state: string }

function statOf(pid: number): Stat | null {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return null // It has just ended.
  }
  // The name, in parentheses, may hold anything; what follows it does not.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const ticks = [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0)
  return { pid, parent: Number(fields[1]), ticks, state: fields[0]! }
}

export class Group implements AsyncDisposable {
  /** Those that have processes. */
  static readonly #all = new Set<Group>()
  readonly folder: string
  readonly #roots: Bun.Subprocess[] = []

  static {
    // Before the children alone are killed: theirs, nginx's workers for one, could not be found any more.
    process.prependListener('exit', () => {
      for (const group of Group.#all) for (const { pid } of group.#tree()) signal(pid, 'SIGKILL')
    })
  }

  /** `folder`: for logs. */
  constructor(folder: string) {
    this.folder = folder
  }

  start(side: Side, command: readonly string[], options: { name?: string; env?: Record<string, string> } = {}): void {
    const log = openSync(join(this.folder, `${options.name ?? this.#roots.length}.log`), 'a')
    const child = Bun.spawn([...side.prefix, ...command], {
      stdin: 'ignore',
      stdout: log,
      stderr: log,
      cwd: this.folder,
      env: { ...process.env, ...options.env },
    })
    closeSync(log)
    leaveNone(child)
    this.#roots.push(child)
    Group.#all.add(this)
  }

  #tree(): Stat[] {
    const all = readdirSync('/proc').flatMap(name => (/^\d+$/.test(name) ? (statOf(Number(name)) ?? []) : []))
    // The number of one that has ended may be somebody else's by now.
    const alive = this.#roots.filter(root => root.exitCode === null && root.signalCode === null)
    const found = all.filter(stat => alive.some(root => root.pid === stat.pid))
    for (let at = 0; at < found.length; at++) found.push(...all.filter(stat => stat.parent === found[at]!.pid))
    return found
  }

  /** Seconds, user and system, of all of them and of their children that have ended. */
  cpu(): number {
    return this.#tree().reduce((sum, stat) => sum + stat.ticks, 0) / TICKS_PER_SECOND
  }

  /** In KiB, of all of them. */
  memory(): Memory {
    const memory = { pss: 0, rss: 0 }
    for (const { pid, state } of this.#tree()) {
      if (state === 'Z') continue
      try {
        const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1')
        memory.pss += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0)
        memory.rss += Number(/^Rss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0)
      } catch {
        // It has just ended.
      }
    }
    return memory
  }

  /** What they logged last: for the message of a failure. */
  get said(): string {
    return readdirSync(this.folder)
      .filter(name => name.endsWith('.log'))
      .map(name => `--- ${name}\n${readFileSync(join(this.folder, name), 'utf8').slice(-LOG_BYTES)}`)
      .join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const tree = this.#tree()
    for (const { pid } of tree) signal(pid, 'SIGTERM')
    const ended = Promise.all(this.#roots.map(root => root.exited))
    await Promise.race([ended, Bun.sleep(END_MS)])
    // Children outlive a parent that is killed, sshd's sessions for one.
    for (const { pid, parent } of tree)
      if (statOf(pid)?.parent === parent || statOf(pid)?.parent === 1) signal(pid, 'SIGKILL')
    await ended
    this.#roots.length = 0
    Group.#all.delete(this)
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended.
  }
}

/** Runs a command to its end; throws with what it said when it fails. */
export async function output(
  side: Side,
  command: readonly string[],
  options: { env?: Record<string, string>; cwd?: string; stdin?: string } = {},
): Promise<string> {
  const child = Bun.spawn([...side.prefix, ...command], {
    stdin: options.stdin === undefined ? 'ignore' : new Blob([options.stdin]),
    stdout: 'pipe',
    stderr: 'pipe',
    env: { ...process.env, ...options.env },
    timeout: HANG_MS,
    killSignal: 'SIGKILL',
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  })
  leaveNone(child)
  const [out, err, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  if (child.signalCode === 'SIGKILL')
    throw new Error(`${command.slice(0, 3).join(' ')}: no end within ${HANG_MS / 1000} s`)
  if (status !== 0)
    throw new Error(`${command.slice(0, 3).join(' ')}: status ${status}\n${err || out}`.slice(0, LOG_BYTES))
  return out
}

/** How many file descriptors a process may have here. */
export const descriptors = (): number =>
  Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1])

// Below what the kernel gives to clients, which a load of new connections would use up, and away from the tests' ranges.
const PORTS = { from: 12_000, to: 19_000 }
let nextPort = PORTS.from + (process.pid % 60) * 100

/** A port of this machine's that nobody listens on now. */
export function freePort(): number {
  for (;;) {
    const port = nextPort++
    if (nextPort > PORTS.to) nextPort = PORTS.from
    try {
      Bun.listen({ hostname: '0.0.0.0', port, socket: { data() {} } }).stop(true)
      return port
    } catch {
      // Taken.
    }
  }
}
