// What a contender is: how it is installed, prepared and started; and what most of them need for that.
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { reach } from '../load.ts'
import { freePort, type Group, program, ROOT, type World } from '../processes.ts'

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

/** Installs everything that Debian has. */
export const DEBIAN = 'sh bench/setup.sh debian'
const LISTEN_MS = 10_000
export const nothing = async () => {}

/** Its path; throws when it is not installed. */
export function found(name: string): string {
  const path = program(name)
  if (path === null) throw new Error(`${name} is not installed`)
  return path
}

/** One of its programs is. */
export function missing(contender: Contender): boolean {
  return contender.programs.some(name => program(name) === null)
}

/** What of a program’s words about itself is its version. */
export const firstLine = async (command: string[], match: RegExp) => {
  const child = Bun.spawnSync(command, { stdout: 'pipe', stderr: 'pipe' })
  return match.exec(child.stdout.toString() + child.stderr.toString())?.[0] ?? 'unknown'
}

/** What setup.sh wrote of a version that the program itself does not tell. */
export const installed = async (name: string) => {
  const file = join(ROOT, `${name}.version`)
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : name
}

/** Resolves when the control port takes connections. */
export const listening = ({ world, control }: Setup) =>
  reach(world.back, { host: world.front.host, port: control }, LISTEN_MS, new Uint8Array())

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
