// The services behind the tunnel, one process of each: started beside the agent, reached when they answer.
import { chownSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadProgram, reach } from './load.ts'
import { freePort, Group, output, program, type World } from './processes.ts'

export type ServiceKind = {
  readonly id: string
  readonly programs: readonly string[]
  /** Bytes that it answers. */
  readonly hello: Uint8Array
  /** Serves one client at a time: each contender gets one of its own. */
  readonly alone?: true
  start(world: World, group: Group, port: number): Promise<void>
  /** Once, when it answers. */
  fill?(world: World, port: number): Promise<void>
}

const REACH_MS = 15_000
const FILES = '65536'

/** load.c: echoes, sends, answers. */
export const own: ServiceKind = {
  id: 'load serve',
  programs: ['gcc'],
  hello: Buffer.from('ex'),
  start: async (world, group, port) => {
    group.start(world.back, [loadProgram(), 'serve', world.back.host, String(port)])
  },
}

export const iperf: ServiceKind = {
  id: 'iperf3',
  programs: ['iperf3'],
  // A cookie, and nothing after it: the server gives that client up when it closes.
  hello: Buffer.from(`${'x'.repeat(36)}\0`),
  alone: true,
  start: async (world, group, port) => {
    group.start(world.back, ['iperf3', '-s', '-B', world.back.host, '-p', String(port)])
  },
}

export const redis: ServiceKind = {
  id: 'redis-server',
  programs: ['redis-server', 'redis-benchmark'],
  hello: Buffer.from('PING\r\n'),
  start: async (world, group, port) => {
    const quiet = ['--save', '', '--appendonly', 'no', '--loglevel', 'warning']
    group.start(world.back, ['redis-server', '--bind', world.back.host, '--port', String(port), ...quiet])
  },
}

export const nginx: ServiceKind = {
  id: 'nginx',
  programs: ['nginx', 'wrk'],
  hello: Buffer.from('GET / HTTP/1.0\r\n\r\n'),
  start: async (world, group, port) => {
    const root = join(group.folder, 'www')
    mkdirSync(root, { recursive: true })
    // As small as the page that the package brings, which the peers' own measurements ask for.
    writeFileSync(
      join(root, 'index.html'),
      `<!DOCTYPE html>\n<title>Welcome</title>\n<p>${'It works. '.repeat(55)}</p>\n`,
    )
    const file = join(group.folder, 'nginx.conf')
    writeFileSync(
      file,
      `worker_processes 2;\nworker_rlimit_nofile ${FILES};\npid ${group.folder}/nginx.pid;\nerror_log ${group.folder}/nginx.log;\ndaemon off;
events { worker_connections 4096; }
http {\n  access_log off;\n  keepalive_requests 1000000000;\n  client_body_temp_path ${group.folder};
  server {\n    listen ${world.back.host}:${port} backlog=4096;\n    root ${root};\n  }\n}\n`,
    )
    group.start(world.back, [program('nginx')!, '-e', join(group.folder, 'nginx.log'), '-c', file])
  },
}

const POSTGRES = '/usr/lib/postgresql'
/** The SSLRequest of PostgreSQL's protocol, which every server answers with one byte. */
const SSL_REQUEST = Buffer.from('0000000804d2162f', 'hex')
const PG_SCALE = '10'
const POSTGRES_USER = 'postgres'

export function postgresProgram(name: string): string {
  const versions = [...new Bun.Glob(`*/bin/${name}`).scanSync({ cwd: POSTGRES, onlyFiles: true })].sort()
  return join(POSTGRES, versions.at(-1) ?? `15/bin/${name}`)
}

export const postgres: ServiceKind = {
  id: 'postgres',
  programs: ['pgbench', 'setpriv'],
  hello: SSL_REQUEST,
  start: async (world, group, port) => {
    const data = join(group.folder, 'pg')
    mkdirSync(data, { recursive: true })
    const [uid, gid] = ['-u', '-g'].map(flag =>
      Number(Bun.spawnSync(['id', flag, POSTGRES_USER]).stdout.toString().trim()),
    )
    chownSync(data, uid!, gid!)
    // It refuses to run as root. What stands between is gone when it runs, so that a signal to the child is one to it.
    const as = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--']
    const initdb = [
      postgresProgram('initdb'),
      '-D',
      data,
      '-A',
      'trust',
      '-U',
      POSTGRES_USER,
      '--no-sync',
      '-E',
      'UTF8',
    ]
    await output({ host: '', prefix: [] }, [...as, ...initdb])
    const settings = ['fsync=off', 'max_connections=200', `listen_addresses=${world.back.host}`, 'ssl=off']
    const flags = settings.flatMap(setting => ['-c', setting])
    const place = ['-D', data, '-p', String(port), '-k', data]
    group.start(world.back, [...as, postgresProgram('postgres'), ...place, ...flags], { name: 'postgres' })
  },
  fill: async (world, port) => {
    const at = ['-h', world.back.host, '-p', String(port), '-U', POSTGRES_USER]
    await output(world.back, ['pgbench', '-i', '-q', '-s', PG_SCALE, ...at, 'postgres'])
  },
}

export type Service = AsyncDisposable & { readonly port: number; readonly kind: ServiceKind }

export async function startService(kind: ServiceKind, world: World, folder: string): Promise<Service> {
  const group = new Group(folder)
  const port = freePort()
  try {
    await kind.start(world, group, port)
    await reach(world.back, { host: world.back.host, port }, REACH_MS, kind.hello)
    await kind.fill?.(world, port)
  } catch (thrown) {
    const { said } = group
    await group[Symbol.asyncDispose]()
    throw new Error(`${kind.id}: ${String(thrown)}\n${said}`)
  }
  return { port, kind, [Symbol.asyncDispose]: () => group[Symbol.asyncDispose]() }
}
