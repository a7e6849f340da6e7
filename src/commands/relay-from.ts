// Where an agent learns its relay from: --relay, --relay-file, standard input, WARREN_RELAY, or what it remembers.
import { readFileSync, readSync } from 'node:fs'
import { CONTROL_PORT, parseHostPort } from '../config/index.ts'
import { WarrenError } from '../errors.ts'

export const relayFlags = {
  relay: {
    type: 'string',
    valueHint: 'RELAY',
    description:
      'An invite, HOST:PORT of a relay met before, or - to read it from standard input [WARREN_RELAY, or the relay used last]',
  },
  'relay-file': { type: 'string', valueHint: 'FILE', description: 'A file that holds the invite' },
} as const

type RelayFlags = { relay?: string | undefined; 'relay-file'?: string | undefined }

/** No invite is longer. */
const MOST_BYTES = 4096

/** An invite or HOST:PORT; null for the one that the state folder remembers. */
export async function relayFrom(
  flags: RelayFlags,
  env: string | undefined = process.env['WARREN_RELAY'],
): Promise<string | null> {
  const { relay } = flags
  const file = flags['relay-file']
  if (relay !== undefined && file !== undefined) {
    throw new WarrenError('W-USAGE', '--relay and --relay-file are two ways to say the same; give one')
  }
  if (file !== undefined) return checked(readFirstLine(file, '--relay-file'), false)
  if (relay === '-') return checked(readFirstLine(0, '--relay -'), false)
  if (relay !== undefined) return checked(relay, true)
  return env ? checked(env.trim(), false) : null
}

/** Reads it once, so that what is damaged is refused before anything starts. */
async function checked(text: string, onCommandLine: boolean): Promise<string> {
  const { looksLikeInvite, parseInvite } = await import('../identity/index.ts')
  // With one of these it was meant to be an invite: its damage is told, and nothing of it repeated.
  if (!looksLikeInvite(text) && !/#|:\/\//.test(text)) {
    parseHostPort(text, CONTROL_PORT)
    return text
  }
  if (parseInvite(text).shared && onCommandLine) {
    throw new WarrenError('W-INVITE-SHARED', 'this invite is for several uses, and a command line is no place for it')
  }
  return text
}

function readFirstLine(source: string | 0, flag: string): string {
  let text: string
  try {
    text = source === 0 ? readInput() : readFileSync(source, 'utf8')
  } catch (error) {
    throw new WarrenError('W-USAGE', `${flag}: cannot be read: ${error instanceof Error ? error.message : error}`)
  }
  const line = text
    .slice(0, MOST_BYTES)
    .split('\n')
    .find(one => one.trim() !== '')
  if (line === undefined) throw new WarrenError('W-USAGE', `${flag}: there is no invite in it`)
  return line.trim()
}

/** Standard input up to the first line end: at a terminal, nobody types an end of file after an invite. */
function readInput(): string {
  const buffer = Buffer.alloc(MOST_BYTES)
  let length = 0
  while (length < buffer.length) {
    const count = readSync(0, buffer, length, buffer.length - length, null)
    length += count
    if (count === 0) break
    if (/\S[^\n]*\n/.test(buffer.subarray(0, length).toString('latin1'))) break
  }
  return buffer.subarray(0, length).toString('utf8')
}
