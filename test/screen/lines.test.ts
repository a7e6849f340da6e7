import { expect, test } from 'bun:test'
import { eventLine } from '../../src/screen/lines.ts'
import type { Event } from '../../src/telemetry/events.ts'
import { formatLine } from '../../src/telemetry/log.ts'

const NOON = Date.parse('2026-11-20T12:00:00.000Z')

test.each<[Event, string]>([
  [
    { event: 'ready', control: 'r:7000', ports: '20000-29999', fingerprint: 'SHA256:x', invite: 'warren://secret' },
    'info relay ready control=r:7000 ports=20000-29999 fingerprint=SHA256:x',
  ],
  [{ event: 'session', state: 'connecting', relay: 'r:7000' }, 'info session connecting relay=r:7000'],
  [{ event: 'session', state: 'connected', relay: 'r:7000', rtt: null }, 'info session connected relay=r:7000'],
  [
    {
      event: 'session',
      state: 'lost',
      relay: 'r:7000',
      code: 'W-RELAY-LOST',
      reason: 'silent for 5 s',
      retryInMs: 99.6,
    },
    'warn session lost relay=r:7000 code=W-RELAY-LOST reason="silent for 5 s" retryInMs=100',
  ],
  [
    { event: 'session', state: 'refused', relay: 'r:7000', code: 'W-REFUSED', reason: 'no' },
    'warn session refused relay=r:7000 code=W-REFUSED reason=no',
  ],
  [
    { event: 'session', state: 'held', relay: 'r:7000', streams: 2, holdMs: 30_000, reason: 'silent' },
    'warn link lost, streams held relay=r:7000 streams=2 holdMs=30000 reason=silent',
  ],
  [
    { event: 'session', state: 'resumed', relay: 'r:7000', streams: 2, replayed: 9, afterMs: 3140 },
    'info session resumed relay=r:7000 streams=2 replayed=9 afterMs=3140',
  ],
  [
    { event: 'session', state: 'expired', relay: 'r:7000', streams: 2, reason: 'too late' },
    'warn held streams reset relay=r:7000 streams=2 reason="too late"',
  ],
  [{ event: 'rtt', rtt: 1.2 }, 'debug round trip ms=1.2'],
  [
    { event: 'tunnel', name: '5432', address: 'r:20001', local: 'localhost:5432' },
    'info tunnel open name=5432 address=r:20001 local=localhost:5432 client="psql -h r -p 20001"',
  ],
  [
    { event: 'tunnel', name: 'x', address: 'r:20001', local: 'laptop', key: 'SHA256:x' },
    'info tunnel open name=x address=r:20001 local=laptop key=SHA256:x',
  ],
  [
    { event: 'tunnel-closed', name: 'x', address: 'r:1', reason: 'gone\nERROR all is lost' },
    'info tunnel closed name=x address=r:1 reason="gone\\nERROR all is lost"',
  ],
  [
    { event: 'local', state: 'down', name: 'x', local: 'localhost:1', reason: 'refused' },
    'warn local service does not answer name=x local=localhost:1 reason=refused',
  ],
  [
    { event: 'local', state: 'up', name: 'x', local: 'localhost:1', reason: '' },
    'info local service answers name=x local=localhost:1',
  ],
  [{ event: 'stream', state: 'open', visitor: '[::1]:1', tunnel: 'x' }, 'info stream open visitor=[::1]:1 tunnel=x'],
  [
    { event: 'stream', state: 'closed', visitor: 'v:1', tunnel: 'x', sent: 1, received: 2, ms: 3.4, end: 'reset' },
    'info stream closed visitor=v:1 tunnel=x sent=1 received=2 ms=3 end=reset',
  ],
  [
    { event: 'agent', state: 'connected', key: 'SHA256:x', name: 'laptop', from: 'a:1' },
    'info agent connected key=SHA256:x name=laptop from=a:1',
  ],
  [
    { event: 'agent', state: 'refused', key: 'SHA256:x', name: '', from: 'a:1', reason: 'revoked' },
    'warn agent refused key=SHA256:x name="" from=a:1 reason=revoked',
  ],
  [{ event: 'draining', streams: 2, graceMs: 30_000 }, 'info draining streams=2 graceMs=30000'],
  [{ event: 'warning', code: 'W-POOL-EMPTY', message: 'no port left' }, 'warn no port left code=W-POOL-EMPTY'],
])('%j', (event, line) => {
  const { level, message, fields } = eventLine(event)
  expect(formatLine(level, message, fields, NOON)).toBe(`2026-11-20T12:00:00.000Z ${line}`)
})
