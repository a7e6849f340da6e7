// Dialling: to an address, a name or a unix socket, plain or by TLS, with a deadline and a way to give up. A name's
// addresses race each other (RFC 8305). Bun cannot cancel a connect, so an attempt that lost or was given up goes on in
// the kernel, plain on Linux for 7 s and otherwise for as long as that tries; its socket is terminated the moment it opens,
// and until then its descriptor stays counted.
import { isIP } from 'node:net'
import { isLocalhost } from './address.ts'
import { Connection, type Handler } from './connection.ts'
import { deadlines, type Timed } from './deadlines.ts'
import { descriptorOf, hold, letGo } from './descriptors.ts'
import { isTlsError, type Owner, PLAIN, SECURE, type Socket } from './events.ts'
import { type DialFailure, explain, moreTelling, type NotDialled } from './failure.ts'
import { nextDescriptor, prepareDial, unixListener } from './libc.ts'
import { handshakeComplete, negotiated, peerKeyHash, tlsOptions } from './tls.ts'

export type Target = { host: string; port: number } | { path: string }

export type Dialled = { ok: Connection }
export type DialledTls = { ok: Connection; peerKeyHash: Buffer }

export interface Dialing {
  /** Nothing is called back any more. After the answer it does nothing. */
  cancel(): void
}

export type DialTlsOptions = {
  timeoutMs: number
  alpn: string
  serverName?: string
}

/** `done` is called once, never before this returns; the Handler it returns gets the connection (none: it is dropped). */
export function dial(
  target: Target,
  timeoutMs: number,
  // biome-ignore lint/suspicious/noConfusingVoidType: a callback that fails has nothing to return
  done: (result: Dialled | NotDialled) => Handler | void,
): Dialing {
  return new Race(target, timeoutMs, null, {
    ok: connection => done({ ok: connection }) ?? null,
    fail: (fail, detail) => void done({ fail, detail }),
  })
}

/**
 * `done` is called after the handshake and before a byte is written: the caller compares `peerKeyHash` with its pin
 * there, since no authority signed that certificate.
 */
export function dialTls(
  target: { host: string; port: number },
  options: DialTlsOptions,
  // biome-ignore lint/suspicious/noConfusingVoidType: as above
  done: (result: DialledTls | NotDialled) => Handler | void,
): Dialing {
  return new Race(target, options.timeoutMs, options, {
    ok: (connection, keyHash) => done({ ok: connection, peerKeyHash: keyHash }) ?? null,
    fail: (fail, detail) => void done({ fail, detail }),
  })
}

/** How long an address has before the next one is tried as well. */
const HEAD_START = 250

/** A unix socket whose backlog is full refuses at once, where TCP lets the kernel try again. */
const UNIX_RETRY = 50

type Address = { host: string; port: number } | { path: string }
type Done = {
  ok(connection: Connection, keyHash: Buffer): Handler | null
  fail(why: DialFailure, detail: string): void
}

class Race implements Dialing, Timed {
  due = 0
  over = false
  readonly tls: DialTlsOptions | null
  private readonly done: Done
  private readonly deadline: number
  private readonly timeoutMs: number
  private waiting: Address[] = []
  private resolving = false
  /** Inside Bun.connect, which tells some failures of a unix socket before it returns. */
  starting = false
  private pending = 0
  private leader: Socket | null = null
  private failure: NotDialled | null = null
  /** The caller gave a name, and each address of it is tried. */
  private readonly resolved: boolean
  private retry: Address | null = null

  constructor(target: Target, timeoutMs: number, tls: DialTlsOptions | null, done: Done) {
    this.tls = tls
    this.done = done
    this.timeoutMs = timeoutMs
    this.deadline = performance.now() + timeoutMs
    deadlines.set(this, timeoutMs)
    this.resolved = !('path' in target) && isIP(bare(target.host)) === 0
    if (!('path' in target) && this.resolved) this.resolve(target.host, target.port)
    else this.start(target)
  }

  cancel(): void {
    if (this.over) return
    this.stop()
    this.leader?.terminate()
  }

