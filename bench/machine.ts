// The machine that a run was made on: what it is, and what it says of itself that puts figures off.
import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'

/** Load average of a machine that does nothing else. */
const QUIET = 1

/** Cores that this process may run on. */
function cores(): number {
  return Number(Bun.spawnSync(['nproc']).stdout.toString())
}

/** What it is, in words. */
export function machine(): string {
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`
  const setting = (name: string) => readFileSync(`/proc/sys/net/${name}`, 'latin1').trim().replaceAll(/\s+/g, ' ')
  const tcp = `TCP ${setting('ipv4/tcp_congestion_control')}, wmem_max ${setting('core/wmem_max')}, tcp_rmem ${setting('ipv4/tcp_rmem')}`
  const model = cpus()[0]?.model ?? 'unknown'
  return `${cores()} of ${cpus().length} cores (${model}), ${memory}, Linux ${release()}, ${tcp}, Bun ${Bun.version}`
}

/** This process and all that it starts: most of them ask how many cores they may have. Null, or why not. */
export function restrict(cores: number): string | null {
  if (cores > cpus().length) return `there are ${cpus().length}`
  const list = cores === 1 ? '0' : `0-${cores - 1}`
  const taskset = Bun.spawnSync(['taskset', '-a', '-c', '-p', list, String(process.pid)], { stderr: 'pipe' })
  return taskset.exitCode === 0 ? null : taskset.stderr.toString().trim()
}

/** Watches it through a run, from here on. */
export class Watch {
  /** The load average before. */
  readonly load = loadavg()[0]!
  readonly #short = shortOfTcpMemory()

  get quiet(): boolean {
    return this.load <= QUIET
  }

  /**
   * For how long, in ms, the system was short of memory for TCP. Meanwhile it shrinks every window and drops what it has no
   * room for: one contender with unread bytes in hundreds of sockets puts the others' figures off.
   */
  get short(): number {
    return shortOfTcpMemory() - this.#short
  }
}

function shortOfTcpMemory(): number {
  return pressured(readFileSync('/proc/net/netstat', 'latin1'))
}

/** Ms since the system's start, of the text of /proc/net/netstat; 0 where Linux does not say. */
export function pressured(netstat: string): number {
  const [names, values] = netstat
    .split('\n')
    .filter(line => line.startsWith('TcpExt:'))
    .map(line => line.split(' '))
  const at = names?.indexOf('TCPMemoryPressuresChrono') ?? -1
  return at < 0 ? 0 : Number(values?.[at])
}
