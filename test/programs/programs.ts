// Real programs of the operating system, run by the tests: found or named as missing, started on ports of their own,
// ended by their id.
import { chmodSync, chownSync, existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Plain } from '../e2e/plain.ts'
import { type Address, folder, until, within } from '../e2e/warren.ts'
import { leaveNone } from '../oracle/process.ts'

const WAIT_MS = 120_000

/** Where a program is; what is missing is a failure, with what to do. */
export function program(name: string): string {
  const found = Bun.which(name, { PATH: `${process.env['PATH']}:/usr/sbin:/sbin:${postgresFolder()}` })
  if (found === null) throw new Error(`${name} is missing here: npm run setup:system`)
  return found
}

/** Debian keeps PostgreSQL's programs out of the path, one folder a version. */
function postgresFolder(): string {
  const root = '/usr/lib/postgresql'
  if (!existsSync(root)) return root
  const newest = readdirSync(root).sort((a, b) => Number(b) - Number(a))[0] ?? ''
  return join(root, newest, 'bin')
}

export type Done = { status: number; out: string; err: string }
export type How = { input?: string | Uint8Array; env?: Record<string, string>; cwd?: string; ms?: number }

function command([name, ...args]: string[]): string[] {
  return [program(name!), ...args]
}

/** Runs one to its end. */
export async function exec(line: string[], how: How = {}): Promise<Done> {
  const child = Bun.spawn(command(line), {
    stdin: how.input === undefined ? 'ignore' : new Blob([how.input]),
    stdout: 'pipe',
    stderr: 'pipe',
    cwd: how.cwd ?? '/',
    env: { ...process.env, LC_ALL: 'C', ...how.env },
  })
  leaveNone(child)
  const both = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited])
  const [out, err, status] = await within(how.ms ?? WAIT_MS, both, () => `${line.join(' ')} did not end`)
  return { status, out, err }
}

/** The same, for what has to go well. */
export async function ok(line: string[], how: How = {}): Promise<string> {
  const { status, out, err } = await exec(line, how)
  if (status !== 0) throw new Error(`${line.join(' ')}: status ${status}\n${out}\n${err}`)
  return out
}

export type Server = Address & AsyncDisposable & { pid: number }

/** Starts one that stays, and waits until it takes connections. It is ended by `signal`, later by force. */
export async function serve(line: string[], at: Address, how: How & { signal?: NodeJS.Signals } = {}): Promise<Server> {
  const log: string[] = []
  const child = Bun.spawn(command(line), {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
    cwd: how.cwd ?? '/',
    env: { ...process.env, LC_ALL: 'C', ...how.env },
  })
  leaveNone(child)
  for (const stream of [child.stdout, child.stderr])
    void (async () => {
      const decoder = new TextDecoder()
      for await (const chunk of stream) {
        log.push(decoder.decode(chunk))
        if (log.length > 40) log.shift()
      }
    })()
  await until(async () => {
    if (child.exitCode !== null) throw new Error(`${line.join(' ')} ended: status ${child.exitCode}\n${log.join('')}`)
    try {
      const plain = await Plain.dial(at)
      plain.reset()
      return true
    } catch {
      return false
    }
  }, `${line[0]} listens at ${at.port}`)
  return {
    ...at,
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      child.kill(how.signal ?? 'SIGTERM')
      await within(10_000, child.exited, () => `${line[0]} does not end`).catch(() => child.kill('SIGKILL'))
      await child.exited
    },
  }
}

/** A port that was free a moment ago. */
export function freePort(): number {
  const probe = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } })
  const { port } = probe
  probe.stop(true)
  return port
}

/** Files for one test, readable by whomever a server runs as. */
export function workFolder(what: string): string {
  const made = folder(what)
  chmodSync(made, 0o755)
  return made
}

/** A prefix to run something as another user, when we may; a server that refuses root needs it. */
export function as(user: string): string[] {
  if (process.getuid?.() !== 0) return []
  return ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups']
}

export async function giveTo(user: string, path: string): Promise<void> {
  if (process.getuid?.() !== 0) return
  const [uid, gid] = await Promise.all([ok(['id', '-u', user]), ok(['id', '-g', user])])
  chownSync(path, Number(uid), Number(gid))
}

/** Direct first, so that a broken client never counts for or against the tunnel; then through it. */
export async function both<T>(
  direct: Address,
  via: Address,
  act: (at: Address, way: string) => Promise<T>,
): Promise<[T, T]> {
  const without = await act(direct, 'direct')
  const through = await act(via, 'through the tunnel')
  return [without, through]
}
