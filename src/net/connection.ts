// One byte connection over a Bun socket, be it TCP, TLS or unix. It turns what Bun reports into three facts that can be
// relied on: `end` is told once and only for a real FIN, `close` is told last, and a connection that ended in a reset is
// never told as closed. Where Bun's own account of an end is not enough, the comments say what was seen.
import { WarrenError } from '../errors.ts'
import { isLoopback, plainHost } from './address.ts'
import { deadlines, type Timed } from './deadlines.ts'
import { descriptorOf, letGo } from './descriptors.ts'
import { isTlsError, type Owner, type Socket } from './events.ts'
import { canReadNow, INFO, info, inform, readNow, resetOnClose, sendNow, takeSocketError } from './libc.ts'
import { Path, sendUnpaced } from './path.ts'

/** closed: FIN both ways. reset: by either side, or anything that broke it. timeout: `linger` passed. */
export type Ended = 'closed' | 'reset' | 'timeout'

/** Named `on…` because a splice is both a Handler and a session's Sink, which has `data` and `end` of its own. */
export interface Handler {
  /** The buffer is the handler's from now on. True: it kept no view of it, and net frees it (`release`). */
  onData(buf: Buffer): boolean
  /** There is room again after a write that did not take all. */
  onDrain(): void
  /** The peer's FIN. Once, before `close`, also when it came after our own. */
  onEnd(): void
  /** Once, and last. */
  onClose(how: Ended): void
}

/** Bytes that lie apart in one buffer: from each `at`, `len` of them. */
export interface Parts {
  readonly buf: Uint8Array
  readonly count: number
  readonly bytes: number
  readonly at: readonly number[]
  readonly len: readonly number[]
}

/** What counts the connections of a listener. */
export interface Counter {
  connections: number
}

/** Stands in before the owner gives a handler, and again after `close`, so that events need no check of their own. */
const NOBODY: Handler = { onData: () => true, onDrain() {}, onEnd() {}, onClose() {} }

/** Chunks below this are left to the garbage collector: freeing one by hand costs as much as it saves. */
const WORTH_FREEING = 16_384

/** Frees a chunk at once. Only for a chunk that nobody keeps a view of: views of it become empty without a word. */
export function release(buf: Buffer): void {
  if (buf.length < WORTH_FREEING) return
  const whole = buf.buffer
  if (whole.byteLength === buf.length && whole instanceof ArrayBuffer) whole.transfer(0)
}

/** Keepalive costs four calls of the kernel, a twentieth of a short connection: only one that has lasted so long gets it, in ms. */
const LASTING = 10_000

/** Checks of progress per linger: it ends between one linger and one and a quarter after the last byte moved. */
const LINGER_CHECKS = 4

/** Who writes so many bytes at once sends bulk. */
const BULK = 32 * 1024

export class Connection implements Owner, Timed {
  handler: Handler = NOBODY
  readonly remoteHost: string
  readonly remotePort: number
  /** The last write took all. */
  writable = true
  due = 0

  private readonly socket: Socket
  private readonly counter: Counter | null
  private readonly secure: boolean
  /** Writes still go to the socket: not shut, not broken, not gone. */
  private open = true
  private shut = false
  private ended = false
  private paused = false
  /** A write met a reset, or TLS failed: what Bun reports from here on may look like a clean end, and is none. */
  private broken = false
  /** Bun closed the socket after the peer closed both its directions (unix); our own end is still to come. */
  private vanished = false
  /** `close` was told, or `mute` called: no handler call any more. */
  private done = false
  /** Bytes may be lost if the process dies now, so its death has to show as a reset. */
  private guarded: boolean
  /** Keepalive to be set once the connection has lasted; 0: none, or set. */
  private keepAliveMs = 0
  private lingerMs = 0
  private lingerUntil = 0
  private quietChecks = 0
  /** What the peer's system had at the last check of a linger; -1: not asked yet. */
  private acked = -1
  private moved = false
  /** It has been looked at whether the system should pace what is sent. */
  private sendsBulk = false

  /** `guarded`: the socket was made with what `resetIfKilled` would set. */
  constructor(
    socket: Socket,
    remoteHost: string,
    remotePort: number,
    counter: Counter | null,
    secure: boolean,
    guarded = false,
  ) {
    this.guarded = guarded
    this.socket = socket
    this.remoteHost = remoteHost
    this.remotePort = remotePort
    this.counter = counter
    this.secure = secure
    if (counter !== null) counter.connections++
  }

  get localHost(): string {
    return plainHost(this.socket.localAddress)
  }

  get localPort(): number {
    return this.socket.localPort ?? 0
  }

  /** What the system knows of the path under it, and how it sends on it. */
  get path(): Path {
    return new Path(this.socket)
  }