  expire(now: number): number {
    if (now >= this.deadline) {
      const what = this.leader !== null ? 'the TLS handshake' : this.resolving ? 'the name lookup' : 'the connect'
      const leader = this.leader
      this.lose('timeout', `${what} took longer than ${this.timeoutMs} ms`)
      leader?.terminate()
      return 0
    }
    if (this.leader === null) {
      const retry = this.retry
      this.retry = null
      if (retry !== null) this.start(retry)
      else this.startNext()
    }
    return this.over ? 0 : this.next(now)
  }

  private next(now: number): number {
    if (this.leader !== null) return this.deadline
    if (this.retry !== null) return Math.min(this.deadline, now + UNIX_RETRY)
    return this.waiting.length > 0 ? Math.min(this.deadline, now + HEAD_START) : this.deadline
  }

  private async resolve(host: string, port: number): Promise<void> {
    this.resolving = true
    let found: readonly { address: string; family: number }[]
    try {
      found = isLocalhost(host) ? LOOPBACK : await Bun.dns.lookup(host, { backend: 'getaddrinfo' })
    } catch (thrown) {
      this.lose('not-found', `${host} has no address (${codeOf(thrown) || 'lookup failed'})`)
      return
    }
    if (this.over) return
    this.resolving = false
    this.waiting = interleave(found).map(address => ({ host: address, port }))
    if (this.waiting.length === 0) this.lose('not-found', `${host} has no address`)
    else this.startNext()
  }

  private startNext(): void {
    const address = this.waiting.shift()
    if (address === undefined) return
    this.start(address)
    if (!this.over) this.rearm()
  }

  private rearm(): void {
    const now = performance.now()
    deadlines.set(this, Math.max(0, this.next(now) - now))
  }

  private start(address: Address): void {
    this.pending++
    hold()
    const attempt = new Attempt(this, address)
    this.starting = true
    try {
      this.connect(address, attempt)
    } catch (thrown) {
      attempt.onConnectError(thrown)
    } finally {
      this.starting = false
    }
  }

  private connect(address: Address, attempt: Attempt): void {
    const common = { allowHalfOpen: true, data: attempt }
    if ('path' in address) {
      Bun.connect<Owner>({ ...common, unix: address.path, socket: PLAIN }).catch(toldByConnectError)
      return
    }
    const where = { ...common, hostname: bare(address.host), port: address.port }
    if (this.tls === null) {
      // Bun makes the socket in this call, and shows it once it is connected. Were the process killed in between, the
      // other side would meet a clean end without a byte.
      const fd = nextDescriptor()
      Bun.connect<Owner>({ ...where, socket: PLAIN }).catch(toldByConnectError)
      if (prepareDial(fd)) attempt.guarded = fd
      return
    }
    const { alpn, serverName } = this.tls
    const tls = serverName === undefined ? tlsOptions(alpn) : { ...tlsOptions(alpn), serverName }
    Bun.connect<Owner>({ ...where, socket: SECURE, tls }).catch(toldByConnectError)
  }

  /** The first to open wins the race; over TLS it still has its handshake before it. */
  lead(socket: Socket): boolean {
    if (this.over || this.leader !== null) return false
    this.leader = socket
    this.waiting = []
    if (this.tls !== null) this.rearm()
    return true
  }

  win(connection: Connection, keyHash: Buffer): void {
    this.stop()
    connection.give(this.done.ok(connection, keyHash))
  }

  /** One address failed: the next one starts at once; after the last the most telling failure is the answer. */
  failed(address: Address, code: string): void {
    this.pending--
    if (this.over || this.leader !== null) return
    if ('path' in address && code === 'ECONNREFUSED' && busy(address.path)) {
      this.retry = address
      this.rearm()
      return
    }
    this.failure = moreTelling(this.failure, explain('path' in address ? '' : address.host, this.resolved, code))
    if (this.waiting.length > 0) this.startNext()
    else if (this.pending === 0) this.lose(this.failure.fail, this.failure.detail)
  }

  lose(fail: DialFailure, detail: string): void {
    if (this.over) return
    this.stop()
    this.done.fail(fail, detail)
  }

  private stop(): void {
    this.over = true
    this.waiting = []
    this.retry = null
    deadlines.clear(this)
  }
}

