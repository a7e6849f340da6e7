// How a broken session dials again: once a second, whatever becomes of the dials before.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { Resuming } from '../../src/agent/resumption.ts'
import { ALPN, Memory, refusalFrame, SESSION_CODE, Session } from '../../src/frame/index.ts'
import { certificateKeyHash, createKey } from '../../src/identity/index.ts'
import { listen, listenTls } from '../../src/net/index.ts'
import { temporaryFolder } from '../folder.ts'
import { certificate } from '../net/certificate.ts'

const broken = () => ({
  session: idle(),
  id: new Uint8Array(16),
  attempt: 0,
  resumedAt: Number.NEGATIVE_INFINITY,
})

function idle(): Session {
  return new Session(
    {
      opener: false,
      peerFirstCredit: 65_536,
      deadAfter: 5_000,
      memory: new Memory(),
      events: { opened() {}, wake() {}, over() {} },
    },
    0,
  )
}

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
  const relay = { host: '127.0.0.1', port: silent.port, pin: new Uint8Array(32) }
  const key = createKey(join(temporaryFolder(), 'agent.key'), 'test')
  const resuming = new Resuming(relay, key, broken(), () => null)
  // The seventh comes 6 s after the first; a dial that hung would be given up only after 10 s.
  expect(await dialled.promise).toBeLessThan(9_000)
  expect(silent.connections).toBeLessThanOrEqual(5)
  resuming.stop()
  silent.stop()
}, 20_000)

test('a connection that broke right after it resumed is not followed by another at once', async () => {
  const dialled = Promise.withResolvers<number>()
  const relayed = listen({ host: '127.0.0.1', port: 0 }, () => {
    dialled.resolve(performance.now())
    return { onData: () => true, onDrain() {}, onEnd() {}, onClose() {} }
  })
  const relay = { host: '127.0.0.1', port: relayed.port, pin: new Uint8Array(32) }
  const key = createKey(join(temporaryFolder(), 'agent.key'), 'test')
  const began = performance.now()
  const resuming = new Resuming(relay, key, { ...broken(), resumedAt: began }, () => null)
  expect((await dialled.promise) - began).toBeGreaterThan(900)
  resuming.stop()
  relayed.stop()
})

test('a relay that is busy is asked again', async () => {
  const codes: number[] = [SESSION_CODE.BUSY, SESSION_CODE.UNKNOWN]
  const { key, cert } = certificate
  const busy = listenTls({ host: '127.0.0.1', port: 0, key, cert, alpn: ALPN, handshakeMs: 5_000 }, connection => ({
    onData: () => {
      const frame = refusalFrame(codes.shift() ?? SESSION_CODE.BUSY, '')
      connection.write(frame, 0, frame.length)
      connection.shutdown()
      return true
    },
    onDrain() {},
    onEnd() {},
    onClose() {},
  }))
  const relay = { host: '127.0.0.1', port: busy.port, pin: certificateKeyHash(cert) }
  const agentKey = createKey(join(temporaryFolder(), 'agent.key'), 'test')
  const answer = Promise.withResolvers<unknown>()
  const resuming = new Resuming(relay, agentKey, broken(), answered => {
    answer.resolve(answered.answer)
    return null
  })
  expect(await answer.promise).toMatchObject({ ok: false, code: SESSION_CODE.UNKNOWN })
  expect(codes).toEqual([])
  resuming.stop()
  busy.stop()
}, 10_000)
