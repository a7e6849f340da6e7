// One frame of the live screen, as lines: a pure function of the model, the terminal's size and whether colours may be used.
// What does not fit goes in the order of what a person misses least: visitors, then how much went where, then the rest.
import type { Code } from '../errors.ts'
import type { StreamEnd } from '../telemetry/events.ts'
import { clientLine } from './client.ts'
import { formatBytes, formatRate, formatSpan } from './format.ts'
import { type Model, rates, type Traffic, type Tunnel, type Visit } from './model.ts'
import { type Piece, paint } from './paint.ts'

type Line = readonly Piece[]

/** Where values start, behind their labels. */
const INDENT = 11
/** A relay shows this many of its agents and of its tunnels; in a low terminal, so many. */
const MOST_LISTED = 8
const FEW_LISTED = 3

/** `least`: no visitors, and one line a tunnel but for what is wrong with it. */
type Detail = 'all' | 'no visitors' | 'least'
const DETAILS: readonly Detail[] = ['all', 'no visitors', 'least']

/** At most `rows` lines of `width` columns. */
export function render(model: Model, width: number, color: boolean, rows = Number.POSITIVE_INFINITY): string[] {
  let lines: Line[] = []
  for (const detail of DETAILS) {
    const body = model.role === 'agent' ? agentLines(model, detail) : relayLines(model, detail)
    lines = [titleLine(model), [], ...body]
    if (lines.length <= rows) break
  }
  if (lines.length > rows) {
    const shown = Math.max(0, rows - 1)
    lines.splice(shown, lines.length, [['dim', `… ${lines.length - shown} more lines`]])
  }
  return lines.map(line => paint(line, width, color))
}

function titleLine(model: Model): Line {
  const name = model.role === 'relay' ? 'warren relay' : 'warren'
  return [
    ['bold', name],
    [
      'dim',
      ` ${model.version}   ${model.stopped ? 'stopped' : model.draining !== null ? 'stopping' : 'Ctrl-C to stop'}`,
    ],
  ]
}

function agentLines(model: Model, detail: Detail): Line[] {
  const lines: Line[] = [...sessionLines(model), ...noticeLines(model)]
  const many = model.tunnels.length > 1
  if (detail === 'least') lines.push([])
  for (const tunnel of model.tunnels) {
    if (detail !== 'least') lines.push([])
    lines.push(...tunnelLines(model, tunnel, detail))
  }
  for (const [name, down] of model.down) {
    if (!model.tunnels.some(tunnel => tunnel.name === name)) lines.push([], downLine(down, ''))
  }
  return detail === 'all' ? [...lines, ...visitLines(model, many)] : lines
}

/** How long the screen tells that a session was resumed. */
const RESUMED_NEWS_MS = 60_000

function streamsOf(count: number): string {
  return count === 1 ? '1 stream' : `${count} streams`
}

/** What stands before the relay's address when there is no session, where 'no connection to' would not be so. */
const LOST: Partial<Record<Code, string>> = {
  'W-POOL-EMPTY': 'no public port from',
  'W-PORT-TAKEN': 'no public port from',
  'W-PORT-RANGE': 'no public port from',
  'W-RELAY-BUSY': 'no room at',
  'W-RELAY-GOODBYE': 'goodbye from',
  'W-REPLACED': 'another process has the place at',
}
const REFUSED: Partial<Record<Code, string>> = {
  'W-RELAY-CHANGED': 'not trusted:',
  'W-RELAY-UNKNOWN': 'not trusted:',
  'W-NOT-WARREN': 'no warren relay at',
  'W-VERSION': 'another version at',
}

function sessionLines({ session, now, stopped }: Model): Line[] {
  switch (session.state) {
    case 'starting':
      return [row('Session', ['yellow', 'starting'])]
    case 'connecting':
      if (stopped) return [row('Session', ['plain', 'ended'], ['dim', `   ${session.relay}`])]
      return [row('Session', ['yellow', `connecting to ${session.relay}`])]
    case 'connected': {
      if (stopped) return [row('Session', ['plain', 'ended'], ['dim', `   ${session.relay}`])]
      const rtt = session.rtt === null ? '' : `   ${formatSpan(session.rtt)} away`
      const { resumed } = session
      const news =
        resumed !== null && resumed.streams > 0 && now - resumed.at < RESUMED_NEWS_MS
          ? `   resumed after ${(resumed.afterMs / 1000).toFixed(1)} s, ${streamsOf(resumed.streams)} went on`
          : ''
      return [row('Session', ['green', 'connected'], ['plain', ` to ${session.relay}`], ['dim', rtt], ['green', news])]
    }
    case 'held': {
      const left = Math.ceil(Math.max(0, session.until - now) / 1000)
      const { streams } = session
      if (stopped) return [row('Session', ['plain', 'ended'], ['dim', `   link lost: ${session.reason}`])]
      return [
        streams === 0
          ? row('Session', ['yellow', 'link lost'])
          : row('Session', ['yellow', `link lost, holding ${streamsOf(streams)}`], ['plain', `   ${left} s left`]),
        row('', ['dim', `${session.reason}; connecting to ${session.relay} again`]),
      ]
    }
    case 'lost': {
      const wait = Math.ceil(Math.max(0, session.retryAt - now) / 1000)
      const next = wait > 0 ? `trying again in ${wait} s` : 'trying again'
      return [
        row(
          'Session',
          ['red', `${LOST[session.code] ?? 'no connection to'} ${session.relay}`],
          ['yellow', stopped ? '' : `   ${next}`],
        ),
        row('', ['dim', `${session.reason} (${session.code})`]),
      ]
    }
    case 'refused':
      return [
        row('Session', ['red', `${REFUSED[session.code] ?? 'refused by'} ${session.relay}`]),
        row('', ['plain', `${session.reason} (${session.code})`]),
      ]
  }
}

