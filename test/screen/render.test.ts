// The live screen as a function: events in, lines out.
import { describe, expect, test } from 'bun:test'
import { type Measure, type Model, newModel, reduce, tick } from '../../src/screen/model.ts'
import { render } from '../../src/screen/render.ts'
import type { Event } from '../../src/telemetry/events.ts'

const T0 = 1_000_000

/** Events one second apart; the model as it is after the last one. */
function after(role: 'agent' | 'relay', ...events: Event[]): Model {
  return events.reduce((model, event, at) => reduce(model, event, T0 + at * 1000), newModel(role, '1.2.3', T0))
}

function show(model: Model, width = 100, rows?: number): string {
  return render(model, width, false, rows).join('\n')
}

const relay = 'relay.example.com:7000'
const connecting: Event = { event: 'session', state: 'connecting', relay }
const connected: Event = { event: 'session', state: 'connected', relay, rtt: null }
const postgres: Event = { event: 'tunnel', name: '5432', address: 'relay.example.com:20001', local: 'localhost:5432' }
const ssh: Event = { event: 'tunnel', name: 'ssh', address: 'relay.example.com:2222', local: 'localhost:22' }
const down: Event = { event: 'local', state: 'down', name: '5432', local: 'localhost:5432', reason: 'ECONNREFUSED' }

function open(visitor: string, tunnel = '5432'): Event {
  return { event: 'stream', state: 'open', visitor, tunnel }
}

function closed(visitor: string, sent: number, received: number, end: 'fin' | 'refused' = 'fin'): Event {
  return { event: 'stream', state: 'closed', visitor, tunnel: '5432', sent, received, ms: 1500, end }
}

