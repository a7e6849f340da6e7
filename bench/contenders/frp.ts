// frp.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Contender, found, installed, listening } from './contender.ts'

export function frp(id: string, label: string, mux: boolean): Contender {
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
