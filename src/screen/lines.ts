// Events as plain log lines, for what is not a terminal: a file, a pipe, a journal.
import type { Event } from '../telemetry/events.ts'
import type { Fields, Level } from '../telemetry/log.ts'
import { clientLine } from './client.ts'

export type EventLine = { readonly level: Level; readonly message: string; readonly fields: Fields }

export function eventLine(event: Event): EventLine {
  switch (event.event) {
    case 'ready':
      return line('info', 'relay ready', { control: event.control, ports: event.ports, fingerprint: event.fingerprint })
    case 'session':
      return sessionLine(event)
    case 'rtt':
      return line('debug', 'round trip', { ms: event.rtt })
    case 'tunnel': {
      const { name, address, local, key } = event
      const client = clientLine(event)
      return line('info', 'tunnel open', {
        name,
        address,
        local,
        ...(key === undefined ? {} : { key }),
        ...(client === null ? {} : { client }),
      })
    }
    case 'tunnel-closed':
      return line('info', 'tunnel closed', { name: event.name, address: event.address, reason: event.reason })
    case 'local': {
      const { name, local, reason, code } = event
      return event.state === 'down'
        ? line('warn', 'local service does not answer', {
            name,
            local,
            reason,
            ...(code === undefined ? {} : { code }),
          })
        : line('info', 'local service answers', { name, local })
    }
    case 'stream':
      return streamLine(event)
    case 'agent': {
      const { event: _, state, ...fields } = event
      return line(state === 'refused' ? 'warn' : 'info', `agent ${state}`, fields)
    }
    case 'draining':
      return line('info', 'draining', { streams: event.streams, graceMs: event.graceMs })
    case 'warning':
      return line('warn', event.message, { code: event.code })
  }
}

function sessionLine(event: Event & { event: 'session' }): EventLine {
  const { state, relay } = event
  switch (state) {
    case 'connecting':
      return line('info', 'session connecting', { relay })
    case 'connected':
      return line('info', 'session connected', { relay, ...(event.rtt === null ? {} : { rtt: event.rtt }) })
    case 'lost': {
      const { code, reason, retryInMs } = event
      return line('warn', 'session lost', { relay, code, reason, retryInMs: Math.round(retryInMs) })
    }
    case 'held':
      return line('warn', 'link lost, streams held', {
        relay,
        streams: event.streams,
        holdMs: event.holdMs,
        reason: event.reason,
      })
    case 'resumed': {
      const { streams, replayed, afterMs } = event
      return line('info', 'session resumed', { relay, streams, replayed, afterMs })
    }
    case 'expired':
      return line('warn', 'held streams reset', { relay, streams: event.streams, reason: event.reason })
    case 'refused':
      // The report at the end says the same; with --quiet it is the only one.
      return line('warn', 'session refused', { relay, code: event.code, reason: event.reason })
  }
}

function streamLine(event: Event & { event: 'stream' }): EventLine {
  const { visitor, tunnel } = event
  if (event.state === 'open') return line('info', 'stream open', { visitor, tunnel })
  const { sent, received, ms, end } = event
  return line('info', 'stream closed', { visitor, tunnel, sent, received, ms: Math.round(ms), end })
}

function line(level: Level, message: string, fields: Fields): EventLine {
  return { level, message, fields }
}
