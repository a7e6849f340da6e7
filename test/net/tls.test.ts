// TLS: who may become a Connection and who may not, on both sides.
import { describe, expect, test } from 'bun:test'
import { deadlines } from '../../src/net/deadlines.ts'
import { type Connection, descriptors, listen, listenTls, refuseUnsafeEnvironment } from '../../src/net/index.ts'
import { temporaryFolder } from '../folder.ts'
import { certificate } from './certificate.ts'
import { RawHost } from './raw.ts'
import { ALPN, descriptorsSettle, dialled, dialledTls, pair, Tape, turns, Waiting } from './tape.ts'

const folder = temporaryFolder()
/** What other test files in this process still wait for. */
const idle = deadlines.size
const host = new RawHost()
const { key, cert } = certificate

/** A TLS listener that writes down handshakes and accepts. */
class Gate extends Waiting {
  readonly events: string[] = []
  readonly tapes: Tape[] = []
  readonly listener

  constructor(options: { alpn?: string; handshakeMs?: number; admit?: () => boolean } = {}) {
    super()
    this.listener = listenTls(
      {
        host: '127.0.0.1',
        port: 0,
        key,
        cert,
        alpn: ALPN,
        handshakeMs: 5_000,
        onHandshakeEnd: (from, ok) => this.note(`${from} ${ok}`),
        ...options,
      },
      connection => this.accept(connection),
    )
  }

  private accept(connection: Connection): Tape {
    const tape = new Tape()
    tape.connection = connection
    this.tapes.push(tape)
    this.note('accept')
    return tape
  }

  private note(event: string): void {
    this.events.push(event)
    this.wake()
  }

  saw(events: number): Promise<void> {
    return this.until(
      () => this.events.length >= events,
      `${events} events`,
      () => this.events.join(' '),
    )
  }
}

async function outcome(port: number, timeoutMs = 2_000, alpn = ALPN): Promise<string> {
  const tape = new Tape()
  const result = await dialledTls('127.0.0.1', port, timeoutMs, tape, alpn).answer
  if ('fail' in result) return `${result.fail}: ${result.detail}`
  tape.it.abort()
  return 'ok'
}

/** A plain listener that treats what connects as `act` says. */
function impostor(act: (connection: Connection) => void) {
  return listen({ host: '127.0.0.1', port: 0 }, connection => {
    act(connection)
    return new Tape()
  })
}

