// Flags that several commands share: how a running command shows itself, how long it waits, and where state lies.
import { parseDuration } from '../config/index.ts'
import type { ViewOptions } from '../screen/index.ts'
import type { Level } from '../telemetry/log.ts'

// Not read-only, for citty.
const LEVELS: string[] = ['debug', 'info', 'warn', 'error', 'silent']

export const viewFlags = {
  json: {
    type: 'boolean',
    description: 'Events as one JSON object a line on standard output, the log on standard error',
  },
  quiet: { type: 'boolean', description: 'Say nothing but errors; the events of --json come all the same' },
  'log-level': {
    type: 'enum',
    options: LEVELS,
    valueHint: 'LEVEL',
    description: 'debug, info, warn, error or silent [info; warn on a live screen]',
  },
} as const

/** How long relay and agent wait for each other, and for streams at their end. */
export const limitFlags = {
  'dead-after': { type: 'string', valueHint: 'TIME', default: '5s', description: 'Give up a session silent this long' },
  hold: {
    type: 'string',
    valueHint: 'TIME',
    default: '30s',
    description: 'How long open streams outlive a broken link; 0 turns it off',
  },
  drain: { type: 'string', valueHint: 'TIME', default: '30s', description: 'What open streams get at the end' },
} as const

type LimitFlags = { 'dead-after': string; hold: string; drain: string }

/** In ms. Throws W-USAGE. */
export function limitsOf(flags: LimitFlags): { deadAfterMs: number; holdMs: number; drainMs: number } {
  return {
    deadAfterMs: parseDuration(flags['dead-after'], '--dead-after', 1000, 600_000),
    holdMs: parseDuration(flags.hold, '--hold'),
    drainMs: parseDuration(flags.drain, '--drain'),
  }
}

export const stateFlag = {
  state: {
    type: 'string',
    valueHint: 'DIR',
    description: 'State folder [WARREN_STATE, or else warren in the XDG state folder]',
  },
} as const

export const jsonFlag = {
  json: { type: 'boolean', description: 'Print JSON, for scripts' },
} as const

type ViewFlags = { json?: boolean | undefined; quiet?: boolean | undefined; 'log-level'?: string | undefined }

export function viewOptions(role: 'agent' | 'relay', flags: ViewFlags): Omit<ViewOptions, 'version'> {
  return {
    role,
    json: flags.json === true,
    quiet: flags.quiet === true,
    // Checked against the flag's own list before the command runs.
    level: (flags['log-level'] as Level | 'silent' | undefined) ?? null,
  }
}
