// Strangers at the relay's door: what gets in, what is refused, and what the refused learn.
import { expect, spyOn, test } from 'bun:test'
import { createHash } from 'node:crypto'
import { initFrame, readRegistration, SESSION_CODE } from '../../src/frame/index.ts'
import { transcript } from '../../src/identity/index.ts'
import { makeLog } from '../../src/telemetry/log.ts'
import { until } from '../e2e/warren.ts'
import { newKey, RawClient, runRelay } from './running.ts'

// Every test has a source address of its own: penalties are real here.
let last = 10
const address = () => `127.0.0.${++last}`

const running = await runRelay()
const { port, token } = running
const known = newKey()
const joined = await (await RawClient.connect(port, address())).register(known, { token: Buffer.from(token) })

/** No agent waits so long behind its handshake. */
const LATE_MS = 1_100

const REFUSED = Buffer.from('0000000594060000a0', 'hex')

test('a token lets a key in, and from then on the key gets in by itself', async () => {
  expect(readRegistration(joined).ok).toBe(true)
  const again = readRegistration(await (await RawClient.connect(port, address())).register(known))
  expect(again.ok).toBe(true)
})

test('a lost ACK is cured by the same INIT again: a known key burns nothing', async () => {
  const again = await (await RawClient.connect(port, address())).register(known, { token: Buffer.alloc(16, 1) })
  expect(readRegistration(again).ok).toBe(true)
})

test('a spent token says so', async () => {
  const client = await RawClient.connect(port, address())
  const answer = readRegistration(await client.register(newKey(), { token: Buffer.from(token) }))
  expect(answer).toMatchObject({ ok: false, code: SESSION_CODE.SPENT })
})

const lies: [string, (client: RawClient) => Uint8Array][] = [
  ['a key that is not known', c => initOf(c, newKey())],
  ['a token of another relay', c => initOf(c, newKey(), { token: Buffer.alloc(16, 9) })],
  ['a signature that does not fit', c => initFrame(c.body(known), Buffer.alloc(64, 1))],
  ['a signature of another key', c => signedBy(c, newKey())],
  ['a signature for a resume', c => signedAs(c, 'resume', 'agent')],
  ['a signature for a connector', c => signedAs(c, 'init', 'connector')],
  ['a signature over another relay', c => signedOver(c, c.exporter(), Buffer.alloc(32, 3))],
  ['a signature over another connection', c => signedOver(c, Buffer.alloc(32, 3), c.relayKeyHash)],
  ['a role that is not served', c => initOf(c, known, { role: 2 })],
  ['the identity point as a key', c => identityPoint(c)],
]

function initOf(c: RawClient, key = known, change = {}): Uint8Array {
  const body = c.body(key, change)
  return initFrame(body, c.sign(key, body))
}
function signedBy(c: RawClient, key: typeof known): Uint8Array {
  const body = c.body(known)
  return initFrame(body, c.sign(key, body))
}
function signedAs(c: RawClient, label: 'init' | 'resume', role: 'agent' | 'connector'): Uint8Array {
  const body = c.body(known)
  return initFrame(body, known.sign(transcript(label, role, c.exporter(label), c.relayKeyHash, body)))
}
function signedOver(c: RawClient, exporter: Buffer, relayKeyHash: Buffer): Uint8Array {
  const body = c.body(known)
  return initFrame(body, known.sign(transcript('init', 'agent', exporter, relayKeyHash, body)))
}
function identityPoint(c: RawClient): Uint8Array {
  const point = Buffer.alloc(32)
  point[0] = 1
  return initFrame(c.body({ ...known, publicKey: point }), Buffer.concat([point, Buffer.alloc(32)]))
}

for (const [what, make] of lies) {
  test(`${what}: the one REFUSED, 50 ms after INIT`, async () => {
    const client = await RawClient.connect(port, address())
    const answer = await client.say(make(client))
    expect(answer.bytes.toString('hex')).toBe(REFUSED.toString('hex'))
    expect(answer.afterMs).toBeGreaterThanOrEqual(45)
    expect(answer.how).toBe('fin')
  })
}

test('a registration replayed on another connection is refused', async () => {
  const first = await RawClient.connect(port, address())
  const bytes = initOf(first)
  const second = await RawClient.connect(port, address())
  expect((await second.say(bytes)).bytes.equals(REFUSED)).toBe(true)
})

test('another version is told so', async () => {
  const client = await RawClient.connect(port, address())
  const answer = await client.say(initOf(client, known, { version: 2 }))
  const told = { ok: false, code: SESSION_CODE.VERSION, text: 'version 1' } as const
  expect(readRegistration(answer.bytes.subarray(4))).toEqual(told)
  expect(running.events).toContainEqual(expect.objectContaining({ state: 'refused', reason: 'it speaks version 2' }))
})

