// Flags that several commands share: how a running command shows itself, and where state lies.
import type { ViewOptions } from '../screen/index.ts'
import type { Level } from '../telemetry/log.ts'

// Not read-only, for citty.
const LEVELS: string[] = ['debug', 'info', 'warn', 'error', 'silent']

export const viewFlags = {
  json: {
    type: 'boolean',
    description: 'Events as one JSON object a line on standard output, the log on standard error',
  },
  quiet: { type: 'boolean', description: 'Say nothing but errors' },
  'log-level': {
    type: 'enum',
    options: LEVELS,
    valueHint: 'LEVEL',
    description: 'debug, info, warn, error or silent [info; warn on a live screen]',
  },
} as const

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