describe('the listener', () => {
  test('hands over a connection after its handshake', async () => {
    const gate = new Gate()
    const near = new Tape()
    const result = await dialledTls('127.0.0.1', gate.listener.port, 2_000, near).answer
    await gate.saw(2)
    expect(gate.events).toEqual(['127.0.0.1 true', 'accept'])
    expect(gate.listener.connections).toBe(1)
    if (!('peerKeyHash' in result)) throw new Error('no key')
    expect(result.peerKeyHash.equals(certificate.keyHash)).toBe(true)
    near.it.abort()
    await gate.tapes[0]!.closed()
    expect(gate.listener.connections).toBe(0)
    gate.listener.stop()
  })

  test('cuts off at the deadline who says nothing, or half a greeting', async () => {
    const gate = new Gate({ handshakeMs: 150 })
    const before = descriptors.open()
    const began = performance.now()
    const peers = [null, 'GET', '\x16\x03\x01\x02\x00\x01'].map(greeting => {
      const peer = host.peer()
      peer.order('connect', { host: '127.0.0.1', port: gate.listener.port, reading: true })
      if (greeting !== null) peer.order('send', { text: greeting })
      return peer
    })
    await Promise.all(peers.map(peer => peer.saw('close')))
    expect(performance.now() - began).toBeLessThan(1_000)
    await gate.saw(3)
    expect(gate.events).toEqual(['127.0.0.1 false', '127.0.0.1 false', '127.0.0.1 false'])
    expect(await descriptorsSettle(folder, before)).toBe(before)
    gate.listener.stop()
  })

  test('a deadline that was met does not fall due later', async () => {
    const gate = new Gate()
    const before = deadlines.size
    const near = new Tape()
    await dialledTls('127.0.0.1', gate.listener.port, 5_000, near).answer
    await gate.saw(2)
    expect(gate.events).toEqual(['127.0.0.1 true', 'accept'])
    expect(deadlines.size).toBe(before)
    near.it.abort()
    gate.listener.stop()
  })

  test('refuses TLS 1.2', async () => {
    const gate = new Gate()
    const peer = host.peer()
    peer.order('tls', { host: '127.0.0.1', port: gate.listener.port, alpn: ALPN, maxVersion: 'TLSv1.2', reading: true })
    await peer.saw('close')
    expect(peer.events[0]).toBe('error:ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION')
    await gate.saw(1)
    expect(gate.events).toEqual(['127.0.0.1 false'])
    gate.listener.stop()
  })

  test('refuses another protocol, and none', async () => {
    for (const alpn of ['http/1.1', undefined]) {
      const gate = new Gate()
      const peer = host.peer()
      peer.order('tls', { host: '127.0.0.1', port: gate.listener.port, alpn, reading: true })
      await peer.saw('close')
      await gate.saw(1)
      expect(gate.events).toEqual(['127.0.0.1 false'])
      gate.listener.stop()
    }
  })

  test('gives no ticket', async () => {
    const gate = new Gate()
    const peer = host.peer()
    peer.order('tls', { host: '127.0.0.1', port: gate.listener.port, alpn: ALPN, reading: true })
    await gate.saw(2)
    // Tickets would come before this.
    gate.tapes[0]!.write(10)
    await peer.got(10)
    expect([peer.version, peer.alpn]).toEqual(['TLSv1.3', ALPN])
    expect(peer.events).not.toContain('ticket')
    gate.tapes[0]!.it.abort()
    gate.listener.stop()
  })

  test('asks before the handshake whether to have one', async () => {
    const gate = new Gate({ admit: () => false })
    const peer = host.peer()
    peer.order('connect', { host: '127.0.0.1', port: gate.listener.port, reading: true })
    await peer.saw('close')
    expect(peer.events).not.toContain('end')
    expect(await outcome(gate.listener.port)).toStartWith('refused')
    expect(gate.events).toEqual([])
    gate.listener.stop()
  })

  test('tells the end of a handshake that its client broke off', async () => {
    const gate = new Gate()
    for (const how of ['reset', 'destroy', 'fin']) {
      const peer = host.peer()
      peer.order('connect', { host: '127.0.0.1', port: gate.listener.port, reading: true })
      await peer.saw('open')
      peer.order(how)
    }
    await gate.saw(3)
    expect(gate.events).toEqual(['127.0.0.1 false', '127.0.0.1 false', '127.0.0.1 false'])
    gate.listener.stop()
  })
})

