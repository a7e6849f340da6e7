// `warren try`: the whole thing in one process, on loopback, with throw-away state.
import { mkdtempSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Local, parseLocal, type TunnelSpec } from '../config/index.ts'
import { WarrenError } from '../errors.ts'
import { jsonLine } from '../screen/index.ts'
import type { Emit } from '../telemetry/events.ts'
import { type Log, makeLog } from '../telemetry/log.ts'
import { leaf } from './command.ts'
import { viewFlags, viewOptions } from './flags.ts'
import { handledSignals, type Running, stay } from './running.ts'
import { stderr, stdout } from './streams.ts'
import { checkTunnel } from './try-check.ts'
import { servePage } from './try-page.ts'

const HOST = '127.0.0.1'

export const tryCommand = leaf({
  name: 'try',
  description: 'Try it: a relay and an agent in this one process, on loopback, leaving nothing behind',
  args: {
    local: {
      type: 'positional',
      valueHint: 'LOCAL',
      required: false,
      description: 'A service of yours: 5432, host:5432, [::1]:5432 or unix:/path [a small web page of its own]',
    },
    check: {
      type: 'boolean',
      description: 'Verify that the tunnel behaves like a direct connection, then exit 0 or 1',
    },
    ...viewFlags,
  },
  examples: [
    ['warren try', 'A built-in web page behind a tunnel; open the address that it shows.'],
    ['warren try 5432', 'Your PostgreSQL behind a tunnel, on this machine only.'],
    ['warren try --check', 'Bytes both ways with hashes, half-close, reset, refusal: one line for each.'],
  ],
  run: async args => {
    if (args.check && args.local !== undefined) {
      throw new WarrenError('W-USAGE', 'warren try --check brings its own service; leave LOCAL out')
    }
    if (args.check) {
      const { level } = viewOptions('agent', args)
      return check(
        args.json === true,
        args.quiet === true,
        makeLog(level ?? 'error', line => stderr.line(line), Date.now),
      )
    }

    const page = args.local === undefined ? servePage() : null
    try {
      const local: Local = page === null ? parseLocal(args.local ?? '') : { kind: 'tcp', host: HOST, port: page.port }
      const name = page === null ? 'try' : 'web'
      await stay(viewOptions('agent', args), view => startBoth([{ name, local, port: null }], view.emit, view.log))
    } finally {
      page?.stop()
    }
  },
})

async function check(json: boolean, quiet: boolean, log: Log): Promise<void> {
  // By default these end the process without a chance to remove the folder.
  for (const name of handledSignals()) process.once(name, () => process.exit(128 + constants.signals[name]))
  const start = (tunnels: TunnelSpec[], emit: Emit) => startBoth(tunnels, emit, log)
  const passed = await checkTunnel(start, finding => {
    if (quiet && finding.ok) return
    stdout.line(json ? jsonLine(finding) : `${finding.ok ? 'ok  ' : 'FAIL'}  ${finding.what}`)
  })
  if (!passed) throw new WarrenError('W-CHECK', 'the tunnel does not behave like a direct connection')
}

async function temporaryFolder(): Promise<string> {
  try {
    return mkdtempSync(join(tmpdir(), 'warren-try-'))
  } catch (thrown) {
    const { fileTrouble } = await import('../identity/index.ts')
    throw new WarrenError('W-STATE', `no folder can be made in ${tmpdir()}: ${fileTrouble(thrown)}`, {
      cause: thrown,
      todo: 'Set TMPDIR to a folder that is there and that this user may write to.',
    })
  }
}

/** A relay and an agent that know each other by a first invite, in a folder that goes with them. */
export async function startBoth(tunnels: TunnelSpec[], emit: Emit, log: Log): Promise<Running> {
  const { HOLDS, startRelay } = await import('../relay/index.ts')
  const { startAgent } = await import('../agent/index.ts')
  const folder = await temporaryFolder()
  const remove = () => rmSync(folder, { recursive: true, force: true })
  // Also when the process ends in a way of its own.
  process.once('exit', remove)

  const limits = { deadAfterMs: 5000, holdMs: 30_000, drainMs: 5000 }
  try {
    const relay = await startRelay(
      {
        listen: { host: HOST, port: 0 },
        ports: { from: 20000, to: 29999 },
        publicHost: HOST,
        bind: HOST,
        state: join(folder, 'relay'),
        invite: 'first-start',
        holds: HOLDS,
        ...limits,
      },
      () => {},
      log,
    )
    const agent = await startAgent(
      { tunnels, relay: relay.firstInvite, state: join(folder, 'agent'), name: 'try', ...limits },
      emit,
      log,
    )
    const closed = agent.closed.then(async error => {
      // Drained, because what the agent is done with may still be on its way to a visitor.
      await relay.drain()
      remove()
      return error
    })
    const stop = () => {
      agent.stop()
      relay.stop()
    }
    return { drain: () => agent.drain(), stop, traffic: () => agent.traffic(), closed }
  } catch (error) {
    remove()
    throw error
  }
}