  /** How many of `len` bytes were taken; 0 when blocked, shut or gone. Nothing is queued here: keep the rest. */
  write(buf: Uint8Array, at: number, len: number): number {
    if (!this.open) return this.writeNowhere(len)
    if (len >= BULK && !this.sendsBulk) this.unpace()
    const taken = this.socket.write(buf, at, len)
    if (taken === len) {
      this.writable = true
      this.moved = true
      return taken
    }
    this.writable = false
    if (taken > 0) this.moved = true
    if (taken >= 0) return taken
    this.break()
    return 0
  }

  /** As write(), of `parts` in order: past Bun at once, on Linux and for what is not TLS. */
  writeParts(parts: Parts): number {
    const { buf, count, bytes, at, len } = parts
    if (count === 1) return this.write(buf, at[0]!, len[0]!)
    if (!this.open) return this.writeNowhere(bytes)
    if (bytes >= BULK && !this.sendsBulk) this.unpace()
    let taken = this.writable && !this.secure ? sendNow(descriptorOf(this.socket), buf, at, len, count) : 0
    if (taken > 0) this.moved = true
    // The rest, by Bun: it tells of the drain, or of what broke.
    let skip = taken
    for (let i = 0; i < count; i++) {
      const left = len[i]! - skip
      if (left > 0) {
        const more = this.write(buf, at[i]! + skip, left)
        taken += more
        if (more < left) break
      }
      skip = Math.max(0, -left)
    }
    return taken
  }

  /** Whether take() is to be had: on Linux, for plain TCP. */
  get takes(): boolean {
    return !this.secure && this.remotePort > 0 && canReadNow()
  }

  /**
   * Reads what has arrived past Bun, straight to where it is wanted: into `into` from `at` of its piece `first` on, up to
   * `len` bytes. 0: nothing is there now; an end is told as ever.
   */
  take(into: readonly Uint8Array[], first: number, at: number, len: number): number {
    if (this.done || this.broken || this.ended || this.vanished) return 0
    const taken = readNow(descriptorOf(this.socket), into, first, at, len)
    if (taken >= 0) {
      if (taken > 0) this.moved = true
      return taken
    }
    // The error of the reset went with this read: Bun would read a clean end.
    this.open = false
    this.broken = true
    setImmediate(reset, this)
    return 0
  }

  private writeNowhere(len: number): number {
    this.writable = false
    // As with TCP: who writes to a peer that closed both directions meets a reset.
    if (len > 0 && this.vanished && !this.broken && !this.shut) this.break()
    return 0
  }

  /**
   * Sends FIN (TLS: close_notify and FIN) behind all bytes taken so far, and keeps reading. Once both directions have
   * ended `close` follows by itself, but never before this returns.
   */
  shutdown(): void {
    if (this.shut || this.done) return
    this.shut = true
    this.open = false
    if (this.vanished) {
      setImmediate(closeVanished, this)
      return
    }
    if (this.broken) return
    // The close_notify would swallow the error of a reset that arrived after the peer's FIN.
    if (this.secure && this.ended && takeSocketError(descriptorOf(this.socket)) !== 0) this.broken = true
    // With the guard on, a close behind the FIN would throw away what the peer has not acknowledged yet.
    if (this.guarded) resetOnClose(descriptorOf(this.socket), false)
    this.socket.shutdown()
  }

  /** Resets the connection: RST on TCP and TLS; on unix the peer sees a reset only if it left bytes unread by us. */
  abort(): void {
    this.fail('reset')
  }

  /** No handler call any more, not even `close`, and the socket is terminated. */
  mute(): void {
    if (this.done) return
    this.retire()
    if (!this.vanished) this.socket.terminate()
  }

  /** One more chunk may still come, when a reset arrives meanwhile or right after a handshake. */
  pause(): void {
    if (this.paused || this.done) return
    this.paused = true
    if (this.broken) setImmediate(reset, this)
    if (!this.vanished) this.socket.pause()
  }

  resume(): void {
    if (!this.paused || this.done) return
    this.paused = false
    if (!this.vanished) this.socket.resume()
  }

  /** Until shutdown(), the death of this process, even by kill -9, reaches the peer as RST and not as a clean end. */
  resetIfKilled(): void {
    if (this.done || this.vanished || this.guarded) return
    this.guarded = true
    resetOnClose(descriptorOf(this.socket), true)
  }

  /**
   * Once the connection has lasted for `lasting` ms: probes a peer that is idle for `ms`, then every second, and gives up
   * after ten without an answer. Not while it lingers.
   */
  keepAlive(ms: number, lasting = LASTING): void {
    if (this.done || this.lingerMs > 0) return
    this.keepAliveMs = ms
    deadlines.set(this, lasting)
  }

