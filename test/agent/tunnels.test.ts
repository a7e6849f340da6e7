// What an agent asks its relay for in a session.
import { expect, test } from 'bun:test'
import { Tunnels } from '../../src/agent/tunnels.ts'
import { parseTunnel } from '../../src/config/index.ts'
import type { Session } from '../../src/frame/index.ts'
import type { Event } from '../../src/telemetry/events.ts'

test('a tunnel is asked for once, and again when it was refused', () => {
  const events: Event[] = []
  const tunnels = new Tunnels(['a=1', 'b=2'].map(parseTunnel), event => events.push(event))
  const sent: unknown[] = []
  const session = { send: (message: unknown) => sent.push(message) } as unknown as Session
  tunnels.unbind()
  tunnels.answered({ id: 0, host: 'relay.example.com', port: 20_000, epoch: 1 })
  tunnels.bindOthers(session, [{ id: 0, host: 'relay.example.com', port: 20_000, epoch: 1 }])
  expect(sent).toMatchObject([{ tunnel: { id: 1, name: 'b' } }])
  // The answer is on its way.
  tunnels.askAgain(session)
  expect(sent).toHaveLength(1)
  tunnels.answered({ id: 1, refused: 'W-POOL-EMPTY', why: 'no port is free' })
  tunnels.askAgain(session)
  expect(sent).toHaveLength(2)
  // Of another session no answer comes.
  tunnels.unbind()
  tunnels.askAgain(session)
  expect(sent).toHaveLength(4)
  tunnels.stop()
})
