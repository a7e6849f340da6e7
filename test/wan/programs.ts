// Real programs over a link that breaks: a database under load, a copy of a big file, a shell. The programs beside the
// service run in the agent's namespace, those of the visitor in the relay's.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Address, until, within } from '../e2e/warren.ts'
import { lines, start } from '../oracle/process.ts'
import { as, type Done, exec, giveTo, ok, program, workFolder } from '../programs/programs.ts'
import { type Breaks, lasting, Site, type SiteOptions } from './site.ts'
import { type Link, Wan } from './wanlink.ts'

const USER = 'postgres'
/** Any port is free in a namespace of one's own. */
const PORT = 4000
const HOST = '127.0.0.1'
const FAST: Link = { delay: 5, rate: 200 }

/** A server in the agent's namespace: there when it listens. */
async function serveBeside(wan: Wan, line: string[], signal: NodeJS.Signals): Promise<AsyncDisposable> {
  const [name, ...args] = line
  const server = Bun.spawn([...wan.a.prefix, program(name!), ...args], { cwd: '/', stdout: 'ignore', stderr: 'ignore' })
  const listening = [...wan.a.prefix, 'ss', '-H', '-l', '-t', 'sport', '=', `:${PORT}`]
  await until(async () => {
    if (server.exitCode !== null) throw new Error(`${line.join(' ')} ended: status ${server.exitCode}`)
    return (await ok(listening)).trim()
  }, `${name} listens`)
  return {
    async [Symbol.asyncDispose]() {
      server.kill(signal)
      await within(10_000, server.exited, () => `${name} does not end`).catch(() => server.kill('SIGKILL'))
      await server.exited
    },
  }
}

/** A link, a server at its far end, and a way to it. */
type Reached = AsyncDisposable & { wan: Wan; site: Site; via: Address }

