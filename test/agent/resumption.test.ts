// How a broken session dials again: once a second, whatever becomes of the dials before.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { Resuming } from '../../src/agent/resumption.ts'
import { Memory, Session } from '../../src/frame/index.ts'
import { createKey } from '../../src/identity/index.ts'
import { listen } from '../../src/net/index.ts'
import { temporaryFolder } from '../folder.ts'

test('dials that hang in a handshake do not stop the next ones', async () => {
  const dialled = Promise.withResolvers<number>()
  const began = performance.now()
  let dials = 0
  // Takes connections and never says a word: what a relay looks like behind a link that breaks in the handshake.
  const silent = listen({ host: '127.0.0.1', port: 0 }, () => {
    dials += 1
    if (dials === 7) dialled.resolve(performance.now() - began)
    return { onData: () => true, onDrain() {}, onEnd() {}, onClose() {} }
  })
  const session = new Session(
    {
      opener: false,
      peerFirstCredit: 65_536,
      deadAfter: 5_000,
      memory: new Memory(),
      events: { opened() {}, wake() {}, over() {} },
    },
    0,
  )
  const relay = { host: '127.0.0.1', port: silent.port, pin: new Uint8Array(32) }
  const key = createKey(join(temporaryFolder(), 'agent.key'), 'test')
  const resuming = new Resuming(relay, key, { session, id: new Uint8Array(16), attempt: 0 }, () => null)
  // The seventh comes 6 s after the first; a dial that hung would be given up only after 10 s.
  expect(await dialled.promise).toBeLessThan(9_000)
  expect(silent.connections).toBeLessThanOrEqual(5)
  resuming.stop()
  silent.stop()
}, 20_000)
