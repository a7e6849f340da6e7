// haproxy: one hop, in C, without encryption.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { descriptors } from '../processes.ts'
import { type Contender, DEBIAN, firstLine, found } from './contender.ts'

/** It refuses to start when it may not have two for each connection, and so many more. */
const HAPROXY_OWN = 200

export const haproxy: Contender = {
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