describe('an agent', () => {
  test('before its first session', () => {
    expect(show(newModel('agent', '1.2.3', T0))).toBe(`warren 1.2.3   Ctrl-C to stop

Session    starting`)
    expect(show(after('agent', connecting))).toBe(`warren 1.2.3   Ctrl-C to stop

Session    connecting to relay.example.com:7000`)
  })

  test('one tunnel, with the line to connect by', () => {
    expect(
      show(after('agent', connecting, connected, postgres, { event: 'rtt', rtt: 12.34 })),
    ).toBe(`warren 1.2.3   Ctrl-C to stop

Session    connected to relay.example.com:7000   12 ms away

Tunnel     relay.example.com:20001 → localhost:5432
           psql -h relay.example.com -p 20001
           0 open   0 in all   sent 0 B   received 0 B`)
  })

  test('two tunnels, a service that is down, visitors', () => {
    const model = after(
      'agent',
      connected,
      postgres,
      ssh,
      down,
      open('203.0.113.9:51514'),
      closed('203.0.113.9:51514', 0, 0, 'refused'),
      open('203.0.113.10:4711', 'ssh'),
    )
    expect(show(tick(model, null, T0 + 9000))).toBe(`warren 1.2.3   Ctrl-C to stop

Session    connected to relay.example.com:7000

Tunnel     relay.example.com:20001 → localhost:5432
           psql -h relay.example.com -p 20001
           ! localhost:5432: ECONNREFUSED; visitors are reset
           0 open   1 in all   sent 0 B   received 0 B

Tunnel     relay.example.com:2222 → localhost:22   ssh
           ssh -p 2222 relay.example.com
           1 open   1 in all   sent 0 B   received 0 B

Visitors   203.0.113.10:4711   ssh    open 3 s
           203.0.113.9:51514   5432   refused by the local service`)
    const reset: Event = { ...closed('203.0.113.10:4711', 8, 9), tunnel: 'ssh', end: 'reset' } as Event
    expect(show(reduce(model, reset, T0 + 9000))).toContain('ssh    reset   sent 8 B, received 9 B in 1.5 s\n')
  })

  test('a service that is down is told before there is a session, and gone when it answers', () => {
    // Nobody can be a visitor yet.
    expect(show(after('agent', connecting, down))).toEndWith('! localhost:5432: ECONNREFUSED')
    const up: Event = { event: 'local', state: 'up', name: '5432', local: 'localhost:5432', reason: '' }
    expect(show(after('agent', connecting, down, up))).not.toContain('!')
  })

  test('a lost session counts down, and goes on saying why while it tries', () => {
    const lost: Event = {
      event: 'session',
      state: 'lost',
      relay,
      code: 'W-RELAY-LOST',
      reason: 'silent for 5 s',
      retryInMs: 4200,
    }
    const model = after('agent', connected, postgres, lost)
    const head = 'warren 1.2.3   Ctrl-C to stop\n\nSession    no connection to relay.example.com:7000'
    expect(show(model)).toStartWith(`${head}   trying again in 5 s\n           silent for 5 s (W-RELAY-LOST)\n`)
    expect(show(tick(model, null, T0 + 9000))).toStartWith(`${head}   trying again\n`)
    expect(show(reduce(model, connecting, T0 + 9000))).toStartWith(`${head}   trying again\n`)
    expect(show(reduce(model, connected, T0 + 9000))).toContain('Session    connected to')
    expect(show({ ...model, stopped: true })).not.toContain('again')
  })

  test('held streams, resumed streams, streams that could not be held', () => {
    const held: Event = { event: 'session', state: 'held', relay, streams: 2, holdMs: 30_000, reason: 'silent for 5 s' }
    const model = after('agent', connected, held)
    expect(show(tick(model, null, T0 + 11_000))).toEndWith(
      'Session    link lost, holding 2 streams   20 s left\n           silent for 5 s; connecting to relay.example.com:7000 again',
    )
    expect(show({ ...model, stopped: true })).toEndWith('Session    ended   link lost: silent for 5 s')
    const resumed: Event = { event: 'session', state: 'resumed', relay, streams: 2, replayed: 9, afterMs: 3140 }
    expect(show(reduce(model, resumed, T0 + 4000))).toEndWith('   resumed after 3.1 s, 2 streams went on')
    const expired: Event = { event: 'session', state: 'expired', relay, streams: 2, reason: 'held for 30 s' }
    expect(show(reduce(model, expired, T0 + 31_000))).toContain(
      '! 2 open streams were reset: held for 30 s (W-RELAY-LOST)',
    )
  })

  test('refused, draining, stopped', () => {
    const refused: Event = { event: 'session', state: 'refused', relay, code: 'W-REFUSED', reason: 'not allowed' }
    expect(show(after('agent', refused))).toEndWith(
      'Session    refused by relay.example.com:7000\n           not allowed (W-REFUSED)',
    )
    const draining = after('agent', connected, { event: 'draining', streams: 1, graceMs: 30_000 })
    expect(show(tick(draining, null, T0 + 11_000))).toEndWith(
      'Stopping   waiting up to 20 s for 1 open stream   Ctrl-C again to stop at once',
    )
    expect(show(draining)).toStartWith('warren 1.2.3   stopping\n')
    expect(show({ ...draining, stopped: true })).toBe(
      'warren 1.2.3   stopped\n\nSession    ended   relay.example.com:7000',
    )
  })

  test('a warning stays for a minute', () => {
    const model = after('agent', connected, { event: 'warning', code: 'W-POOL-EMPTY', message: 'no port left' })
    expect(show(tick(model, null, T0 + 50_000))).toContain('! no port left (W-POOL-EMPTY)')
    expect(show(tick(model, null, T0 + 62_000))).not.toContain('no port left')
  })

  test.each([
    ['lost', 'W-RELAY-UNREACHABLE', 'no connection to'],
    ['lost', 'W-POOL-EMPTY', 'no public port from'],
    ['lost', 'W-REPLACED', 'another process has the place at'],
    ['lost', 'W-RELAY-GOODBYE', 'goodbye from'],
    ['refused', 'W-RELAY-CHANGED', 'not trusted:'],
    ['refused', 'W-NOT-WARREN', 'no warren relay at'],
  ] as const)('%s by %s says who did what', (state, code, what) => {
    const event: Event = { event: 'session', state, relay, code, reason: 'why', retryInMs: 0 }
    expect(show(after('agent', connected, event))).toContain(`Session    ${what} relay.example.com:7000`)
  })

  test('a break with nothing open is told, but not that nothing was held, went on or was reset', () => {
    const held: Event = { event: 'session', state: 'held', relay, streams: 0, holdMs: 30_000, reason: 'silent for 5 s' }
    const resumed: Event = { event: 'session', state: 'resumed', relay, streams: 0, replayed: 0, afterMs: 10 }
    const expired: Event = { event: 'session', state: 'expired', relay, streams: 0, reason: 'held for 30 s' }
    expect(show(after('agent', connected, held))).toEndWith(
      'Session    link lost\n           silent for 5 s; connecting to relay.example.com:7000 again',
    )
    expect(show(after('agent', connected, held, resumed))).toEndWith('connected to relay.example.com:7000')
    expect(show(after('agent', connected, held, expired))).not.toContain('!')
    expect(show(after('agent', connected, { ...expired, streams: 1 }))).toContain('! 1 open stream was reset: ')
  })

  test('a tunnel keeps its place when its address changes, and stays to say why it was closed, until it is open again', () => {
    const moved: Event = { ...postgres, address: 'relay.example.com:20009' }
    const model = after('agent', connected, postgres, ssh, moved)
    expect(model.tunnels.map(tunnel => tunnel.address)).toEqual(['relay.example.com:20009', 'relay.example.com:2222'])
    const gone: Event = { event: 'tunnel-closed', name: '5432', address: '', reason: 'taken over' }
    const closed = after('agent', connected, postgres, ssh, down, gone)
    expect(show(closed)).toContain(`Tunnel     relay.example.com:20001 → localhost:5432
           ! closed: taken over
           ! localhost:5432: ECONNREFUSED
           0 open`)
    expect(show(reduce(closed, postgres, T0))).not.toContain('taken over')
  })

  test('bytes of closed streams add up; of open ones they are told by a measure, and not counted twice', () => {
    const traffic = (model: Model) => model.tunnels[0]?.traffic
    const counted = after('agent', postgres, open('a:1'), closed('a:1', 10, 1), open('a:2'), closed('a:2', 5, 2))
    expect(traffic(counted)).toMatchObject({ open: 0, total: 2, sent: 15, received: 3 })

    const measure: Measure = new Map([['5432', { sent: 100, received: 50 }]])
    const measured = tick(after('agent', postgres, open('a:1')), measure, T0 + 2000)
    expect(traffic(reduce(measured, closed('a:1', 100, 50), T0 + 2100))).toMatchObject({
      open: 0,
      sent: 100,
      received: 50,
    })
  })

  test('rates are an average of the last seconds, and end', () => {
    const measured = (sent: number): Measure => new Map([['5432', { sent, received: 0 }]])
    let model = after('agent', connected, postgres)
    for (let second = 2; second <= 6; second++) {
      model = tick(model, measured(second * 1_000_000), T0 + second * 1000)
    }
    expect(show(model)).toEndWith('sent 6.0 MB, 1.0 MB/s   received 0 B')
    expect(show({ ...model, stopped: true })).toEndWith('sent 6.0 MB   received 0 B')
    for (let second = 7; second <= 10; second++) model = tick(model, measured(6_000_000), T0 + second * 1000)
    expect(show(model)).toContain('sent 6.0 MB   received 0 B')
  })

  test('the latest five visitors', () => {
    const events = [1, 2, 3, 4, 5, 6, 7].map(port => open(`v:${port}`))
    expect(after('agent', postgres, ...events).visits.map(visit => visit.visitor)).toEqual([
      'v:7',
      'v:6',
      'v:5',
      'v:4',
      'v:3',
    ])
    // The end of one that is no longer shown changes nothing of the others.
    const model = after('agent', postgres, ...events, closed('v:1', 1, 1))
    expect(model.visits.every(visit => visit.ended === null)).toBe(true)
    expect(model.traffic).toMatchObject({ open: 6, total: 7 })
  })
})

