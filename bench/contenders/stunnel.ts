// stunnel, one at each end: a TLS connection for every visitor.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { certificate } from './certificate.ts'
import { type Contender, DEBIAN, firstLine, found } from './contender.ts'

export const stunnel: Contender = {
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
