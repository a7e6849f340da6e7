// TLS as the wire wants it: 1.3 and nothing below, no tickets, one application protocol that both ends must have chosen.
// Nobody meets a Connection before its handshake is done and checked.
import { constants, createHash, X509Certificate } from 'node:crypto'
import { WarrenError } from '../errors.ts'
import { plainHost } from './address.ts'
import { Connection, type Counter, type Handler } from './connection.ts'
import { deadlines, type Timed } from './deadlines.ts'
import { hold, letGo } from './descriptors.ts'
import { isTlsError, type Owner, SECURE, type Socket } from './events.ts'
import { type Listener, listenTcp } from './listen.ts'

export type ListenTlsOptions = {
  host: string
  port: number
  key: string
  cert: string
  alpn: string
  /** Whoever is not through its handshake by then is cut off. */
  handshakeMs: number
  /** Asked when a connection opens, before any cryptography. False: it is reset. */
  admit?: (remoteHost: string) => boolean
  /** Told once for each connection that was admitted, when its handshake is done or will never be. */
  onHandshakeEnd?: (remoteHost: string, ok: boolean) => void
}

/** Listens; `accept` is called for those that came through the handshake and chose our protocol, and for no others. */
export function listenTls(options: ListenTlsOptions, accept: (connection: Connection) => Handler): Listener {
  const acceptor = new TlsAcceptor(options, accept)
  return listenTcp(options.host, options.port, acceptor, {
    socket: SECURE,
    tls: {
      ...tlsOptions(options.alpn),
      key: options.key,
      cert: options.cert,
      requestCert: false,
    },
  })
}

/** What both sides have in common. Bun takes the protocol list in wire form only. */
export function tlsOptions(alpn: string): Bun.TLSOptions {
  const name = Buffer.from(alpn, 'latin1')
  return {
    ALPNProtocols: Buffer.concat([Buffer.of(name.length), name]),
    secureOptions:
      constants.SSL_OP_NO_TICKET |
      constants.SSL_OP_NO_SSLv3 |
      constants.SSL_OP_NO_TLSv1 |
      constants.SSL_OP_NO_TLSv1_1 |
      constants.SSL_OP_NO_TLSv1_2,
    // Each side decides by itself: the agent by the pin, the relay by the signature in INIT.
    rejectUnauthorized: false,
  }
}

/** Whether a handshake ended in TLS 1.3 and our protocol. */
export function negotiated(socket: Socket, alpn: string): boolean {
  return socket.alpnProtocol === alpn && socket.getTLSVersion() === 'TLSv1.3'
}

/** Whether a client's handshake is complete: its `ok` is false for our own certificates, and errors come in many codes. */
export function handshakeComplete(socket: Socket): boolean {
  try {
    const probe: unknown = socket.exportKeyingMaterial(32, 'EXPORTER-warren-probe')
    return Buffer.isBuffer(probe) && probe.length === 32
  } catch {
    return false
  }
}

/** SHA-256 of the peer's public key (the DER of its SubjectPublicKeyInfo): what a pin is compared with. */
export function peerKeyHash(socket: Socket): Buffer | null {
  try {
    const key = new X509Certificate(socket.getPeerCertificate().raw).publicKey
    return createHash('sha256')
      .update(key.export({ type: 'spki', format: 'der' }))
      .digest()
  } catch {
    return null
  }
}

/** An environment that turns certificate checks off is one where nothing that TLS says can be trusted. */
export function refuseUnsafeEnvironment(): void {
  if (process.env['NODE_TLS_REJECT_UNAUTHORIZED'] === undefined) return
  throw new WarrenError('W-ENVIRONMENT', 'NODE_TLS_REJECT_UNAUTHORIZED is set')
}

class TlsAcceptor implements Owner, Counter {
  connections = 0

  constructor(
    readonly options: ListenTlsOptions,
    readonly accept: (connection: Connection) => Handler,
  ) {}

  onOpen(socket: Socket): void {
    hold()
    const host = plainHost(socket.remoteAddress)
    const admitted = this.options.admit === undefined || this.options.admit(host)
    const handshake = new Handshake(this, socket, host, admitted)
    socket.data = handshake
    if (admitted) deadlines.set(handshake, this.options.handshakeMs)
    else socket.terminate()
  }

  onHandshake(): void {}
  onData(): void {}
  onDrain(): void {}
  onEnd(): void {}
  onClose(): void {}
  onConnectError(): void {}

  onError(error: Error): void {
    throw error
  }
}

/** An accepted socket that is not yet a Connection. */
class Handshake implements Owner, Timed {
  due = 0

  constructor(
    private readonly acceptor: TlsAcceptor,
    private readonly socket: Socket,
    private readonly host: string,
    /** The end of this handshake is still to be told. */
    private owed: boolean,
  ) {}

  onHandshake(socket: Socket, ok: boolean): void {
    const good = ok && negotiated(socket, this.acceptor.options.alpn)
    this.settle(good)
    if (good) {
      deadlines.clear(this)
      const connection = new Connection(socket, this.host, socket.remotePort, this.acceptor, true)
      socket.data = connection
      connection.give(this.acceptor.accept(connection))
    } else if (ok) {
      socket.terminate()
    }
    // Otherwise Bun closes it behind the alert that says why; the deadline stays for a peer that prevents that.
  }

  expire(): number {
    this.socket.terminate()
    return 0
  }

  onClose(): void {
    letGo()
    deadlines.clear(this)
    this.settle(false)
  }

  private settle(ok: boolean): void {
    if (!this.owed) return
    this.owed = false
    this.acceptor.options.onHandshakeEnd?.(this.host, ok)
  }

  onError(error: Error): void {
    if (!isTlsError(error)) throw error
  }

  onOpen(): void {}
  onData(): void {}
  onDrain(): void {}
  onEnd(): void {}
  onConnectError(): void {}
}
