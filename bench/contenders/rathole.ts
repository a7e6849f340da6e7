// rathole.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { certificate } from './certificate.ts'
import { type Contender, found, installed, listening } from './contender.ts'

export function rathole(id: string, label: string, tls: boolean): Contender {
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
