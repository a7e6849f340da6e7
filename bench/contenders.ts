// What is compared: how each is installed, started and set up. All run with their defaults but for what `setting` says;
// none of them logs per connection. A contender is started for a service and gives its public port.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { Event } from '../src/telemetry/events.ts'
import { leaveNone, lines } from '../test/oracle/process.ts'
import { reach } from './load.ts'
import { descriptors, freePort, type Group, output, program, ROOT, type World } from './processes.ts'

/** One contender to be started: for which service, where, with which files. */
export type Setup = {
  readonly world: World
  /** Beside the agent. */
  readonly service: number
  /** Where visitors connect to; free. */
  readonly port: number
  /** Where the agent connects to; free. */
  readonly control: number
  readonly folder: string
}

export type Contender = {
  readonly id: string
  readonly label: string
  /** How its bytes go over the long way; null without encryption. */
  readonly encryption: string | null
  readonly setting: string
  readonly programs: readonly string[]
  /** The command that installs it. */
  readonly install: string
  /** It is measured in these scenarios only. */
  readonly scenarios?: readonly string[]
  version(): Promise<string>
  /** Keys, certificates and files: whatever is done once, before the first start. */
  prepare(setup: Setup): Promise<void>
  /** Its processes. They are up when the service answers at the port. Without any, visitors go to the service itself. */
  start: ((setup: Setup, group: Group) => Promise<void>) | null
}

const DEBIAN = 'sh bench/setup.sh debian'
const LISTEN_MS = 10_000
const nothing = async () => {}

function found(name: string): string {
  const path = program(name)
  if (path === null) throw new Error(`${name} is not installed`)
  return path
}

export function missing(contender: Contender): boolean {
  return contender.programs.some(name => program(name) === null)
}

const firstLine = async (command: string[], match: RegExp) => {
  const child = Bun.spawnSync(command, { stdout: 'pipe', stderr: 'pipe' })
  return match.exec(child.stdout.toString() + child.stderr.toString())?.[0] ?? 'unknown'
}

/** What setup.sh wrote of a version that the program itself does not tell. */
const installed = async (name: string) => {
  const file = join(ROOT, `${name}.version`)
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : name
}

const listening = ({ world, control }: Setup) =>
  reach(world.back, { host: world.front.host, port: control }, LISTEN_MS, new Uint8Array())

const direct: Contender = {
  id: 'direct',
  label: 'direct',
  encryption: null,
  setting: 'no tunnel: the limit',
  programs: [],
  install: '',
  version: async () => '',
  prepare: nothing,
  start: null,
}

/** It refuses to start when it may not have two for each connection, and so many more. */
const HAPROXY_OWN = 200

const haproxy: Contender = {
  id: 'haproxy',
  label: 'haproxy',
  encryption: null,
  setting: 'mode tcp, one hop, a thread a core (its default)',
  programs: ['haproxy'],
  install: DEBIAN,
  version: () => firstLine([found('haproxy'), '-v'], /HAProxy version \S+/),
  prepare: async ({ folder, world, port, service }) => {
    writeFileSync(
      join(folder, 'haproxy.cfg'),
      `global\n  maxconn ${Math.floor((descriptors() - HAPROXY_OWN) / 2)}\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h
frontend in\n  bind ${world.front.host}:${port}\n  default_backend out
backend out\n  server service ${world.back.host}:${service}\n`,
    )
  },
  start: async ({ world, folder }, group) => {
    group.start(world.front, [found('haproxy'), '-db', '-f', join(folder, 'haproxy.cfg')], { name: 'haproxy' })
  },
}

/** A self-signed certificate with its key, as separate files, as one, and as PKCS #12. */
async function certificate(folder: string): Promise<{ pair: string; cert: string; pkcs12: string }> {
  const [key, cert, pair, pkcs12] = ['key.pem', 'cert.pem', 'pair.pem', 'pair.p12'].map(name => join(folder, name))
  const here = { host: '', prefix: [] }
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '30']
  await output(here, ['openssl', 'req', '-x509', ...curve, ...name, '-keyout', key!, '-out', cert!])
  writeFileSync(pair!, readFileSync(key!, 'utf8') + readFileSync(cert!, 'utf8'), { mode: 0o600 })
  const password = ['-passout', 'pass:bench']
  await output(here, ['openssl', 'pkcs12', '-export', '-in', cert!, '-inkey', key!, '-out', pkcs12!, ...password])
  return { pair: pair!, cert: cert!, pkcs12: pkcs12! }
}