const noise: [string, () => Buffer][] = [
  ['an HTTP request', () => Buffer.from('GET / HTTP/1.1\r\nHost: relay\r\n\r\n')],
  ['an SSH banner', () => Buffer.from('SSH-2.0-OpenSSH_9.2\r\n')],
  ['a length over 4 KiB', () => Buffer.from('0000100193000000', 'hex')],
  ['the largest length', () => Buffer.from('ffffffff93000000', 'hex')],
  ['a PING instead of INIT', () => Buffer.from('00000008930700ce00000001', 'hex')],
  ['a nested array', () => Buffer.concat([Buffer.from('00000400', 'hex'), Buffer.alloc(1024, 0x91)])],
]
for (const [what, make] of noise) {
  test(`${what} is cut off without a word`, async () => {
    const client = await RawClient.connect(port, address())
    const answer = await client.say(make())
    expect(answer.bytes.length).toBe(0)
    expect(answer.how).toBe('reset')
  })
}

test('who was refused is cut off 2 s later, also while it goes on sending', async () => {
  const client = await RawClient.connect(port, address(), true)
  const dribble = setInterval(() => client.socket.write('x'), 100)
  const { afterMs } = await client.say(initOf(client, known, { version: 2 }))
  clearInterval(dribble)
  expect(afterMs).toBeGreaterThan(1_900)
  expect(afterMs).toBeLessThan(4_000)
}, 15_000)

test('who asks late, or keeps its place after a refusal, pays like one who says nothing; who asks at once does not', async () => {
  const crowd = (from: string, stays = false) =>
    Promise.all(Array.from({ length: 16 }, () => RawClient.connect(port, from, stays)))
  const ask = (clients: RawClient[]) =>
    Promise.all(clients.map(client => client.say(initOf(client, known, { version: 2 }))))

  const prompt = address()
  await ask(await crowd(prompt))
  expect(await RawClient.connect(port, prompt)).toBeDefined()

  const late = address()
  const waiting = await crowd(late)
  const now = performance.now.bind(performance)
  const clock = spyOn(performance, 'now').mockImplementation(() => now() + LATE_MS)
  await ask(waiting).finally(() => clock.mockRestore())
  await expect(RawClient.connect(port, late)).rejects.toThrow()

  const staying = address()
  await ask(await crowd(staying, true))
  await expect(RawClient.connect(port, staying)).rejects.toThrow()
}, 15_000)

test('of many refusals in a second 20 are told', async () => {
  const own = await runRelay()
  const clients = await Promise.all(Array.from({ length: 90 }, () => RawClient.connect(own.port, address())))
  const began = performance.now()
  await Promise.all(clients.map(client => client.say(initOf(client, known, { version: 2 }))))
  const seconds = Math.ceil((performance.now() - began) / 1_000)
  const told = own.events.filter(e => e.event === 'agent' && e.state === 'refused').length
  expect(told).toBeGreaterThanOrEqual(20)
  expect(told).toBeLessThanOrEqual(20 * seconds)
}, 15_000)

test('bytes behind INIT, before ACK, are refused', async () => {
  const client = await RawClient.connect(port, address())
  const answer = await client.say(Buffer.concat([initOf(client), Buffer.from('00', 'hex')]))
  expect(answer.bytes.length).toBe(0)
  expect(answer.how).toBe('reset')
})

test('whoever says nothing is cut off after 5 s, and others get in meanwhile', async () => {
  const silent = await RawClient.connect(port, address())
  const answer = silent.say(Buffer.from('000000', 'hex'))
  const good = await (await RawClient.connect(port, address())).register(known)
  expect(readRegistration(good).ok).toBe(true)
  const { afterMs, bytes } = await answer
  expect(bytes.length).toBe(0)
  expect(afterMs).toBeGreaterThan(4_000)
  expect(afterMs).toBeLessThan(6_000)
}, 10_000)

test('an address that is refused again and again is not even let into a handshake, and only the log says why', async () => {
  const lines: string[] = []
  const own = await runRelay(
    {},
    makeLog('warn', line => lines.push(line), Date.now),
  )
  const bad = address()
  for (let i = 0; i < 4; i++) {
    const client = await RawClient.connect(own.port, bad)
    await client.say(initOf(client, newKey()))
  }
  for (let i = 0; i < 3; i++) await expect(RawClient.connect(own.port, bad)).rejects.toThrow()
  expect(await RawClient.connect(own.port, address())).toBeDefined()
  await until(() => lines.length > 0, 'it is told')
  expect(lines).toEqual([
    expect.stringMatching(new RegExp(`turned away .*connections=3 last=${bad} reason="refused or silent too often"`)),
  ])
})

test('nothing that a stranger sends appears raw in an event, and no secret at all', async () => {
  const secret = Buffer.from(token).toString('hex')
  const text = JSON.stringify(running.events.filter(e => e.event !== 'ready'))
  expect(text).not.toContain(secret)
  expect(text).not.toContain(createHash('sha256').update(token).digest('hex'))
})
