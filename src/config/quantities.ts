// Numbers as a person writes them in flags: durations (`10m`), port ranges (`20000-29999`), counts (`5`). The caller says
// which flag it reads, so that an error names it.
import { WarrenError } from '../errors.ts'
import { readPort } from './address.ts'

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
/** setTimeout takes no more (2^31−1 ms, 24.8 days): a longer one would fire at once. */
const LONGEST = 24 * UNITS.d

/** Milliseconds of `500ms`, `30s`, `10m`, `1h30m`, `7d`, or `0`. */
export function parseDuration(text: string, flag: string, least = 0, most: number = LONGEST): number {
  const parts = [...text.matchAll(/([0-9]{1,9})(ms|s|m|h|d)/g)]
  const read = parts.map(part => part[0]).join('')
  if (text !== '0' && (text === '' || read !== text)) {
    const hint = /^[0-9]+$/.test(text) ? `: give it a unit, ${text}s or ${text}m` : ', like 30s, 10m or 1h30m'
    throw new WarrenError('W-USAGE', `${flag}: '${text}' is not a duration${hint}`)
  }
  const ms = parts.reduce((sum, part) => sum + Number(part[1]) * UNITS[part[2] as keyof typeof UNITS], 0)
  if (ms < least) throw new WarrenError('W-USAGE', `${flag}: ${text} is too short, at least ${formatDuration(least)}`)
  if (ms > most) throw new WarrenError('W-USAGE', `${flag}: ${text} is too long, at most ${formatDuration(most)}`)
  return ms
}

/** The same, back: `90000` is `1m30s`. */
export function formatDuration(ms: number): string {
  let rest = Math.round(ms)
  let text = ''
  for (const unit of ['d', 'h', 'm', 's', 'ms'] as const) {
    const count = Math.floor(rest / UNITS[unit])
    if (count > 0) text += `${count}${unit}`
    rest -= count * UNITS[unit]
  }
  return text === '' ? '0s' : text
}

/** `20000-29999`, both ends included, or a single port. */
export function parsePorts(text: string, flag: string): { from: number; to: number } {
  const [first = '', last = first, ...more] = text.split('-')
  const from = readPort(first)
  const to = readPort(last)
  if (from === null || to === null || more.length > 0) {
    throw new WarrenError('W-USAGE', `${flag}: '${text}' is not a range of ports, like 20000-29999`)
  }
  if (from > to) throw new WarrenError('W-USAGE', `${flag}: ${text} runs backwards, write ${to}-${from}`)
  return { from, to }
}

export function parsePort(text: string, flag: string): number {
  const port = readPort(text)
  if (port === null) throw new WarrenError('W-USAGE', `${flag}: '${text}' is not a port, a number from 1 to 65535`)
  return port
}

export function parseCount(text: string, flag: string, least: number, most: number): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (!(count >= least && count <= most)) {
    throw new WarrenError('W-USAGE', `${flag}: '${text}' is not a number from ${least} to ${most}`)
  }
  return count
}