const floor: Contender = {
  id: 'floor',
  label: 'Bun’s floor',
  encryption: 'TLS 1.3, AES-128-GCM',
  setting: 'floor.ts: Bun’s sockets joined, a TLS connection for every visitor, and nothing of warren',
  programs: [],
  install: '',
  scenarios: ['bulk', 'ping'],
  version: async () => `Bun ${Bun.version}`,
  prepare: async ({ folder }) => {
    await certificate(folder)
  },
  start: async ({ world, folder, port, control, service }, group) => {
    const command = [process.execPath, new URL('./floor.ts', import.meta.url).pathname]
    const pair = join(folder, 'pair.pem')
    const inner = [world.front.host, String(control), world.back.host, String(service), 'in', pair]
    const outer = [world.front.host, String(port), world.front.host, String(control), 'out']
    group.start(world.front, [...command, ...inner], { name: 'in' })
    group.start(world.front, [...command, ...outer], { name: 'out' })
  },
}

const hop: Contender = {
  id: 'hop',
  label: 'Bun’s hop',
  encryption: 'none',
  setting: 'floor.ts once: one process from visitor to service, without TLS, tunnel and anything of warren',
  programs: [],
  install: '',
  scenarios: ['redis', 'connections'],
  version: async () => `Bun ${Bun.version}`,
  prepare: async () => {},
  start: async ({ world, port, service }, group) => {
    const command = [process.execPath, new URL('./floor.ts', import.meta.url).pathname]
    group.start(world.front, [...command, world.front.host, String(port), world.back.host, String(service)])
  },
}

const stunnel: Contender = {
  id: 'stunnel',
  label: 'stunnel pair',
  encryption: 'TLS 1.3, AES-256-GCM',
  setting: 'a TLS connection for every visitor',
  programs: ['stunnel4'],
  install: DEBIAN,
  version: () => firstLine([found('stunnel4'), '-version'], /stunnel \S+/),
  prepare: async ({ folder, world, port, control, service }) => {
    const { pair, cert } = await certificate(folder)
    const common = `foreground = yes\npid =\ndebug = 4\n`
    writeFileSync(
      join(folder, 'client.conf'),
      `${common}client = yes\nCAfile = ${cert}\nverifyPeer = yes
[out]\naccept = ${world.front.host}:${port}\nconnect = ${world.back.host}:${control}\n`,
    )
    writeFileSync(
      join(folder, 'server.conf'),
      `${common}cert = ${pair}\n[in]\naccept = ${world.back.host}:${control}\nconnect = ${world.back.host}:${service}\n`,
    )
  },
  start: async ({ world, folder }, group) => {
    group.start(world.back, [found('stunnel4'), join(folder, 'server.conf')], { name: 'server' })
    group.start(world.front, [found('stunnel4'), join(folder, 'client.conf')], { name: 'client' })
  },
}

const userName = () => Bun.spawnSync(['id', '-un']).stdout.toString().trim()

function ssh(id: string, label: string, cipher: string, options: string[]): Contender {
  return {
    id,
    label,
    encryption: cipher,
    setting: options.length === 0 ? 'default cipher' : `-c ${options.at(-1)}`,
    programs: ['sshd', 'ssh', 'ssh-keygen'],
    install: DEBIAN,
    version: () => firstLine([found('ssh'), '-V'], /OpenSSH_\S+?(?=,| )/),
    prepare: async ({ folder, world, control }) => {
      const here = { host: '', prefix: [] }
      for (const name of ['host', 'user'])
        await output(here, ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)])
      writeFileSync(
        join(folder, 'sshd_config'),
        `ListenAddress ${world.front.host}:${control}\nHostKey ${folder}/host\nAuthorizedKeysFile ${folder}/user.pub
StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nGatewayPorts clientspecified\nLogLevel ERROR\n`,
      )
      // sshd separates its privileges in this folder, which Debian makes when the service starts.
      mkdirSync('/run/sshd', { recursive: true })
    },
    start: async (setup, group) => {
      const { world, folder, control, port, service } = setup
      group.start(world.front, [found('sshd'), '-D', '-e', '-f', join(folder, 'sshd_config')], { name: 'sshd' })
      await listening(setup)
      const how = ['-F', 'none', '-i', join(folder, 'user'), '-o', 'StrictHostKeyChecking=no', '-o', 'LogLevel=ERROR']
      const known = ['-o', `UserKnownHostsFile=${folder}/known`, '-o', 'ExitOnForwardFailure=yes', '-N', '-T']
      const forward = `${world.front.host}:${port}:${world.back.host}:${service}`
      const to = ['-p', String(control), '-l', userName(), world.front.host]
      group.start(world.back, [found('ssh'), ...how, ...known, ...options, '-R', forward, ...to], { name: 'ssh' })
    },
  }
}