async function reach(
  prepare: () => Promise<{ line: string[]; signal: NodeJS.Signals }>,
  options: SiteOptions,
): Promise<Reached> {
  await using opened = new AsyncDisposableStack()
  const { line, signal } = await prepare()
  const wan = opened.use(await Wan.open(options.link ?? FAST))
  opened.use(await serveBeside(wan, line, signal))
  const site = opened.use(await Site.open(wan, [`t=${HOST}:${PORT}`], options))
  const via = await site.agent.tunnel('t')
  const all = opened.move()
  return { wan, site, via, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

async function postgres(): Promise<{ line: string[]; signal: NodeJS.Signals }> {
  const work = workFolder('postgres')
  await giveTo(USER, work)
  const data = join(work, 'data')
  const run = as(USER)
  await ok([...run, program('initdb'), '-D', data, '-U', USER, '-A', 'trust', '--no-sync'], { cwd: work })
  const settings = ['fsync=off', `unix_socket_directories=${work}`, 'max_connections=60', `listen_addresses=${HOST}`]
  const flags = settings.flatMap(setting => ['-c', setting])
  return { line: [...run, program('postgres'), '-D', data, '-p', String(PORT), ...flags], signal: 'SIGINT' }
}

/** What pgbench reports, and how many connections the relay saw meanwhile. */
export type Benched = {
  status: number
  failed: string | undefined
  transactions: number
  connections: number
  breaks: Breaks
  err: string
}

const CLIENTS = 20
const PERIOD_MS = 20_000
const CUT_MS = 7000

/** `pgbench -c 20 -T seconds`; a cut of 7 s every 20 s, and the connection reset between. */
export async function pgbenchThroughCuts(seconds: number, hold: string): Promise<Benched> {
  await using reached = await reach(postgres, { hold })
  const { wan, site, via } = reached
  const at = ['-h', via.host, '-p', String(via.port), '-U', USER]
  const pgbench = (...flags: string[]) =>
    exec([...wan.b.prefix, program('pgbench'), ...at, ...flags, 'postgres'], { ms: (seconds + 60) * 1000 })
  const made = await pgbench('-i', '-s', '2', '-q')
  if (made.status !== 0) throw new Error(made.err)
  // What that had open is gone before it is counted what the run opens.
  await until(() => site.openStreams({ agent: 0, relay: 0 }) === 0, 'pgbench -i has left')
  const from = site.marks
  let done: Done | null = null
  const running = pgbench('-n', '-c', String(CLIENTS), '-j', '2', '-T', String(seconds)).then(result => {
    done = result
  })
  await until(() => done !== null || site.openStreams(from) >= CLIENTS, 'all clients are connected')
  const ends = performance.now() + seconds * 1000
  while (done === null && performance.now() + CUT_MS + 4000 < ends) {
    const began = performance.now()
    await lasting(PERIOD_MS / 8)
    await site.cut(CUT_MS)
    await lasting(PERIOD_MS / 5)
    await site.reset()
    const rest = PERIOD_MS - (performance.now() - began)
    if (rest > 0 && performance.now() + rest < ends) await lasting(rest)
  }
  await running
  const { status, out, err } = done!
  return {
    status,
    failed: /number of failed transactions: (\d+)/.exec(out)?.[1],
    transactions: Number(/number of transactions actually processed: (\d+)/.exec(out)?.[1] ?? 0),
    connections: site.relay.events.slice(from.relay).filter(e => e.event === 'stream' && e.state === 'open').length,
    breaks: site.breaks(from),
    err,
  }
}

type Ssh = { line: string[]; signal: NodeJS.Signals; user: string; options: string[]; work: string }

async function sshd(): Promise<Ssh> {
  const work = workFolder('ssh')
  const [hostKey, key] = [join(work, 'host'), join(work, 'key')]
  for (const path of [hostKey, key]) await ok(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', path])
  writeFileSync(join(work, 'authorized'), await Bun.file(`${key}.pub`).text(), { mode: 0o600 })
  const settings = [
    `Port ${PORT}`,
    `ListenAddress ${HOST}`,
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${join(work, 'authorized')}`,
    `PidFile ${join(work, 'pid')}`,
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'PermitRootLogin yes',
    'Subsystem sftp internal-sftp',
  ]
  writeFileSync(join(work, 'config'), `${settings.join('\n')}\n`)
  // sshd wants its folder for privilege separation, which the service's start would make.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
  const common = ['-i', key, '-o', 'IdentitiesOnly=yes', '-o', 'StrictHostKeyChecking=no', '-o', 'LogLevel=ERROR']
  return {
    line: ['sshd', '-D', '-e', '-f', join(work, 'config')],
    signal: 'SIGTERM',
    user: (await ok(['id', '-un'])).trim(),
    options: [...common, '-o', `UserKnownHostsFile=${join(work, 'known')}`],
    work,
  }
}

export type Copied = { same: boolean; bytes: number; cuts: number; breaks: Breaks; seconds: number }

/** scp of so many megabytes to the service's host; `cuts` cuts on the way, each of 1 to 3 s once some more has arrived. */
export async function scpThroughCuts(megabytes: number, cuts: number): Promise<Copied> {
  const ssh = await sshd()
  await using reached = await reach(async () => ssh, { link: { delay: 5, rate: 120 }, deadAfter: '1500ms' })
  const { wan, site, via } = reached
  const from = site.marks
  const [file, copy] = [join(ssh.work, 'file'), join(ssh.work, 'copy')]
  const bytes = megabytes << 20
  await ok(['sh', '-c', `head -c ${bytes} /dev/urandom > ${file}`])
  const began = performance.now()
  const scp = [program('scp'), ...ssh.options, '-P', String(via.port), file, `${ssh.user}@${via.host}:${copy}`]
  const running = exec([...wan.b.prefix, ...scp], { ms: 600_000 })
  let done = 0
  for (; done < cuts; done++) {
    const wanted = ((done + 1) * bytes) / (cuts + 1)
    await until(() => Bun.file(copy).size >= wanted, `${wanted} bytes have arrived`, 120_000)
    await site.cut(1000 + (done % 3) * 1000)
  }
  const { status, err } = await running
  if (status !== 0) throw new Error(`scp: status ${status}\n${err}\n${site.said}`)
  const seconds = (performance.now() - began) / 1000
  const [sent, got] = await Promise.all([file, copy].map(path => ok(['sha256sum', path])))
  const same = sent?.split(' ')[0] === got?.split(' ')[0]
  const arrived = Bun.file(copy).size
  for (const path of [file, copy]) rmSync(path)
  return { same, bytes: arrived, cuts: done, breaks: site.breaks(from), seconds }
}

/** What a shell answered before a cut, and after it to words that were typed while it lasted. */
export type Talked = { before: string; after: string; sameShell: boolean; breaks: Breaks }

export async function shellThroughCut(ms: number): Promise<Talked> {
  const ssh = await sshd()
  await using reached = await reach(async () => ssh, {})
  const { wan, site, via } = reached
  const from = site.marks
  const command = ['ssh', '-T', ...ssh.options, '-p', String(via.port), `${ssh.user}@${via.host}`, 'sh']
  const shell = start([...wan.b.prefix, ...command])
  const answers = lines(shell.stdout)
  const type = (text: string) => {
    shell.stdin.write(`${text}\n`)
    shell.stdin.flush()
  }
  const answer = async () => {
    const { value } = await within(30_000, answers.next(), () => `the shell does not answer\n${site.said}`)
    return value ?? 'it ended'
  }
  type('echo $$ before')
  const [pid = '', before = ''] = (await answer()).split(' ')
  await site.wan.cut()
  type('echo $$ after')
  await lasting(ms)
  await site.wan.heal()
  const [samePid, after = ''] = (await answer()).split(' ')
  type('exit')
  await within(10_000, shell.exited, () => 'the shell does not end')
  return { before, after, sameShell: pid !== '' && pid === samePid, breaks: site.breaks(from) }
}

/** MB/s that arrived in each second of one bulk download, on a link that takes `longer` ms each way from second `at` on. */
export async function downloadOnLongerPath(link: Link, longer: number, at: number, seconds: number): Promise<number[]> {
  const prepare = async () => ({ line: ['iperf3', '-s', '-B', HOST, '-p', String(PORT)], signal: 'SIGTERM' as const })
  await using reached = await reach(prepare, { link })
  const { wan, via } = reached
  const flags = ['-c', via.host, '-p', String(via.port), '-t', String(seconds), '-R', '--json']
  const running = ok([...wan.b.prefix, program('iperf3'), ...flags])
  await lasting(at * 1000)
  await wan.set({ delay: longer })
  const report = JSON.parse(await running) as { intervals: { sum: { bits_per_second: number } }[] }
  return report.intervals.map(interval => interval.sum.bits_per_second / 8e6)
}
