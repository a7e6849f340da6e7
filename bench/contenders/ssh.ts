// OpenSSH: `ssh -R`.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { output } from '../processes.ts'
import { type Contender, DEBIAN, firstLine, found, listening } from './contender.ts'

const userName = () => Bun.spawnSync(['id', '-un']).stdout.toString().trim()

export function ssh(id: string, label: string, cipher: string, options: string[]): Contender {
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