function rathole(id: string, label: string, tls: boolean): Contender {
  return {
    id,
    label,
    encryption: tls ? 'TLS (OpenSSL)' : null,
    setting: tls ? 'transport tls' : 'transport tcp (its default)',
    programs: ['rathole'],
    install: 'sh bench/setup.sh rathole',
    version: () => installed('rathole'),
    prepare: async ({ folder, world, port, control, service }) => {
      const { cert, pkcs12 } = await certificate(folder)
      const transport = (end: string, more: string) =>
        tls ? `[${end}.transport]\ntype = "tls"\n[${end}.transport.tls]\n${more}\n` : ''
      writeFileSync(
        join(folder, 'server.toml'),
        `[server]\nbind_addr = "${world.front.host}:${control}"\ndefault_token = "bench"
${transport('server', `pkcs12 = "${pkcs12}"\npkcs12_password = "bench"`)}[server.services.t]\nbind_addr = "${world.front.host}:${port}"\n`,
      )
      writeFileSync(
        join(folder, 'client.toml'),
        `[client]\nremote_addr = "${world.front.host}:${control}"\ndefault_token = "bench"
${transport('client', `trusted_root = "${cert}"\nhostname = "localhost"`)}[client.services.t]\nlocal_addr = "${world.back.host}:${service}"\n`,
      )
    },
    start: async (setup, group) => {
      const { world, folder } = setup
      const env = { RUST_LOG: 'error' }
      group.start(world.front, [found('rathole'), '--server', join(folder, 'server.toml')], { name: 'server', env })
      await listening(setup)
      group.start(world.back, [found('rathole'), '--client', join(folder, 'client.toml')], { name: 'client', env })
    },
  }
}

function frp(id: string, label: string, mux: boolean): Contender {
  return {
    id,
    label,
    encryption: 'TLS 1.3',
    setting: mux ? 'TLS and tcpMux (its defaults)' : 'TLS, tcpMux off: a connection for every visitor',
    programs: ['frps', 'frpc'],
    install: 'sh bench/setup.sh frp',
    version: () => installed('frp'),
    prepare: async ({ folder, world, port, control, service }) => {
      const common = `log.level = "error"\ntransport.tcpMux = ${mux}\n`
      writeFileSync(
        join(folder, 'frps.toml'),
        `bindAddr = "${world.front.host}"\nbindPort = ${control}\nproxyBindAddr = "${world.front.host}"\n${common}`,
      )
      writeFileSync(
        join(folder, 'frpc.toml'),
        `serverAddr = "${world.front.host}"\nserverPort = ${control}\n${common}
[[proxies]]\nname = "t"\ntype = "tcp"\nlocalIP = "${world.back.host}"\nlocalPort = ${service}\nremotePort = ${port}\n`,
      )
    },
    start: async (setup, group) => {
      const { world, folder } = setup
      group.start(world.front, [found('frps'), '-c', join(folder, 'frps.toml')], { name: 'frps' })
      await listening(setup)
      group.start(world.back, [found('frpc'), '-c', join(folder, 'frpc.toml')], { name: 'frpc' })
    },
  }
}

const chisel: Contender = {
  id: 'chisel',
  label: 'chisel',
  encryption: 'SSH over WebSocket',
  setting: 'defaults',
  programs: ['chisel'],
  install: 'sh bench/setup.sh chisel',
  version: () => installed('chisel'),
  prepare: nothing,
  start: async (setup, group) => {
    const { world, control, port, service } = setup
    const { host } = world.front
    group.start(world.front, [found('chisel'), 'server', '--host', host, '--port', String(control), '--reverse'], {
      name: 'server',
    })
    await listening(setup)
    const remote = `R:${host}:${port}:${world.back.host}:${service}`
    group.start(world.back, [found('chisel'), 'client', `http://${host}:${control}`, remote], { name: 'client' })
  },
}

/** bore has no flag for the port that its clients connect to. */
const BORE_CONTROL = 7835

const bore: Contender = {
  id: 'bore',
  label: 'bore',
  encryption: null,
  setting: 'defaults; a connection for every visitor',
  programs: ['bore'],
  install: 'sh bench/setup.sh bore',
  version: () => installed('bore'),
  prepare: nothing,
  start: async (setup, group) => {
    const { world, port, service } = setup
    const { host } = world.front
    const env = { RUST_LOG: 'error' }
    group.start(world.front, [found('bore'), 'server', '--bind-addr', host], { name: 'server', env })
    await listening({ ...setup, control: BORE_CONTROL })
    const local = ['local', String(service), '--local-host', world.back.host]
    group.start(world.back, [found('bore'), ...local, '--to', host, '--port', String(port)], { name: 'client', env })
  },
}

