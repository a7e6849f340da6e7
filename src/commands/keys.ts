// `warren keys`: who may register with the relay.
import * as v from 'valibot'
import { WarrenError } from '../errors.ts'
import { formatSpan, jsonLine, table } from '../screen/index.ts'
import { escapeText } from '../telemetry/log.ts'
import { group, leaf } from './command.ts'
import { readFirstLine } from './first-line.ts'
import { jsonFlag, stateFlag } from './flags.ts'
import { stdout } from './streams.ts'

const who = {
  type: 'positional',
  required: true,
  valueHint: 'KEY',
  description: "A key's name, or its fingerprint SHA256:…",
} as const

const list = leaf({
  name: 'list',
  description: 'List the keys that the relay knows',
  args: { ...stateFlag, ...jsonFlag },
  examples: [
    ['warren keys list', 'Name, fingerprint, and when each was last seen.'],
    ['warren keys list --json | jq .name', 'One object a line.'],
  ],
  run: async args => {
    const { askRelay, keyRow } = await import('./operator.ts')
    const keys = await askRelay(args.state, { do: 'keys' }, v.array(keyRow))
    if (args.json) for (const key of keys) stdout.line(jsonLine(key))
    else if (keys.length === 0) stdout.line('No key is known yet. `warren invite` lets an agent join.')
    else {
      const rows = keys.map(key => [key.name, key.status, key.role, seen(key), key.fingerprint])
      stdout.line(table(['NAME', 'STATUS', 'ROLE', 'SEEN', 'FINGERPRINT'], rows))
    }
  },
})

const allow = leaf({
  name: 'allow',
  description: 'Allow a key without an invite, or again after it was revoked',
  args: {
    key: {
      type: 'positional',
      required: true,
      valueHint: 'KEY|FILE',
      description:
        "A public key line 'ssh-ed25519 AAAA… name', a file that holds one (FILE.pub, ./FILE), or a key that was revoked, by name or fingerprint",
    },
    name: { type: 'string', valueHint: 'NAME', description: "A name for it [the one it has, or the line's comment]" },
    ...stateFlag,
  },
  examples: [
    ["warren keys allow 'ssh-ed25519 AAAAC3Nza… laptop'", "The line of the agent's own .pub file."],
    ['warren keys allow agent.pub --name laptop', 'From a file, under another name.'],
    ['warren keys allow laptop', 'Again, after it was revoked.'],
  ],
  run: async args => {
    const { askRelay, namedKey } = await import('./operator.ts')
    const { looksLikeKeyLine } = await import('../identity/index.ts')
    const isFile = !looksLikeKeyLine(args.key) && looksLikePath(args.key)
    const key = isFile ? await readKeyFile(args.key) : args.key
    if (isFile && !looksLikeKeyLine(key)) {
      throw new WarrenError('W-USAGE', `there is no line 'ssh-ed25519 AAAA…' in ${args.key}`)
    }
    const allowed = await askRelay(args.state, { do: 'allow', key, name: args.name ?? null }, namedKey)
    stdout.line(`allowed ${escapeText(allowed.name)} ${escapeText(allowed.fingerprint)}`)
  },
})

const revoke = leaf({
  name: 'revoke',
  description: 'Revoke a key: its sessions end within a second, and it cannot come back',
  args: { key: who, ...stateFlag },
  examples: [
    ['warren keys revoke laptop', 'By its name.'],
    ['warren keys revoke SHA256:2nT5…', 'By its fingerprint.'],
  ],
  run: async args => {
    const { askRelay } = await import('./operator.ts')
    await askRelay(args.state, { do: 'revoke', who: args.key }, v.unknown())
    stdout.line(`revoked ${escapeText(args.key)}`)
  },
})

const rename = leaf({
  name: 'rename',
  description: 'Give a key another name',
  args: {
    key: who,
    name: { type: 'positional', required: true, valueHint: 'NAME', description: 'The new name' },
    ...stateFlag,
  },
  examples: [['warren keys rename laptop anna-laptop', 'Its leases and its sessions stay as they are.']],
  run: async args => {
    const { askRelay } = await import('./operator.ts')
    await askRelay(args.state, { do: 'rename', who: args.key, name: args.name }, v.unknown())
    stdout.line(`${escapeText(args.key)} is now ${escapeText(args.name)}`)
  },
})

export const keys = group({
  name: 'keys',
  description: 'List, allow, revoke and rename the keys that may register with the relay',
  commands: [list, allow, revoke, rename],
  examples: [
    ['warren keys list', 'Who may register, and when each was last seen.'],
    ['warren keys revoke laptop', 'Ends its sessions within a second.'],
  ],
})

function seen({ seenAt, sessions }: { seenAt: number | null; sessions: number }): string {
  if (sessions > 0) return 'now'
  return seenAt === null ? 'never' : `${formatSpan(Math.max(0, Date.now() - seenAt))} ago`
}

/** By its form alone: a file that somebody named like a key, in the folder of the day, must not let another key in. */
function looksLikePath(text: string): boolean {
  // A fingerprint may have slashes as well.
  return !text.startsWith('SHA256:') && (text.includes('/') || text.endsWith('.pub'))
}

async function readKeyFile(path: string): Promise<string> {
  try {
    return readFirstLine(path)
  } catch (error) {
    const { fileTrouble } = await import('../identity/index.ts')
    throw new WarrenError('W-USAGE', `'${path}' cannot be read: ${fileTrouble(error)}`, { cause: error })
  }
}
