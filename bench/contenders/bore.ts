// bore.
import { type Contender, found, installed, listening, nothing } from './contender.ts'

/** bore has no flag for the port that its clients connect to. */
const BORE_CONTROL = 7835

export const bore: Contender = {
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