const named = (path: string | undefined): string | null => (path === undefined ? null : resolve(path))

/** Compiled for the bench, by this process alone, unless WARREN names one. */
let warrenProgram = named(process.env['WARREN'])
/** Another build, to be compared with it. */
const otherProgram = named(process.env['WARREN_B'])

export function warrenBinary(): string {
  if (warrenProgram !== null) return warrenProgram
  const outfile = join(mkdtempSync(join(tmpdir(), 'warren-bench-bin-')), 'warren')
  process.on('exit', () => rmSync(dirname(outfile), { recursive: true, force: true }))
  const script = new URL('../scripts/build.ts', import.meta.url).pathname
  const build = Bun.spawnSync([process.execPath, script, '--outfile', outfile], { stdout: 'ignore', stderr: 'pipe' })
  if (build.exitCode !== 0) throw new Error(`the build of warren failed: ${build.stderr.toString()}`)
  warrenProgram = outfile
  return outfile
}

function relayCommand(binary: string, { world, folder, control, port }: Setup, view: string): string[] {
  const { host } = world.front
  const places = ['--listen', `${host}:${control}`, '--ports', `${port}-${port}`, '--public-host', host, '--bind', host]
  return [binary, 'relay', ...places, '--state', join(folder, 'relay'), view]
}

function agentCommand(binary: string, { world, folder, service }: Setup, view: string): string[] {
  return [binary, 'tcp', `t=${world.back.host}:${service}`, '--state', join(folder, 'agent'), view]
}

function warren(id: string, label: string, binary: () => string): Contender {
  return {
    id,
    label,
    encryption: 'TLS 1.3, AES-128-GCM',
    setting: 'the compiled binary, defaults',
    programs: [],
    install: '',
    version: async () => `${(await output({ host: '', prefix: [] }, [binary(), '--version'])).trim()}`,
    // The agent enrols once; from then on it knows its relay, and the relay keeps its port.
    prepare: async setup => {
      const { world, folder } = setup
      for (const name of ['relay', 'agent']) mkdirSync(join(folder, name), { mode: 0o700 })
      const begin = (prefix: readonly string[], command: string[]) => {
        const child = Bun.spawn([...prefix, ...command], {
          stdin: 'ignore',
          stdout: 'pipe',
          stderr: 'ignore',
          cwd: folder,
        })
        leaveNone(child)
        return child
      }
      const relay = begin(world.front.prefix, relayCommand(binary(), setup, '--json'))
      const ready = await eventOf(relay.stdout, 'ready')
      const agent = begin(world.back.prefix, [...agentCommand(binary(), setup, '--json'), '--relay', ready.invite!])
      await eventOf(agent.stdout, 'tunnel')
      for (const child of [agent, relay]) {
        child.kill('SIGKILL')
        await child.exited
      }
    },
    start: async (setup, group) => {
      group.start(setup.world.front, relayCommand(binary(), setup, '--quiet'), { name: 'relay' })
      await listening(setup)
      group.start(setup.world.back, agentCommand(binary(), setup, '--quiet'), { name: 'agent' })
    },
  }
}

async function eventOf<Name extends Event['event']>(
  stream: ReadableStream<Uint8Array>,
  name: Name,
): Promise<Extract<Event, { event: Name }>> {
  for await (const line of lines(stream)) {
    const event = JSON.parse(line) as Event
    if (event.event === name) return event as Extract<Event, { event: Name }>
  }
  throw new Error(`warren ended without the event ${name}`)
}

export const CONTENDERS: readonly Contender[] = [
  warren('warren', 'warren', warrenBinary),
  ...(otherProgram === null ? [] : [warren('other', 'the other warren', () => otherProgram)]),
  direct,
  floor,
  hop,
  haproxy,
  stunnel,
  ssh('ssh', 'ssh -R', 'chacha20-poly1305', []),
  ssh('ssh-gcm', 'ssh -R aes128-gcm', 'aes128-gcm', ['-c', 'aes128-gcm@openssh.com']),
  rathole('rathole-tls', 'rathole TLS', true),
  rathole('rathole', 'rathole plain', false),
  frp('frp', 'frp', true),
  frp('frp-nomux', 'frp without mux', false),
  chisel,
  bore,
]

/** A folder for one setup; sshd and postgres refuse what others may write to. */
export function ownFolder(parent: string, name: string): string {
  const folder = join(parent, name)
  mkdirSync(folder, { recursive: true })
  chmodSync(folder, 0o755)
  return folder
}

export function setupFor(world: World, service: number, folder: string): Setup {
  return { world, service, port: freePort(), control: freePort(), folder }
}