  /**
   * Ends the connection after `ms` in which no byte moved in either direction, also out of the system's buffer, and after
   * `most` whatever moves: one whose peer sends a byte now and then would otherwise never end. Each call starts it anew; 0
   * ends it.
   */
  linger(ms: number, most = Number.POSITIVE_INFINITY): void {
    if (this.done) return
    this.keepAliveMs = 0
    this.lingerMs = ms
    this.lingerUntil = performance.now() + most
    this.quietChecks = 0
    this.acked = -1
    this.moved = false
    if (ms > 0) deadlines.set(this, ms / LINGER_CHECKS)
    else deadlines.clear(this)
  }

  /** Exactly `length` bytes of keying material of this TLS connection. */
  exporter(label: string, length: number): Buffer {
    let material: unknown = null
    if (this.secure && !this.done) {
      try {
        material = this.socket.exportKeyingMaterial(length, label)
      } catch {
        // Before the handshake it throws; after the close it gives undefined.
      }
    }
    if (Buffer.isBuffer(material) && material.length === length) return material
    throw new WarrenError('W-INTERNAL', 'the TLS connection gave no keying material')
  }

  expire(now: number): number {
    if (this.keepAliveMs > 0) {
      if (!this.vanished) this.socket.setKeepAlive(true, this.keepAliveMs)
      this.keepAliveMs = 0
      return 0
    }
    this.quietChecks = this.moved || this.drains() ? 0 : this.quietChecks + 1
    this.moved = false
    if (this.quietChecks < LINGER_CHECKS && now < this.lingerUntil)
      return Math.min(now + this.lingerMs / LINGER_CHECKS, this.lingerUntil)
    this.fail('timeout')
    return 0
  }

  /** Since it was asked last the peer took bytes that the system has: whoever reads slowly may take minutes for those. */
  private drains(): boolean {
    if (!inform(descriptorOf(this.socket))) return false
    const before = this.acked
    this.acked = info[INFO.bytesAcked]!
    return before >= 0 && this.acked !== before
  }

  onOpen(): void {}

  onHandshake(): void {}

  onConnectError(): void {}

  onData(buf: Buffer): void {
    this.moved = true
    if (this.handler.onData(buf)) release(buf)
  }

  private unpace(): void {
    this.sendsBulk = true
    if (isLoopback(this.remoteHost)) sendUnpaced(descriptorOf(this.socket))
  }

  onDrain(): void {
    // Bun also calls it after resume(), a handshake and an end, with nothing blocked.
    if (this.writable || !this.open) return
    this.writable = true
    this.handler.onDrain()
  }

  onEnd(): void {
    // A write that met a reset took the error with it, and Bun then reads that reset as an end.
    if (this.ended || this.broken || this.done) return
    this.ended = true
    this.moved = true
    this.handler.onEnd()
  }

  onError(error: Error): void {
    this.break()
    if (!isTlsError(error)) throw error
  }

  onClose(error: Error | undefined): void {
    letGo()
    if (this.counter !== null) this.counter.connections--
    if (this.done) return
    if (error !== undefined || this.broken || !(this.shut || this.ended)) {
      this.finish('reset')
    } else if (!this.shut) {
      this.vanished = true
      this.open = false
    } else {
      // After our own shutdown Bun reports the peer's FIN on TCP and unix by this call alone.
      this.onEnd()
      this.finish('closed')
    }
  }

  private break(): void {
    this.open = false
    this.broken = true
    // Otherwise Bun first reads what had arrived before the reset, and closes by itself.
    if (this.paused || this.vanished) setImmediate(reset, this)
  }

  /** The socket is gone or will be at once; the handler hears `how`, and nothing after it. */
  fail(how: Ended): void {
    if (this.done) return
    const handler = this.retire()
    if (!this.vanished) this.socket.terminate()
    handler.onClose(how)
  }

  finish(how: Ended): void {
    if (!this.done) this.retire().onClose(how)
  }

  private retire(): Handler {
    const handler = this.handler
    this.handler = NOBODY
    this.done = true
    this.open = false
    this.writable = false
    if (this.lingerMs > 0 || this.keepAliveMs > 0) deadlines.clear(this)
    return handler
  }

  /** Hands a new connection to whoever is to have it. `null`: nobody wants it. */
  give(handler: Handler | null): void {
    if (this.done) return
    if (handler !== null) this.handler = handler
    else if (this.handler === NOBODY) this.mute()
  }
}

function reset(connection: Connection): void {
  connection.fail('reset')
}

function closeVanished(connection: Connection): void {
  connection.finish('closed')
}
