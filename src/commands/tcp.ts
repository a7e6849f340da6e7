// `warren tcp`: the process beside the service.
import { hostname } from 'node:os'
import { parseName, parsePort, parseTunnel, type TunnelSpec } from '../config/index.ts'
import { WarrenError } from '../errors.ts'
import { leaf } from './command.ts'
import { limitFlags, limitsOf, stateFlag, viewFlags, viewOptions } from './flags.ts'
import { relayFlags, relayFrom } from './relay-from.ts'
import { stay } from './running.ts'

export const tcp = leaf({
  name: 'tcp',
  description: 'Expose TCP services of this machine or its network at public addresses of a relay',
  args: {
    local: {
      type: 'positional',
      required: true,
      valueHint: 'LOCAL',
      description:
        'The service: 5432, host:5432, [::1]:5432 or unix:/path; with a name and a public port, ssh=22@20022',
    },
    ...relayFlags,
    port: { type: 'string', valueHint: 'N', description: 'Public port of a single service [the one it had, else any]' },
    name: { type: 'string', valueHint: 'NAME', description: 'Name of a single service [its local port or file]' },
    ...limitFlags,
    ...stateFlag,
    ...viewFlags,
  },
  repeats: true,
  examples: [
    [
      "warren tcp 5432 --relay 'warren://relay.example.com:7000/#…'",
      'The first time, with the invite that the relay printed: PostgreSQL, at a public port of the relay.',
    ],
    ['warren tcp 5432', 'From then on: the same relay, the same public address.'],
    ['warren tcp 5432 6379 ssh=22@20022', 'Three services at once; ssh at public port 20022.'],
    ['warren tcp 192.168.1.20:3306 --name shop', "Another machine's MySQL, under a name of its own."],
    ['warren tcp unix:/var/run/postgresql/.s.PGSQL.5432', 'A unix socket.'],
    ['ssh relay.example.com warren invite | warren tcp 5432 --relay -', 'The invite on standard input.'],
  ],
  run: async args => {
    const tunnels = tunnelsOf(args._, args.port, args.name)
    const limits = limitsOf(args)
    const relay = await relayFrom(args)
    const { startAgent } = await import('../agent/index.ts')
    const { stateFolder } = await import('../config/state.ts')
    const state = stateFolder('agent', args.state)
    await stay(viewOptions('agent', args), view =>
      startAgent({ tunnels, relay, state, name: hostname(), ...limits }, view.emit, view.log),
    )
  },
})

/** All tunnels of one command line; --port and --name are for a single one. */
export function tunnelsOf(locals: readonly string[], port: string | undefined, name: string | undefined): TunnelSpec[] {
  const tunnels = locals.map(parseTunnel)
  const [first, ...others] = tunnels
  if (first === undefined) throw new WarrenError('W-USAGE', 'warren tcp: LOCAL is missing')
  if (port !== undefined || name !== undefined) {
    const flag = port !== undefined ? '--port' : '--name'
    const form = port !== undefined ? '5432@20001' : 'db=5432'
    if (others.length > 0) {
      throw new WarrenError('W-USAGE', `${flag} is for a single service; with several, write ${form}`)
    }
    if (port !== undefined && first.port !== null) throw new WarrenError('W-USAGE', 'the public port is given twice')
    if (name !== undefined && locals[0]?.includes('=')) throw new WarrenError('W-USAGE', 'the name is given twice')
  }
  if (port !== undefined) first.port = parsePort(port, '--port')
  if (name !== undefined) first.name = parseName(name)

  const twice = tunnels.findIndex((one, at) => tunnels.findIndex(other => other.name === one.name) < at)
  if (twice !== -1) {
    const name = tunnels[twice]?.name
    const service = locals[twice]?.replace(/^[^=:/[\]]*=/, '')
    throw new WarrenError('W-USAGE', `two services are named '${name}'; give one another name, like other=${service}`)
  }
  const both = tunnels.find((one, at) => one.port !== null && tunnels.findIndex(other => other.port === one.port) < at)
  if (both !== undefined) throw new WarrenError('W-USAGE', `two services ask for public port ${both.port}`)
  return tunnels
}
