// warren itself: the compiled binary, and another build of it to be compared with.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { Event } from '../../src/telemetry/events.ts'
import { leaveNone, lines } from '../../test/oracle/process.ts'
import { output } from '../processes.ts'
import { type Contender, listening, type Setup } from './contender.ts'

const ENROL_MS = 20_000

const named = (path: string | undefined): string | null => (path === undefined ? null : resolve(path))

/** Compiled for the bench, by this process alone, unless WARREN names one. */
let warrenProgram = named(process.env['WARREN'])
/** Another build, to be compared with it. */
const otherProgram = named(process.env['WARREN_B'])

export function warrenBinary(): string {
  if (warrenProgram !== null) return warrenProgram
  const outfile = join(mkdtempSync(join(tmpdir(), 'warren-bench-bin-')), 'warren')
  process.on('exit', () => rmSync(dirname(outfile), { recursive: true, force: true }))
  const script = new URL('../../scripts/build.ts', import.meta.url).pathname
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
    setting: 'the compiled binary, --quiet: nobody here logs connections',
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
      const begun: Bun.Subprocess[] = []
      // An event that does not come ends with the process that does not send it.
      const late = setTimeout(() => begun.forEach(kill), ENROL_MS)
      try {
        const relay = begin(world.front.prefix, relayCommand(binary(), setup, '--json'))
        begun.push(relay)
        const ready = await eventOf(relay.stdout, 'ready')
        const agent = begin(world.back.prefix, [...agentCommand(binary(), setup, '--json'), '--relay', ready.invite!])
        begun.push(agent)
        await eventOf(agent.stdout, 'tunnel')
      } finally {
        clearTimeout(late)
        begun.forEach(kill)
        await Promise.all(begun.map(child => child.exited))
      }
    },
    start: async (setup, group) => {
      group.start(setup.world.front, relayCommand(binary(), setup, '--quiet'), { name: 'relay' })
      await listening(setup)
      group.start(setup.world.back, agentCommand(binary(), setup, '--quiet'), { name: 'agent' })
    },
  }
}

function kill(child: Bun.Subprocess): void {
  child.kill('SIGKILL')
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

export const WARRENS: readonly Contender[] = [
  warren('warren', 'warren', warrenBinary),
  ...(otherProgram === null ? [] : [warren('other', 'the other warren', () => otherProgram)]),
]