describe('the dial', () => {
  test('another protocol at the other end', async () => {
    const gate = new Gate({ alpn: 'other/1' })
    expect(await outcome(gate.listener.port)).toStartWith('alpn')
    gate.listener.stop()
  })

  test('TLS without a protocol at the other end', async () => {
    const socket = { data() {}, handshake() {} }
    const plain = Bun.listen({ hostname: '127.0.0.1', port: 0, tls: { key, cert }, socket })
    expect(await outcome(plain.port)).toStartWith('alpn')
    plain.stop(true)
  })

  test('something that does not speak TLS', async () => {
    const ssh = impostor(c => void c.write(Buffer.from('SSH-2.0-OpenSSH_9.2\r\n'), 0, 21))
    expect(await outcome(ssh.port)).toStartWith('tls')
    ssh.stop()
  })

  test('TLS 1.2 only at the other end', async () => {
    const { constants } = await import('node:crypto')
    const tls = { key, cert, ALPNProtocols: Buffer.from('\x08warren/1'), secureOptions: constants.SSL_OP_NO_TLSv1_3 }
    const old = Bun.listen({ hostname: '127.0.0.1', port: 0, tls, socket: { data() {}, handshake() {} } })
    expect(await outcome(old.port)).toStartWith('tls')
    old.stop(true)
  })

  test('who closes or resets during the handshake may be asked again', async () => {
    for (const act of [(c: Connection) => c.abort(), (c: Connection) => c.shutdown()]) {
      const busy = impostor(act)
      expect(await outcome(busy.port)).toStartWith('refused')
      busy.stop()
    }
  })

  test('who never answers the greeting', async () => {
    const silent = impostor(() => {})
    const before = descriptors.open()
    expect(await outcome(silent.port, 150)).toBe('timeout: the TLS handshake took longer than 150 ms')
    expect(await descriptorsSettle(folder, before)).toBe(before)
    silent.stop()
  })

  test('cancelled in mid-handshake', async () => {
    const near = new Tape()
    const arrived = Promise.withResolvers<void>()
    const closed = Promise.withResolvers<void>()
    const silent = listen({ host: '127.0.0.1', port: 0 }, () => {
      const tape = new Tape()
      tape.onBytes = () => {
        arrived.resolve()
        return true
      }
      tape.onClose = () => closed.resolve()
      return tape
    })
    const { dialing, answer } = dialledTls('127.0.0.1', silent.port, 5_000, near)
    let told = false
    void answer.then(() => {
      told = true
    })
    await arrived.promise
    dialing.cancel()
    await closed.promise
    await turns(folder)
    expect(told).toBe(false)
    expect(deadlines.size).toBeLessThanOrEqual(idle)
    silent.stop()
  })

  test('a handshake that was tampered with', async () => {
    const gate = new Gate()
    // Passes everything on, but turns one bit near the end of the relay's first flight, which is its Finished.
    const between = listen({ host: '127.0.0.1', port: 0 }, client => {
      const up = new Tape()
      const down = new Tape()
      up.onBytes = buf => {
        buf[buf.length - 5]! ^= 1
        client.write(buf, 0, buf.length)
        return false
      }
      const dialing = dialled({ host: '127.0.0.1', port: gate.listener.port }, 1_000, up).answer
      down.onBytes = buf => {
        void dialing.then(() => up.it.write(buf, 0, buf.length))
        return false
      }
      return down
    })
    expect(await outcome(between.port)).toStartWith('tls')
    await gate.saw(1)
    expect(gate.events).toEqual(['127.0.0.1 false'])
    between.stop()
    gate.listener.stop()
  })
})

describe('keying material', () => {
  test('is the same at both ends, and another for another label or connection', async () => {
    const one = await pair('tls', folder)
    const two = await pair('tls', folder)
    const label = 'EXPORTER-warren-init-v1'
    const material = one.near.it.exporter(label, 32)
    expect(material.length).toBe(32)
    expect(one.far.it.exporter(label, 32).equals(material)).toBe(true)
    expect(one.near.it.exporter('EXPORTER-warren-resume-v1', 32).equals(material)).toBe(false)
    expect(two.near.it.exporter(label, 32).equals(material)).toBe(false)
    one.near.it.abort()
    expect(() => one.near.it.exporter(label, 32)).toThrow('no keying material')
    two.near.it.abort()
  })

  test('is not had from a plain connection', async () => {
    const { near } = await pair('tcp', folder)
    expect(() => near.it.exporter('EXPORTER-x', 32)).toThrow('no keying material')
    near.it.abort()
  })
})

test('an environment without certificate checks is refused', () => {
  const name = 'NODE_TLS_REJECT_UNAUTHORIZED'
  expect(refuseUnsafeEnvironment).not.toThrow()
  for (const value of ['0', '1', '']) {
    process.env[name] = value
    expect(refuseUnsafeEnvironment).toThrow(name)
  }
  delete process.env[name]
})
