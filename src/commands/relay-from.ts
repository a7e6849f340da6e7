// Where an agent learns its relay from: --relay, --relay-file, standard input, WARREN_RELAY, or what it remembers.
import { isatty } from 'node:tty'
import { CONTROL_PORT, parseHostPort } from '../config/index.ts'
import { WarrenError } from '../errors.ts'
import { readFirstLine } from './first-line.ts'
import { stderr } from './streams.ts'

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
  if (file !== undefined) return checked(await readInvite(file, '--relay-file'), false)
  if (relay === '-') return checked(await readInvite(0, '--relay -'), false)
  if (relay !== undefined) return checked(relay, true)
  const own = env?.trim()
  return own ? checked(own, false) : null
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

async function readInvite(source: string | 0, flag: string): Promise<string> {
  // Whoever sits there would see a program that does nothing. It has to be on the screen before the read, which blocks.
  if (source === 0 && isatty(0)) {
    stderr.line('Paste the invite, then press Enter:')
    await stderr.flush()
  }
  let line: string
  try {
    line = readFirstLine(source)
  } catch (error) {
    const { fileTrouble } = await import('../identity/index.ts')
    const what = source === 0 ? flag : `${flag}: '${source}'`
    throw new WarrenError('W-USAGE', `${what} cannot be read: ${fileTrouble(error)}`, { cause: error })
  }
  if (line === '') throw new WarrenError('W-USAGE', `${flag}: there is no invite in it`)
  return line
}
