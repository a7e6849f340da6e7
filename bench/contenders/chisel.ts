// chisel.
import { type Contender, found, installed, listening, nothing } from './contender.ts'

export const chisel: Contender = {
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
