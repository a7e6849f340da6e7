// `warren leases`: which key holds which public port.
import * as v from 'valibot'
import { parsePort } from '../config/index.ts'
import { formatSpan, jsonLine, table } from '../screen/index.ts'
import { group, leaf } from './command.ts'
import { jsonFlag, stateFlag } from './flags.ts'
import { stdout } from './streams.ts'

const list = leaf({
  name: 'list',
  description: 'List the public ports that are leased or rest in quarantine',
  args: { ...stateFlag, ...jsonFlag },
  examples: [
    ['warren leases list', 'Port, whose it is, and until when it rests while its agent is away.'],
    ['warren leases list --json | jq .port', 'One object a line.'],
  ],
  run: async args => {
    const { askRelay, leaseRow } = await import('./operator.ts')
    const leases = await askRelay(args.state, { do: 'leases' }, v.array(leaseRow))
    if (args.json) for (const lease of leases) stdout.line(jsonLine(lease))
    else if (leases.length === 0) stdout.line('No port is leased.')
    else {
      const rows = leases.map(lease => [
        String(lease.port),
        lease.state,
        lease.name === '' ? lease.fingerprint : lease.name,
        lease.service,
        rests(lease.restsUntil),
      ])
      stdout.line(table(['PORT', 'STATE', 'KEY', 'SERVICE', 'RESTS FOR'], rows))
    }
  },
})

const free = leaf({
  name: 'free',
  description: 'Free a public port at once, without its quarantine',
  args: {
    port: { type: 'positional', required: true, valueHint: 'PORT', description: 'The public port' },
    ...stateFlag,
  },
  examples: [
    ['warren leases free 20001', "Another key may have it from now on; the old one's visitors may meet a stranger."],
  ],
  run: async args => {
    const port = parsePort(args.port, 'PORT')
    const { askRelay } = await import('./operator.ts')
    await askRelay(args.state, { do: 'free', port }, v.unknown())
    stdout.line(`port ${port} is free`)
  },
})

export const leases = group({
  name: 'leases',
  description: 'List and free the public ports that the relay holds for its agents',
  commands: [list, free],
  examples: [
    ['warren leases list', 'Port, whose it is, and until when it rests while its agent is away.'],
    ['warren leases free 20001', 'At once, without its quarantine.'],
  ],
})

function rests(until: number | null): string {
  return until === null ? '' : formatSpan(Math.max(0, until - Date.now()))
}
