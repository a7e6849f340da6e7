// What a running relay or agent shows, chosen once at its start: a live screen on a terminal, JSON lines for a script,
// plain lines for everything else. All of them are fed by the same events and the same log.
import type { Emit, Event } from '../telemetry/events.ts'
import { type Level, type Log, makeLog } from '../telemetry/log.ts'
import { jsonLine } from './json.ts'
import { eventLine } from './lines.ts'
import { LiveScreen } from './live.ts'
import type { Measure } from './model.ts'
import type { Output } from './output.ts'
import type { Terminal } from './terminal.ts'

export type ViewOptions = {
  readonly role: 'agent' | 'relay'
  readonly version: string
  readonly json: boolean
  /** Errors only. */
  readonly quiet: boolean
  /** null: what fits the view. */
  readonly level: Level | 'silent' | null
}

export interface View {
  readonly emit: Emit
  readonly log: Log
  /** A paragraph for a person, once: not in JSON, not when quiet. */
  say(text: string): void
  /** Where a view that shows bytes while they move can ask for them. */
  watch(measure: () => Measure): void
  close(): void
}

export function openView(options: ViewOptions, out: Output, err: Output, terminal: Terminal | null): View {
  if (options.json) return jsonView(options, out, err)
  if (options.quiet || terminal === null) return plainView(options, out, err)
  return liveView(options, out, err, terminal)
}

function jsonView(options: ViewOptions, out: Output, err: Output): View {
  return {
    emit: event => out.line(jsonLine({ ...event, time: new Date().toISOString() })),
    log: logTo(err, options.level ?? (options.quiet ? 'error' : 'info')),
    say: () => {},
    watch: () => {},
    close: () => {},
  }
}

function plainView(options: ViewOptions, out: Output, err: Output): View {
  const level = options.level ?? (options.quiet ? 'error' : 'info')
  const events = logTo(out, level)
  return {
    emit: event => {
      const { level: own, message, fields } = eventLine(event)
      events[own](message, fields)
    },
    log: logTo(err, level),
    say: text => {
      if (!options.quiet) out.line(text)
    },
    watch: () => {},
    close: () => {},
  }
}

function liveView(options: ViewOptions, out: Output, err: Output, terminal: Terminal): View {
  const screen = new LiveScreen(options.role, options.version, terminal, out)
  // On the same terminal a log line would tear the screen; the screen itself tells what matters, so only warnings.
  const log = process.stderr.isTTY
    ? makeLog(options.level ?? 'warn', line => screen.print(`${line}\n`), Date.now)
    : logTo(err, options.level ?? 'info')
  return {
    emit: (event: Event) => screen.event(event),
    log,
    say: text => screen.print(`${text}\n`),
    watch: measure => screen.watch(measure),
    close: () => screen.close(),
  }
}

function logTo(output: Output, level: Level | 'silent'): Log {
  return makeLog(level, line => output.line(line), Date.now)
}
