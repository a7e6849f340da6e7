// One frame of the live screen, as lines: a pure function of the model, the width and whether colours may be used.
import type { StreamEnd } from '../telemetry/events.ts'
import { clientLine } from './client.ts'
import { formatBytes, formatRate, formatSpan } from './format.ts'
import { type Model, rates, type Session, type Traffic, type Tunnel, type Visit } from './model.ts'
import { type Piece, paint } from './paint.ts'

type Line = readonly Piece[]

/** Where values start, behind their labels. */
const INDENT = 11
/** A relay shows this many of its agents and of its tunnels. */
const MOST_LISTED = 8

export function render(model: Model, width: number, color: boolean): string[] {
  const body = model.role === 'agent' ? agentLines(model) : relayLines(model)
  return [titleLine(model), [], ...body].map(line => paint(line, width, color))
}

function titleLine(model: Model): Line {
  const name = model.role === 'relay' ? 'warren relay' : 'warren'
  return [
    ['bold', name],
    ['dim', ` ${model.version}   ${model.stopped ? 'stopped' : 'Ctrl-C to stop'}`],
  ]
}

function agentLines(model: Model): Line[] {
  const lines: Line[] = sessionLines(model.session, model.now)
  const many = model.tunnels.length > 1
  for (const tunnel of model.tunnels) lines.push([], ...tunnelLines(model, tunnel))
  for (const [name, { local, reason }] of model.down) {
    if (!model.tunnels.some(tunnel => tunnel.name === name)) lines.push([], downLine(local, reason))
  }
  return [...lines, ...noticeLines(model), ...visitLines(model, many)]
}

/** How long the screen tells that a session was resumed. */
const RESUMED_NEWS_MS = 60_000

function streamsOf(count: number): string {
  return count === 1 ? '1 stream' : `${count} streams`
}

function sessionLines(session: Session, now: number): Line[] {
  switch (session.state) {
    case 'starting':
      return [row('Session', ['yellow', 'starting'])]
    case 'connecting':
      return [row('Session', ['yellow', `connecting to ${session.relay}`])]
    case 'connected': {
      const rtt = session.rtt === null ? '' : `   ${formatSpan(session.rtt)} away`
      const { resumed } = session
      const news =
        resumed !== null && now - resumed.at < RESUMED_NEWS_MS
          ? `   resumed after ${(resumed.afterMs / 1000).toFixed(1)} s, ${streamsOf(resumed.streams)} went on`
          : ''
      return [row('Session', ['green', 'connected'], ['plain', ` to ${session.relay}`], ['dim', rtt], ['green', news])]
    }
    case 'held': {
      const left = Math.ceil(Math.max(0, session.until - now) / 1000)
      return [
        row('Session', ['yellow', `link lost, holding ${streamsOf(session.streams)}`], ['plain', `   ${left} s left`]),
        row('', ['dim', `${session.reason}; connecting to ${session.relay} again`]),
      ]
    }
    case 'lost': {
      const wait = Math.ceil(Math.max(0, session.retryAt - now) / 1000)
      const next = wait > 0 ? `trying again in ${wait} s` : 'trying again'
      return [
        row('Session', ['red', `no connection to ${session.relay}`], ['yellow', `   ${next}`]),
        row('', ['dim', `${session.reason} (${session.code})`]),
      ]
    }
    case 'refused':
      return [
        row('Session', ['red', `refused by ${session.relay}`]),
        row('', ['plain', `${session.reason} (${session.code})`]),
      ]
  }
}

function tunnelLines(model: Model, tunnel: Tunnel): Line[] {
  // The address stays this key's while the session is away, but nobody answers there for now.
  const reachable = model.session.state === 'connected'
  // A name that only repeats the port says nothing.
  const named = !tunnel.local.endsWith(`:${tunnel.name}`)
  const lines: Line[] = [
    row(
      'Tunnel',
      [reachable ? 'bold' : 'dim', tunnel.address],
      ['dim', ' → '],
      ['plain', tunnel.local],
      ['dim', named ? `   ${tunnel.name}` : ''],
    ),
  ]
  const client = clientLine(tunnel)
  if (client !== null) lines.push(row('', [reachable ? 'cyan' : 'dim', client]))
  const down = model.down.get(tunnel.name)
  if (down !== undefined) lines.push(downLine(down.local, down.reason))
  lines.push(row('', ...trafficPieces(tunnel.traffic)))
  return lines
}

