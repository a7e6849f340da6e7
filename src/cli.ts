// The command line: finds the command, runs it, and turns whatever ends it into one line, what to do, and a status.
import { runCommand } from 'citty'
import { dispatch, type Group, group } from './commands/command.ts'
import { completionFor } from './commands/completion.ts'
import { helpText } from './commands/help.ts'
import { invite } from './commands/invite.ts'
import { keys } from './commands/keys.ts'
import { leases } from './commands/leases.ts'
import { relay } from './commands/relay.ts'
import { exit, settle, stderr, stdout } from './commands/streams.ts'
import { tcp } from './commands/tcp.ts'
import { tryCommand } from './commands/try.ts'
import { version } from './commands/version.ts'
import { asWarrenError, EXIT } from './errors.ts'
import { escapeText } from './telemetry/log.ts'

const root: Group = group({
  name: 'warren',
  description: 'Expose a TCP service behind a NAT or firewall through a relay with a public address',
  commands: [tcp, relay, tryCommand, invite, keys, leases, completionFor(() => root)],
  examples: [
    ['warren relay --public-host relay.example.com', 'On the machine with the public address; prints an invite.'],
    ["warren tcp 5432 --relay 'warren://relay.example.com:7000/#…'", 'Beside the database, with that invite.'],
    ['psql -h relay.example.com -p 20001', 'Anywhere.'],
    ['warren try', 'All of it on this machine alone, to see it work.'],
  ],
})

async function main(args: string[]): Promise<number> {
  const found = dispatch(root, args)
  switch (found.kind) {
    case 'version':
      stdout.line(`warren ${version}`)
      return EXIT.ok
    case 'help': {
      const { columns, isTTY } = found.asked ? process.stdout : process.stderr
      // A terminal that nobody told its size says 0.
      const text = helpText(
        found.path,
        columns || 80,
        isTTY && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb',
      )
      const output = found.asked ? stdout : stderr
      output.line(text)
      return found.asked ? EXIT.ok : EXIT.usage
    }
    case 'run':
      await runCommand(found.command.citty, { rawArgs: found.rest })
      return EXIT.ok
  }
}

/** `warren: W-CODE what happened`, and what to do. */
async function report(thrown: unknown): Promise<number> {
  // The last frame of a screen stands above its error, also where the two streams are one terminal.
  await settle()
  const error = asWarrenError(thrown)
  stderr.line(`warren: ${error.code} ${escapeText(error.message)}`)
  stderr.line(`  ${error.todo}`)
  const debug = process.argv.some(
    (word, at) => word === '--log-level=debug' || (word === 'debug' && process.argv[at - 1] === '--log-level'),
  )
  if (debug && thrown instanceof Error && error.code === 'W-INTERNAL')
    stderr.line(escapeText(thrown.stack ?? '').replaceAll('\\n', '\n'))
  return error.entry.exit || EXIT.failed
}

// What nobody caught ends the process: by now its state is unknown. Once: if reporting it throws again, nothing can.
let ending = false
function end(thrown: unknown): void {
  if (ending) return
  ending = true
  void report(thrown).then(exit)
}
process.on('uncaughtException', end)
process.on('unhandledRejection', end)

await exit(await main(process.argv.slice(2)).catch(report))
