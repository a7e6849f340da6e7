// `warren relay`: the process with the public address.
import { existsSync } from 'node:fs'
import { CONTROL_PORT, isHost, parseCount, parseHostPort, parsePorts } from '../config/index.ts'
import { WarrenError } from '../errors.ts'
import type { View } from '../screen/index.ts'
import { leaf } from './command.ts'
import { limitFlags, limitsOf, stateFlag, viewFlags, viewOptions } from './flags.ts'
import { joinText } from './invite.ts'
import { stay } from './running.ts'

export const relay = leaf({
  name: 'relay',
  description: 'Run a relay: the machine with the public address, that agents and visitors connect to',
  args: {
    listen: {
      type: 'string',
      valueHint: 'HOST:PORT',
      description: `Control address, that agents connect to [every address, port ${CONTROL_PORT}]`,
    },
    ports: { type: 'string', valueHint: 'A-B', default: '20000-29999', description: 'Public ports to give to agents' },
    'public-host': {
      type: 'string',
      valueHint: 'NAME',
      description:
        'Name or address that agents and visitors reach this machine by; it goes into every invite [the host of --listen, else the first address of this machine]',
    },
    bind: { type: 'string', valueHint: 'HOST', description: 'Address that public ports listen on [every address]' },
    ...limitFlags,
    'hold-sessions': {
      type: 'string',
      valueHint: 'N',
      default: '1024',
      description: 'Sessions held at once; beyond that one of the key with the most is given up',
    },
    'hold-memory': {
      type: 'string',
      valueHint: 'MIB',
      default: '256',
      description: 'MiB that held sessions may keep together',
    },
    ...stateFlag,
    ...viewFlags,
  },
  examples: [
    [
      'warren relay --public-host relay.example.com',
      'Control port 7000, public ports 20000-29999. The first start prints an invite.',
    ],
    [
      'warren relay --public-host relay.example.com --listen 0.0.0.0:443 --ports 5000-5099',
      'Another control port, and fewer public ones.',
    ],
    ['warren relay --listen 127.0.0.1:7000 --bind 127.0.0.1', 'On this machine only, to try it.'],
    [
      'warren relay --json --state /var/lib/warren',
      'As a service: events on standard output, the log on standard error.',
    ],
  ],
  run: async args => {
    const options = {
      listen: args.listen === undefined ? { host: everyAddress(), port: CONTROL_PORT } : parseListen(args.listen),
      ports: parsePorts(args.ports, '--ports'),
      publicHost: args['public-host'] === undefined ? null : parseHost(args['public-host'], '--public-host'),
      bind: args.bind === undefined ? everyAddress() : parseHost(args.bind, '--bind'),
      ...limitsOf(args),
      holds: {
        sessions: parseCount(args['hold-sessions'], '--hold-sessions', 0, 1_000_000),
        bytes: parseCount(args['hold-memory'], '--hold-memory', 0, 1_000_000) * 1024 * 1024,
      },
      invite: 'first-start',
    } as const
    const { startRelay } = await import('../relay/index.ts')
    const { stateFolder } = await import('../config/state.ts')
    const state = stateFolder('relay', args.state)
    await stay(
      viewOptions('relay', args),
      view => startRelay({ ...options, state }, view.emit, view.log),
      (running, view) => sayHowToJoin(view, running.firstInvite, args.state),
    )
  },
})

function sayHowToJoin(view: View, invite: string | null, state: string | undefined): void {
  if (invite !== null) view.say(joinText(invite, 1, '10m'))
  else
    view.say(`An agent joins with an invite; make one with: warren invite${state ? ` --state ${quoted(state)}` : ''}\n`)
}

/** As a shell takes it for one word. */
function quoted(word: string): string {
  return /^[\w./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

function parseListen(text: string): { host: string; port: number } {
  // 7000 and :7000 are a port alone.
  const [, port] = /^:?([0-9]+)$/.exec(text) ?? []
  return parseHostPort(
    port === undefined ? text : `${everyAddress() === '::' ? '[::]' : '0.0.0.0'}:${port}`,
    CONTROL_PORT,
    0,
  )
}

function parseHost(text: string, flag: string): string {
  const host = text.replace(/^\[(.*)\]$/, '$1')
  if (!isHost(host))
    throw new WarrenError('W-USAGE', `${flag}: '${text}' is not a host name or an address, without a port`)
  return host
}

/** Both families where the kernel has IPv6, which `::` means there; otherwise IPv4. */
function everyAddress(): '::' | '0.0.0.0' {
  return process.platform === 'linux' && !existsSync('/proc/net/if_inet6') ? '0.0.0.0' : '::'
}
