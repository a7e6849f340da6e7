// Tunnels without sockets: who has a service, and visitors that wait for a session; what they sent before the pause took
// hold is part of what they say.
import { afterAll, expect, test } from 'bun:test'
import { Memory, SESSION_CODE, Session } from '../../src/frame/index.ts'
import type { Connection, Handler } from '../../src/net/index.ts'
import type { Pool } from '../../src/relay/pool.ts'
import type { Member } from '../../src/relay/sessions.ts'
import { Tunnels } from '../../src/relay/tunnels.ts'
import type { Event } from '../../src/telemetry/events.ts'
import { SILENT } from './running.ts'

/** As much of a visitor's connection as waiting and splicing use. */
class FakeVisitor {
  handler: Handler | null = null
  readonly remoteHost = '192.0.2.1'
  readonly localHost = '127.0.0.1'
  readonly remotePort = 5
  paused = false
  aborted = false
  pause(): void {
    this.paused = true
  }
  resume(): void {
    this.paused = false
  }
  abort(): void {
    this.aborted = true
    this.handler?.onClose('reset')
  }
  keepAlive(): void {}
  resetIfKilled(): void {}
  write(_buf: Uint8Array, _at: number, len: number): number {
    return len
  }
}

/** A tunnel whose session has no connection for now. */
function away() {
  const session = new Session(
    {
      opener: true,
      peerFirstCredit: 65_536,
      deadAfter: 60_000,
      memory: new Memory(),
      events: { opened() {}, wake() {}, over() {} },
    },
    0,
  )
  const events: Event[] = []
  let port = 28_999
  const pool = {
    // The next port that can be bound.
    acquireAll(_key: Uint8Array, wants: unknown[], free: (port: number) => boolean) {
      for (port++; !free(port); port++);
      return wants.map(() => ({ ok: true, port, epoch: 1 }))
    },
    release: () => true,
  } as unknown as Pool
  const tunnels = new Tunnels(
    { bind: '127.0.0.1', publicHost: '127.0.0.1', ports: { from: 29_000, to: 29_999 } },
    pool,
    () => {},
    event => events.push(event),
    SILENT,
  )
  afterAll(() => tunnels.stop())
  const member = {
    fingerprint: 'SHA256:x',
    name: 'test',
    instance: 'i',
    yields: false,
    session,
    tunnels: new Map(),
    splices: new Set(),
  } as unknown as Member
  tunnels.grant(new Uint8Array(32), member, [{ id: 1, name: 'a', port: null }])
  session.detach()
  return {
    session,
    member,
    tunnels,
    closed: () => events.flatMap(e => (e.event === 'tunnel-closed' ? [e.name] : [])).sort(),
    visit(): FakeVisitor {
      const visitor = new FakeVisitor()
      visitor.handler = member.tunnels.get(1)!.edge.visit(visitor as unknown as Connection)
      return visitor
    },
    back(): string {
      session.attach(0, 0)
      tunnels.admitWaiting(member)
      const sent: Buffer[] = []
      session.transmit((b, at, len) => {
        sent.push(Buffer.from(b.subarray(at, at + len)))
        return len
      }, 0)
      return Buffer.concat(sent).toString('latin1')
    },
  }
}

test('a tunnel that is granted between two connections lets nobody in before the next one', () => {
  const { tunnels, member, visit, back } = away()
  const visitor = visit()
  visitor.handler?.onData(Buffer.from('early'))
  tunnels.admitWaiting(member)
  expect(visitor.aborted).toBe(false)
  expect(back()).toContain('early')
})

test('a session has a service once, and none any more when the relay is shutting down', () => {
  const { tunnels, member, closed } = away()
  const ask = (id: number, name: string) => tunnels.grant(new Uint8Array(32), member, [{ id, name, port: null }])
  expect(ask(7, 'a')).toMatchObject([{ id: 7, refused: 'W-USAGE' }])
  expect(ask(7, 'db')).toMatchObject([{ id: 7, host: '127.0.0.1' }])
  tunnels.stop()
  expect(ask(8, 'late')).toMatchObject([{ id: 8, refused: 'W-RELAY-GOODBYE' }])
  expect(closed()).toEqual(['a', 'db'])
  tunnels.leave(member)
  expect(closed()).toEqual(['a', 'db'])
})

test('what came before the pause took hold is sent first, and the visitor is read on from', () => {
  for (const early of [[], ['one '], ['one ', 'two ']]) {
    const { visit, back, member } = away()
    const visitor = visit()
    expect(visitor.paused).toBe(true)
    for (const words of early) visitor.handler!.onData(Buffer.from(words))
    const sent = back()
    expect(early.map(words => sent.includes(words))).toEqual(early.map(() => true))
    expect(visitor.paused).toBe(false)
    expect(member.splices.size).toBe(1)
  }
})

test('a visitor that said more than goes at once is read on from when that is sent', () => {
  const { visit, back, session } = away()
  const visitor = visit()
  visitor.handler!.onData(Buffer.alloc(100_000))
  back()
  expect(visitor.paused).toBe(true)
  session.credit(1, 65_536)
  session.transmit((_b, _at, len) => len, 0)
  expect(visitor.paused).toBe(false)
})

test('a visitor that the session takes no more is reset, whatever it has said', () => {
  const { visit, back, session, member } = away()
  const [silent, early] = [visit(), visit()]
  early.handler!.onData(Buffer.from('hello'))
  session.goaway(SESSION_CODE.SHUTDOWN, '')
  back()
  expect([silent.aborted, early.aborted]).toEqual([true, true])
  expect(member.splices.size).toBe(0)
})