describe('a relay', () => {
  const ready: Event = {
    event: 'ready',
    control: 'relay.example.com:7000',
    ports: '20000-29999',
    fingerprint: 'SHA256:abc',
    invite: 'warren://secret',
  }
  const agent = (
    name: string,
    state: 'enrolled' | 'connected' | 'held' | 'resumed' | 'gone' | 'refused',
    from = '198.51.100.7:5123',
  ): Event => ({
    event: 'agent',
    state,
    key: `SHA256:${name}`,
    name,
    from,
  })

  test('nobody yet; the invite is not part of the screen, which would cut it', () => {
    expect(show(after('relay', ready))).toBe(`warren relay 1.2.3   Ctrl-C to stop

Control    relay.example.com:7000   public ports 20000-29999
Key        SHA256:abc

Agents     none
Tunnels    none
Streams    0 open   0 in all   sent 0 B   received 0 B`)
  })

  test('agents, tunnels, visitors', () => {
    const laptop: Event = {
      event: 'tunnel',
      name: '5432',
      address: 'relay.example.com:20001',
      local: 'laptop',
      key: 'x',
    }
    const model = after('relay', ready, agent('laptop', 'enrolled'), laptop, open('203.0.113.9:51514'))
    expect(show(model)).toBe(`warren relay 1.2.3   Ctrl-C to stop

Control    relay.example.com:7000   public ports 20000-29999
Key        SHA256:abc

Agents     laptop   from 198.51.100.7:5123   SHA256:laptop
Tunnels    relay.example.com:20001 → laptop   5432
Streams    1 open   1 in all   sent 0 B   received 0 B

Visitors   203.0.113.9:51514   5432   open 0 s`)
  })

  test('two agents may use one name for their tunnels, and one key may have two sessions', () => {
    const first: Event = { event: 'tunnel', name: 'web', address: 'r:1', local: 'a' }
    const second: Event = { event: 'tunnel', name: 'web', address: 'r:2', local: 'b' }
    const closedFirst: Event = { event: 'tunnel-closed', name: 'web', address: 'r:1', reason: 'gone' }
    expect(after('relay', first, second, closedFirst).tunnels.map(tunnel => tunnel.address)).toEqual(['r:2'])

    const twice = after(
      'relay',
      agent('a', 'connected', 'x:1'),
      agent('a', 'connected', 'x:2'),
      agent('a', 'gone', 'x:1'),
    )
    expect(twice.agents.map(one => one.from)).toEqual(['x:2'])
    expect(after('relay', agent('a', 'refused')).agents).toEqual([])
  })

  test('an agent that was refused is told, and whoever sent anything else is not', () => {
    const refused: Event = { ...agent('a', 'refused'), reason: 'the invite is spent' } as Event
    expect(show(after('relay', ready, refused))).toContain('! refused 198.51.100.7:5123: the invite is spent\n')
    expect(show(after('relay', ready, { ...refused, key: '' } as Event))).not.toContain('!')
  })

  test('bytes of open streams are told by a measure of all tunnels, and not counted twice', () => {
    const measured = tick(after('relay', ready, open('a:1')), new Map([['', { sent: 100, received: 50 }]]), T0 + 2000)
    expect(show(measured)).toContain('1 open   1 in all   sent 100 B   received 50 B')
    expect(reduce(measured, closed('a:1', 100, 50), T0 + 2100).traffic).toMatchObject({
      open: 0,
      sent: 100,
      received: 50,
    })
  })

  test('an agent whose link broke is told so, and comes back from another address', () => {
    const held: Event = { ...agent('a', 'held', 'x:1'), streams: 3 } as Event
    expect(show(after('relay', ready, agent('a', 'connected', 'x:1'), held))).toContain(
      'Agents     a   from x:1   link lost, 3 streams held   SHA256:a',
    )
    const back = { ...agent('a', 'resumed', 'y:9'), was: 'x:1' } as Event
    const addresses = (...events: Event[]) => after('relay', ...events).agents.map(one => one.from)
    expect(addresses(agent('a', 'connected', 'x:1'), agent('a', 'connected', 'x:2'), held, back)).toEqual([
      'x:2',
      'y:9',
    ])
    // Of two that are held it is not just any one.
    const both = [agent('a', 'held', 'x:2'), agent('a', 'held', 'x:1')]
    expect(addresses(...both, back)).toEqual(['x:2', 'y:9'])
    // The relay may learn of the break only by the agent that is back.
    expect(addresses(agent('a', 'connected', 'x:1'), back)).toEqual(['y:9'])
    expect(addresses(agent('a', 'connected', 'x:1'), held, agent('a', 'gone', 'x:1'))).toEqual([])
  })

  test('long lists are cut', () => {
    const many = Array.from({ length: 20 }, (_, at) => agent(`a${at}`, 'connected', `x:${at}`))
    expect(show(after('relay', ready, ...many))).toContain('           and 12 more')
  })
})

