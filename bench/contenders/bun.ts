// What Bun’s sockets alone can do: the least that a tunnel on Bun takes.
import { join } from 'node:path'
import { certificate } from './certificate.ts'
import { type Contender, nothing } from './contender.ts'

const COMMAND = [process.execPath, new URL('../floor.ts', import.meta.url).pathname]
const version = async () => `Bun ${Bun.version}`

export const floor: Contender = {
  id: 'floor',
  label: 'Bun’s floor',
  encryption: 'TLS 1.3, AES-128-GCM',
  setting: 'floor.ts: Bun’s sockets joined, a TLS connection for every visitor, and nothing of warren',
  programs: [],
  install: '',
  scenarios: ['bulk', 'ping'],
  version,
  prepare: async ({ folder }) => {
    await certificate(folder)
  },
  start: async ({ world, folder, port, control, service }, group) => {
    const pair = join(folder, 'pair.pem')
    const inner = [world.front.host, String(control), world.back.host, String(service), 'in', pair]
    const outer = [world.front.host, String(port), world.front.host, String(control), 'out']
    group.start(world.front, [...COMMAND, ...inner], { name: 'in' })
    group.start(world.front, [...COMMAND, ...outer], { name: 'out' })
  },
}

export const hop: Contender = {
  id: 'hop',
  label: 'Bun’s hop',
  encryption: null,
  setting: 'floor.ts once: one process from visitor to service, without TLS, tunnel and anything of warren',
  programs: [],
  install: '',
  scenarios: ['redis', 'connections'],
  version,
  prepare: nothing,
  start: async ({ world, port, service }, group) => {
    group.start(world.front, [...COMMAND, world.front.host, String(port), world.back.host, String(service)])
  },
}

export const hops: Contender = {
  id: 'hops',
  label: 'Bun’s two hops',
  encryption: null,
  setting: 'floor.ts twice in a row: two processes, as a tunnel has, without TLS, a session and anything of warren',
  programs: [],
  install: '',
  scenarios: ['redis', 'connections'],
  version,
  prepare: nothing,
  start: async ({ world, port, control, service }, group) => {
    const inner = [world.front.host, String(control), world.back.host, String(service)]
    const outer = [world.front.host, String(port), world.front.host, String(control)]
    group.start(world.front, [...COMMAND, ...inner], { name: 'in' })
    group.start(world.front, [...COMMAND, ...outer], { name: 'out' })
  },
}