function tunnelLines(model: Model, tunnel: Tunnel, detail: Detail): Line[] {
  // The address stays this key's while the session is away, but nobody answers there for now.
  const reachable = model.session.state === 'connected' && tunnel.closed === null && !model.stopped
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
  if (client !== null && tunnel.closed === null && detail !== 'least')
    lines.push(row('', [reachable ? 'cyan' : 'dim', client]))
  if (tunnel.closed !== null) lines.push(row('', ['yellow', `! closed: ${tunnel.closed}`]))
  const down = model.down.get(tunnel.name)
  if (down !== undefined) lines.push(downLine(down, reachable ? '; visitors are reset' : ''))
  if (detail !== 'least') lines.push(row('', ...trafficPieces(tunnel.traffic, model.stopped)))
  return lines
}

function downLine({ local, reason }: { local: string; reason: string }, outcome: string): Line {
  return row('', ['yellow', `! ${local}: ${reason === '' ? 'no answer' : reason}${outcome}`])
}

/** Without rates once it has `stopped`. */
function trafficPieces(traffic: Traffic, stopped: boolean): Piece[] {
  const { sent, received } = stopped ? { sent: 0, received: 0 } : rates(traffic)
  return [
    [traffic.open > 0 ? 'green' : 'dim', `${traffic.open} open`],
    ['dim', `   ${traffic.total} in all`],
    ['dim', `   sent ${formatBytes(traffic.sent)}`],
    ['plain', sent >= 1 ? `, ${formatRate(sent)}` : ''],
    ['dim', `   received ${formatBytes(traffic.received)}`],
    ['plain', received >= 1 ? `, ${formatRate(received)}` : ''],
  ]
}

function relayLines(model: Model, detail: Detail): Line[] {
  const most = detail === 'least' ? FEW_LISTED : MOST_LISTED
  if (model.relay === null) return [row('Control', ['yellow', 'starting']), ...noticeLines(model)]
  const { control, ports, fingerprint } = model.relay
  return [
    row('Control', ['green', control], ['dim', `   public ports ${ports}`]),
    row('Key', ['plain', fingerprint]),
    ...noticeLines(model),
    [],
    ...list('Agents', model.agents, most, agent => [
      ['plain', agent.name],
      ['dim', `   from ${agent.from}`],
      ['yellow', agent.held === null ? '' : `   link lost, ${streamsOf(agent.held)} held`],
      ['dim', `   ${agent.key}`],
    ]),
    ...list('Tunnels', model.tunnels, most, tunnel => [
      ['bold', tunnel.address],
      ['dim', ' → '],
      ['plain', tunnel.local],
      ['dim', `   ${tunnel.name}`],
    ]),
    row('Streams', ...trafficPieces(model.traffic, model.stopped)),
    ...(detail === 'all' ? visitLines(model, true) : []),
  ]
}

function list<T>(label: string, items: readonly T[], most: number, show: (item: T) => Piece[]): Line[] {
  if (items.length === 0) return [row(label, ['dim', 'none'])]
  const lines = items.slice(0, most).map((item, index) => row(index === 0 ? label : '', ...show(item)))
  const more = items.length - most
  return more > 0 ? [...lines, row('', ['dim', `and ${more} more`])] : lines
}

function noticeLines(model: Model): Line[] {
  const lines: Line[] = []
  if (model.warning !== null) {
    const { message, code } = model.warning
    lines.push([], row('', ['yellow', `! ${message}${code === null ? '' : ` (${code})`}`]))
  }
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
  const name = Math.max(...model.visits.map(visit => Bun.stringWidth(visit.tunnel)))
  const lines = model.visits.map((visit, index) =>
    row(
      index === 0 ? 'Visitors' : '',
      ['plain', visit.visitor.padEnd(column)],
      ['dim', many ? `   ${visit.tunnel.padEnd(name)}` : ''],
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
  if (end === 'fin') return [['dim', moved]]
  // What went wrong says more than how much went before, which a narrow terminal cuts.
  return [
    ['yellow', `   ${ENDS[end]}`],
    ['dim', sent === 0 && received === 0 ? '' : moved],
  ]
}

function row(label: string, ...pieces: Piece[]): Line {
  return [['dim', label.padEnd(INDENT)], ...pieces]
}
