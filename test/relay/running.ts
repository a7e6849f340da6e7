// A relay in this process for a test file, and a hand-made client for it that can break every rule.
import { afterAll } from 'bun:test'
import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import tls from 'node:tls'
import {
  FirstFrame,
  type InitBody,
  initFrame,
  packInitBody,
  packResumeBody,
  resumeFrame,
} from '../../src/frame/index.ts'
import { createKey, exporterLabel, type KeyPair, parseInvite, transcript } from '../../src/identity/index.ts'
import { HOLDS, type Relay, type RelayOptions, startRelay } from '../../src/relay/index.ts'
import type { Event } from '../../src/telemetry/events.ts'
import { makeLog } from '../../src/telemetry/log.ts'
import { temporaryFolder } from '../folder.ts'

export const SILENT = makeLog('silent', () => {}, Date.now)

export type Running = { relay: Relay; events: Event[]; port: number; token: Uint8Array; state: string }

export async function runRelay(options: Partial<RelayOptions> = {}, log = SILENT): Promise<Running> {
  const state = options.state ?? join(temporaryFolder(), 'relay')
  const events: Event[] = []
  const relay = await startRelay(
    {
      listen: { host: '127.0.0.1', port: 0 },
      ports: { from: 20_000, to: 29_999 },
      publicHost: '127.0.0.1',
      bind: '127.0.0.1',
      state,
      deadAfterMs: 5_000,
      holdMs: 30_000,
      holds: HOLDS,
      drainMs: 1_000,
      invite: 'first-start',
      ...options,
    },
    event => events.push(event),
    log,
  )
  afterAll(async () => {
    relay.stop()
    await relay.closed
  })
  // Only the first start of a state folder has an invite.
  const { token } = relay.firstInvite === null ? { token: new Uint8Array() } : parseInvite(relay.firstInvite)
  const port = Number(relay.control.split(':').at(-1))
  return { relay, events, port, token, state }
}

export function newKey(): KeyPair {
  return createKey(join(temporaryFolder(), 'agent.key'), 'test')
}

export type Answer = { bytes: Buffer; afterMs: number; how: 'fin' | 'reset' }

export class RawClient {
  readonly socket: tls.TLSSocket
  /** SHA-256 of the relay's public key info. */
  readonly relayKeyHash: Buffer
  readonly received: Buffer[] = []
  /** The body of the relay's first frame. */
  answer: Buffer | null = null
  #ended: Promise<'fin' | 'reset'>

  private constructor(socket: tls.TLSSocket) {
    this.socket = socket
    const key = new X509Certificate(socket.getPeerCertificate().raw).publicKey
    this.relayKeyHash = createHash('sha256')
      .update(key.export({ type: 'spki', format: 'der' }))
      .digest()
    socket.on('data', (chunk: Buffer) => this.received.push(chunk))
    this.#ended = new Promise(resolve => {
      socket.on('error', () => resolve('reset'))
      socket.on('close', bad => resolve(bad ? 'reset' : 'fin'))
    })
  }

  /** `allowHalfOpen`: it does not end when the relay does. */
  static connect(port: number, localAddress = '127.0.0.1', allowHalfOpen = false): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const where = { host: '127.0.0.1', port, localAddress, allowHalfOpen }
      const socket = tls.connect({ ...where, ALPNProtocols: ['warren/1'], rejectUnauthorized: false })
      socket.once('error', reject)
      socket.once('secureConnect', () => {
        socket.off('error', reject)
        resolve(new RawClient(socket))
      })
    })
  }

  exporter(label: 'init' | 'resume' = 'init'): Buffer {
    return this.socket.exportKeyingMaterial(32, exporterLabel(label), Buffer.alloc(0))
  }

  body(key: KeyPair, change: Partial<InitBody> = {}): Buffer {
    return packInitBody({
      version: 1,
      role: 1,
      key: Buffer.from(key.publicKey),
      instance: randomBytes(16),
      name: 'test',
      credit: 65_536,
      capabilities: [],
      tunnels: [],
      ...change,
    })
  }

  sign(key: KeyPair, body: Uint8Array): Uint8Array {
    return key.sign(transcript('init', 'agent', this.exporter(), this.relayKeyHash, body))
  }

  /** Sends these bytes, and waits for the whole answer and the end. */
  async say(bytes: Uint8Array): Promise<Answer> {
    const began = performance.now()
    this.socket.write(bytes)
    const how = await this.#ended
    return { bytes: Buffer.concat(this.received), afterMs: performance.now() - began, how }
  }

  /** Registers honestly; the body of what the relay answered. */
  register(key: KeyPair, change: Partial<InitBody> = {}): Promise<Buffer> {
    const body = this.body(key, change)
    return this.ask(initFrame(body, this.sign(key, body)))
  }

  /** The RESUME of an honest agent, for this connection. */
  resume(key: KeyPair, what: { session: Uint8Array; attempt: number; position: number }): Buffer {
    const body = packResumeBody({ ...what, session: Buffer.from(what.session) })
    return resumeFrame(body, key.sign(transcript('resume', 'agent', this.exporter('resume'), this.relayKeyHash, body)))
  }

  /** Sends these bytes; the body of the one frame that comes back first. */
  ask(bytes: Uint8Array): Promise<Buffer> {
    const first = new FirstFrame(65_536)
    return new Promise((resolve, reject) => {
      this.socket.on('data', (chunk: Buffer) => {
        if (this.answer !== null) return
        const frame = first.push(chunk)
        if (frame === null) return
        this.answer = Buffer.from(frame.body)
        resolve(this.answer)
      })
      this.socket.on('close', () => reject(new Error('closed without an answer')))
      this.socket.write(bytes)
    })
  }

  /** Bytes behind the first frame: of the session, when there is one. */
  get session(): Buffer {
    return Buffer.concat(this.received).subarray(this.answer === null ? 0 : 4 + this.answer.length)
  }
}