describe('any screen', () => {
  const model = after(
    'agent',
    connected,
    postgres,
    ssh,
    down,
    open('203.0.113.9:51514'),
    closed('203.0.113.9:51514', 1e9, 1e9),
    { event: 'warning', code: 'W-POOL-EMPTY', message: '世界 '.repeat(40) },
  )

  test('no line is wider than the terminal, and no frame taller', () => {
    for (let width = 1; width <= 120; width++) {
      for (const line of render(model, width, true, 6)) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(width)
      for (const line of render(model, width, true)) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(width)
    }
    for (let rows = 1; rows <= 30; rows++) expect(render(model, 80, true, rows).length).toBeLessThanOrEqual(rows)
  })

  test('in a low terminal what is wrong and every address stay longest', () => {
    const whole = show(model).split('\n')
    expect(show(model, 100, whole.length)).toBe(whole.join('\n'))
    const withoutVisitors = show(model, 100, whole.length - 1)
    expect(withoutVisitors).toEndWith('received 0 B')
    const least = show(model, 100, withoutVisitors.split('\n').length - 1)
    expect(least.replace(/世界.*/u, '…')).toBe(`warren 1.2.3   Ctrl-C to stop

Session    connected to relay.example.com:7000

           ! …

Tunnel     relay.example.com:20001 → localhost:5432
           ! localhost:5432: ECONNREFUSED; visitors are reset
Tunnel     relay.example.com:2222 → localhost:22   ssh`)
    expect(show(model, 100, 8)).toEndWith('20001 → localhost:5432\n… 2 more lines')
  })

  test('colours change nothing but the colours', () => {
    expect(render(model, 100, true).map(Bun.stripANSI)).toEqual(render(model, 100, false))
    expect(render(model, 100, false).join('')).not.toContain('\x1b')
  })

  test('what others chose cannot break out of its line', () => {
    const evil = '\x1b[2J\r\n\u202e'
    const events: Event[] = [
      { event: 'session', state: 'refused', relay: evil, code: 'W-REFUSED', reason: evil },
      { event: 'tunnel', name: evil, address: evil, local: evil },
      { event: 'local', state: 'down', name: evil, local: evil, reason: evil },
      { event: 'stream', state: 'open', visitor: evil, tunnel: evil },
      { event: 'warning', code: 'W-REFUSED', message: evil },
    ]
    for (const line of render(after('agent', ...events), 200, false)) expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    const onRelay: Event[] = [
      { event: 'ready', control: evil, ports: evil, fingerprint: evil, invite: null },
      { event: 'agent', state: 'connected', key: evil, name: evil, from: evil },
      ...events,
    ]
    for (const line of render(after('relay', ...onRelay), 200, false)) expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  })
})
