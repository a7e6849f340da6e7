// `warren invite`: lets one more agent join.
import { parseCount, parseDuration } from '../config/index.ts'
import { jsonLine } from '../screen/index.ts'
import { leaf } from './command.ts'
import { jsonFlag, stateFlag } from './flags.ts'
import { stdout } from './streams.ts'

export const invite = leaf({
  name: 'invite',
  description: 'Make an invite on the relay: the one line that lets a new agent join',
  args: {
    ttl: { type: 'string', valueHint: 'TIME', default: '10m', description: 'How long it may wait to be used' },
    uses: { type: 'string', valueHint: 'N', default: '1', description: 'How many agents may join by it' },
    ...stateFlag,
    ...jsonFlag,
  },
  examples: [
    ['warren invite', 'For one agent, within ten minutes.'],
    ['warren invite --ttl 1d --uses 20 > invite', 'For twenty; they take it by --relay-file, never on a command line.'],
    ['ssh relay.example.com warren invite | warren tcp 5432 --relay -', 'Straight to the agent, seen by nobody.'],
  ],
  run: async args => {
    const ttlMs = parseDuration(args.ttl, '--ttl', 1000)
    const uses = parseCount(args.uses, '--uses', 1, 10_000)
    const { askRelay, invited } = await import('./operator.ts')
    const made = await askRelay(args.state, { do: 'invite', ttlMs, uses, role: 'agent' }, invited)
    if (args.json) stdout.line(jsonLine({ ...made, uses }))
    else if (process.stdout.isTTY) stdout.write(joinText(made.invite, uses, args.ttl))
    else stdout.line(made.invite)
  },
})

/** What a person does with an invite; no line of it but the invite's own is wider than a terminal of 80 columns. */
export function joinText(invite: string, uses: number, ttl: string): string {
  const good = `${uses === 1 ? 'One agent joins' : `${uses} agents join`} with this line, within ${ttl};`
  return uses === 1
    ? `${good}\nrun it beside the service (5432 is its port):\n\n  warren tcp 5432 --relay '${invite}'\n`
    : `${invite}\n\n${good}\nrun it beside the service, from a file:\n\n  warren tcp 5432 --relay-file FILE\n`
}