/** One address of a race, and the owner of its socket until that is a Connection. */
class Attempt implements Owner {
  /** The descriptor that the socket was thought to get, and that a close resets; -1: none. */
  guarded = -1
  private settled = false
  /** Only what becomes of the leader decides the race; the socket of another is terminated, and Bun tells that like a failure. */
  private leads = false

  constructor(
    private readonly race: Race,
    private readonly address: Address,
  ) {}

  onOpen(socket: Socket): void {
    this.leads = this.race.lead(socket)
    if (!this.leads) socket.terminate()
    else if (this.race.tls === null) this.race.win(this.connect(socket), NO_KEY)
  }

  onHandshake(socket: Socket, _ok: boolean, error: Error | null): void {
    const { race } = this
    if (!this.leads || race.over || race.tls === null) return
    if (!handshakeComplete(socket)) {
      // Bun closes it by itself, behind the alert.
      if (error === null || !isTlsError(error)) race.lose('refused', 'closed during the TLS handshake')
      else if (error.message.includes('NO_APPLICATION_PROTOCOL')) race.lose('alpn', NOT_OURS)
      else race.lose('tls', `the TLS handshake failed (${reasonOf(error)})`)
      return
    }
    const keyHash = peerKeyHash(socket)
    if (negotiated(socket, race.tls.alpn) && keyHash !== null) {
      race.win(this.connect(socket), keyHash)
      return
    }
    if (keyHash === null) race.lose('tls', 'the certificate cannot be read')
    else race.lose('alpn', NOT_OURS)
    socket.terminate()
  }

  private connect(socket: Socket): Connection {
    const { address } = this
    const host = 'path' in address ? '' : bare(address.host)
    const port = 'path' in address ? 0 : address.port
    const guarded = this.guarded >= 0 && this.guarded === descriptorOf(socket)
    const connection = new Connection(socket, host, port, null, this.race.tls !== null, guarded)
    socket.data = connection
    // As its socket is since the dial began, or should be.
    if (this.race.tls === null) connection.resetIfKilled()
    return connection
  }

  onConnectError(error: unknown): void {
    if (this.race.starting) {
      setImmediate(failLater, this, error)
      return
    }
    if (this.settled) return
    this.settled = true
    letGo()
    this.race.failed(this.address, codeOf(error))
  }

  onClose(error: Error | undefined): void {
    letGo()
    if (!this.leads) return
    const how = error === undefined ? 'closed' : 'reset'
    this.race.lose('refused', `${how} during the TLS handshake`)
  }

  onError(error: Error): void {
    if (!isTlsError(error)) throw error
    if (this.leads) this.race.lose('tls', `the TLS handshake failed (${reasonOf(error)})`)
  }

  onData(): void {}
  onDrain(): void {}
  onEnd(): void {}
}

const NO_KEY = Buffer.alloc(0)
const NOT_OURS = 'it speaks TLS, but not this protocol'

/** Bun shows EAGAIN, a full backlog, as a refusal, too. */
function busy(path: string): boolean {
  const listener = unixListener(path)
  return listener === 'full' || listener === 'live'
}

/** IPv6 first, then in turns: a family that does not work costs one head start, not one per address. */
function interleave(found: readonly { address: string; family: number }[]): string[] {
  const six = [...new Set(found.filter(a => a.family === 6).map(a => a.address))]
  const four = [...new Set(found.filter(a => a.family === 4).map(a => a.address))]
  const mixed: string[] = []
  for (let i = 0; i < Math.max(six.length, four.length); i++) {
    if (i < six.length) mixed.push(six[i]!)
    if (i < four.length) mixed.push(four[i]!)
  }
  return mixed
}

/** What `localhost` stands for. */
const LOOPBACK = [
  { address: '::1', family: 6 },
  { address: '127.0.0.1', family: 4 },
]

/** An address in a URL's brackets, without them. */
function bare(host: string): string {
  return host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host
}

function codeOf(thrown: unknown): string {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : ''
}

/** The last part of BoringSSL's 'error:10000460:SSL routines:OPENSSL_internal:…', a fixed text of its own. */
function reasonOf(error: Error): string {
  return error.message.slice(error.message.lastIndexOf(':') + 1)
}

/** The same failure as in `connectError`, which has told it. */
function toldByConnectError(): void {}

function failLater(attempt: Attempt, thrown: unknown): void {
  attempt.onConnectError(thrown)
}