function downLine(local: string, reason: string): Line {
  const what = `! ${local} does not answer: visitors are reset until it does`
  return row('', ['yellow', what], ['dim', reason === '' ? '' : `   ${reason}`])
}

function trafficPieces(traffic: Traffic): Piece[] {
  const { sent, received } = rates(traffic)
  const moving = sent >= 1 || received >= 1
  return [
    [traffic.open > 0 ? 'green' : 'dim', `${traffic.open} open`],
    ['dim', `   ${traffic.total} in all`],
    ['dim', `   sent ${formatBytes(traffic.sent)}`],
    ['plain', moving ? `, ${formatRate(sent)}` : ''],
    ['dim', `   received ${formatBytes(traffic.received)}`],
    ['plain', moving ? `, ${formatRate(received)}` : ''],
  ]
}

function relayLines(model: Model): Line[] {
  if (model.relay === null) return [row('Control', ['yellow', 'starting']), ...noticeLines(model)]
  const { control, ports, fingerprint } = model.relay
  return [
    row('Control', ['green', control], ['dim', `   public ports ${ports}`]),
    row('Key', ['plain', fingerprint]),
    [],
    ...list('Agents', model.agents, agent => [
      ['plain', agent.name],
      ['dim', `   from ${agent.from}`],
      ['yellow', agent.held === null ? '' : `   link lost, ${streamsOf(agent.held)} held`],
      ['dim', `   ${agent.key}`],
    ]),
    ...list('Tunnels', model.tunnels, tunnel => [
      ['bold', tunnel.address],
      ['dim', ' → '],
      ['plain', tunnel.local],
      ['dim', `   ${tunnel.name}`],
    ]),
    row('Streams', ...trafficPieces(model.traffic)),
    ...noticeLines(model),
    ...visitLines(model, true),
  ]
}

function list<T>(label: string, items: readonly T[], show: (item: T) => Piece[]): Line[] {
  if (items.length === 0) return [row(label, ['dim', 'none'])]
  const lines = items.slice(0, MOST_LISTED).map((item, index) => row(index === 0 ? label : '', ...show(item)))
  const more = items.length - MOST_LISTED
  return more > 0 ? [...lines, row('', ['dim', `and ${more} more`])] : lines
}

function noticeLines(model: Model): Line[] {
  const lines: Line[] = []
  if (model.warning !== null) lines.push([], row('', ['yellow', `! ${model.warning.message} (${model.warning.code})`]))
  if (model.draining !== null && !model.stopped) {
    const { streams, until } = model.draining
    const left = Math.ceil(Math.max(0, until - model.now) / 1000)
    const what = `waiting up to ${left} s for ${streams} open ${streams === 1 ? 'stream' : 'streams'}`
    lines.push([], row('Stopping', ['yellow', what], ['dim', '   Ctrl-C again to stop at once']))
  }
  return lines
}

function visitLines(model: Model, many: boolean): Line[] {
  if (model.visits.length === 0) return []
  const column = Math.max(...model.visits.map(visit => Bun.stringWidth(visit.visitor)))
  const lines = model.visits.map((visit, index) =>
    row(
      index === 0 ? 'Visitors' : '',
      ['plain', visit.visitor.padEnd(column)],
      ['dim', many ? `   ${visit.tunnel}` : ''],
      ...visitPieces(visit, model.now),
    ),
  )
  return [[], ...lines]
}

const ENDS: Record<StreamEnd, string> = {
  fin: '',
  reset: 'reset',
  refused: 'refused by the local service',
  timeout: 'the local service did not answer in time',
  unreachable: 'the local service is unreachable',
  limit: 'out of file descriptors here',
  busy: 'turned away: too much at once',
  denied: 'not allowed',
  lost: 'reset: the session was lost',
}

function visitPieces(visit: Visit, now: number): Piece[] {
  if (visit.ended === null) {
    const seconds = Math.floor((now - visit.since) / 1000)
    return [['green', seconds < 120 ? `   open ${seconds} s` : `   open ${formatSpan(seconds * 1000)}`]]
  }
  const { end, sent, received, ms } = visit.ended
  const moved = `   sent ${formatBytes(sent)}, received ${formatBytes(received)} in ${formatSpan(ms)}`
  return end === 'fin'
    ? [['dim', moved]]
    : [
        ['dim', moved],
        ['yellow', `   ${ENDS[end]}`],
      ]
}

function row(label: string, ...pieces: Piece[]): Line {
  return [['dim', label.padEnd(INDENT)], ...pieces]
}
