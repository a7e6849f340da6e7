// Listening on TCP and unix sockets. A port is never shared: a second listener on it is an error, on purpose, because a
// public port that two processes could hold is a public port that could be stolen.
import { lstatSync, unlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import { WarrenError } from '../errors.ts'
import { plainHost } from './address.ts'
import { Connection, type Counter, type Handler } from './connection.ts'
import { descriptorOf, exhausted, hold, letGo } from './descriptors.ts'
import { type Owner, PLAIN, type Socket } from './events.ts'
import { holdingFolder, queuedAt, readUrgentInline, resetOnClose, setBacklog, unixListener } from './libc.ts'

/** Bun asks for 512, and 3,000 visitors at once would then wait for a second SYN. The kernel's somaxconn caps it. */
const BACKLOG = 4096

/** How many may be on their way into a listener's queue while it is counted: one for each core, and some. */
const ARRIVING = 64

/** Nobody but the owner, from the moment that the socket file exists. */
const UNIX_UMASK = 0o177

export interface Listener {
  readonly host: string
  readonly port: number
  /** The path of a unix socket; null for TCP. */
  readonly path: string | null
  /** Accepted (TLS: through the handshake) and not yet closed. */
  readonly connections: number
  /** No new connections; those that are open live on. */
  stop(): void
}

/**
 * `guarded`: every connection is as after `resetIfKilled`, from its first moment. `alone`: by a lock of the caller's, no other
 * process listens at that path, whatever has left a socket there.
 */
export type ListenOptions =
  | { host: string; port: number; guarded?: true }
  | { path: string; mode?: 0o600; alone?: true }

/** Listens; a port that is taken is W-PORT-BOUND, a unix socket that somebody listens at W-LOCKED. */
export function listen(options: ListenOptions, accept: (connection: Connection) => Handler): Listener {
  if ('path' in options) {
    const acceptor = new Acceptor(accept, false)
    return new Bound(listenUnix(options.path, options.alone === true, acceptor), acceptor, '', 0, options.path)
  }
  const acceptor = new Acceptor(accept, options.guarded === true)
  const listener = listenTcp(options.host, options.port, acceptor, { socket: PLAIN })
  if (options.guarded) acceptor.guardAll(listener.fd)
  return listener
}

class Acceptor implements Owner, Counter {
  connections = 0
  /** The next so many came before the listener had anything to inherit. */
  private early = 0

  constructor(
    private readonly accept: (connection: Connection) => Handler,
    private readonly guarded: boolean,
  ) {}

  onOpen(socket: Socket): void {
    hold()
    const host = plainHost(socket.remoteAddress)
    const inherited = this.guarded && this.early === 0
    const connection = new Connection(socket, host, socket.remotePort ?? 0, this, false, inherited)
    socket.data = connection
    if (this.early > 0) {
      this.early--
      connection.resetIfKilled()
      readUrgentInline(descriptorOf(socket))
    }
    connection.give(this.accept(connection))
  }

  /** What is accepted inherits this, which spares it system calls; whoever already waits to be accepted does not. */
  guardAll(fd: number): void {
    resetOnClose(fd, true)
    readUrgentInline(fd)
    const queued = queuedAt(fd)
    this.early = queued < 0 ? Number.POSITIVE_INFINITY : queued + ARRIVING
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

export class Bound implements Listener {
  private stopped = false

  constructor(
    private readonly listener: { stop(): void },
    private readonly counter: Counter,
    readonly host: string,
    readonly port: number,
    readonly path: string | null,
  ) {
    hold()
    setBacklog(this.fd, BACKLOG)
  }

  get fd(): number {
    return descriptorOf(this.listener)
  }

  get connections(): number {
    return this.counter.connections
  }

  stop(): void {
    if (this.stopped) return
    this.stopped = true
    this.listener.stop()
    letGo()
  }
}

/** Binds `host` and `port` for `acceptor`, which is the `data` of each socket until its `open`. */
export function listenTcp(
  host: string,
  port: number,
  acceptor: Owner & Counter,
  kind: { socket: Bun.SocketHandler<Owner>; tls?: Bun.TLSOptions },
): Bound {
  try {
    const listener = Bun.listen<Owner>({ hostname: host, port, allowHalfOpen: true, data: acceptor, ...kind })
    return new Bound(listener, acceptor, host, listener.port, null)
  } catch (thrown) {
    throw cannotBind(host, port, thrown)
  }
}

function cannotBind(host: string, port: number, thrown: unknown): unknown {
  const where = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  const options = { cause: thrown }
  // Bun's error says nothing of it.
  if (exhausted())
    return new WarrenError('W-INTERNAL', `${where} cannot be listened on: no file descriptor is left`, options)
  switch (codeOf(thrown)) {
    case 'EADDRINUSE':
      return new WarrenError('W-PORT-BOUND', `${where} is in use by another process`, options)
    case 'EADDRNOTAVAIL':
      return new WarrenError('W-PORT-BOUND', `${where} is not an address of this machine`, options)
    case 'EACCES':
      return new WarrenError('W-PORT-BOUND', `${where} may not be bound by this user`, {
        ...options,
        todo: 'Choose a port from 1024 on, or give warren the right to lower ones (CAP_NET_BIND_SERVICE).',
      })
    case '':
      // What Bun gives, without a code, for a name that does not resolve.
      return new WarrenError('W-PORT-BOUND', `${host} has no address, or none of this machine`, options)
    default:
      return new WarrenError('W-INTERNAL', `${where} cannot be listened on (${codeOf(thrown)})`, options)
  }
}

function listenUnix(path: string, alone: boolean, acceptor: Acceptor): { stop(): void } {
  try {
    return holdingFolder(dirname(path), () => {
      try {
        return bindUnix(path, acceptor)
      } catch (thrown) {
        if (codeOf(thrown) !== 'EADDRINUSE') throw thrown
        removeStale(path, alone)
        return bindUnix(path, acceptor)
      }
    })
  } catch (thrown) {
    if (thrown instanceof WarrenError) throw thrown
    throw new WarrenError('W-STATE', `${path} cannot be listened on (${codeOf(thrown)})`, { cause: thrown })
  }
}

function bindUnix(path: string, acceptor: Acceptor): { stop(): void } {
  const umask = process.umask(UNIX_UMASK)
  try {
    return Bun.listen<Owner>({ unix: path, allowHalfOpen: true, data: acceptor, socket: PLAIN })
  } finally {
    process.umask(umask)
  }
}

/** A process that was killed leaves its socket file behind; one that lives must not lose it to us. */
function removeStale(path: string, alone: boolean): void {
  if (!lstatSync(path).isSocket()) throw new WarrenError('W-STATE', `${path} exists and is not a socket`)
  // A path that is longer than an address of the system can be bound by Bun, and cannot be asked.
  const answer = alone ? 'none' : unixListener(path)
  if (answer === 'live' || answer === 'full') throw new WarrenError('W-LOCKED', `another process listens at ${path}`)
  if (answer === 'unknown') throw new WarrenError('W-LOCKED', `${path} exists; remove it if no process uses it`)
  unlinkSync(path)
}

function codeOf(thrown: unknown): string {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : ''
}
