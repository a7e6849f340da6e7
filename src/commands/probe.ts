// One end of a connection under test: sends bytes that cannot repeat themselves, hashes what it sends and what it gets,
// and lets a test wait for how the other side ended.
import { createHash, randomFillSync } from 'node:crypto'
import type { Connection, Ended, Handler } from '../net/index.ts'

const BLOCK = 65_536

export class Probe implements Handler {
  received = 0
  /** The other side's FIN. */
  readonly ended: Promise<void>
  readonly closed: Promise<Ended>
  readonly #connection: Connection
  readonly #sentHash = createHash('sha256')
  readonly #receivedHash = createHash('sha256')
  readonly #block = randomFillSync(Buffer.allocUnsafe(BLOCK))
  readonly #end = Promise.withResolvers<void>()
  readonly #close = Promise.withResolvers<Ended>()
  #wanted: { count: number; resolve: () => void } | null = null
  /** Bytes to send yet, how far the block went already, and what comes behind them. */
  #left = 0
  #at = 0
  #sent: (() => void) | null = null

  constructor(connection: Connection) {
    this.#connection = connection
    this.ended = this.#end.promise
    this.closed = this.#close.promise
  }

  /** Resolves when the connection took all of them. */
  send(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#left = count
    this.#sent = resolve
    this.#push()
    return promise
  }

  /** Resolves when at least `count` bytes came in all. */
  receive(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wanted = { count, resolve }
    this.#arrived()
    return promise
  }

  shutdown(): void {
    this.#connection.shutdown()
  }

  abort(): void {
    this.#connection.abort()
  }

  /** Of everything sent so far; only once. */
  sentHash(): string {
    return this.#sentHash.digest('hex')
  }

  /** Of everything received so far; only once. */
  receivedHash(): string {
    return this.#receivedHash.digest('hex')
  }

  onData(buf: Buffer): boolean {
    this.received += buf.length
    this.#receivedHash.update(buf)
    this.#arrived()
    return true
  }

  onDrain(): void {
    this.#push()
  }

  onEnd(): void {
    this.#end.resolve()
  }

  onClose(how: Ended): void {
    this.#close.resolve(how)
  }

  #arrived(): void {
    if (this.#wanted === null || this.received < this.#wanted.count) return
    this.#wanted.resolve()
    this.#wanted = null
  }

  #push(): void {
    while (this.#left > 0) {
      const length = Math.min(BLOCK - this.#at, this.#left)
      const taken = this.#connection.write(this.#block, this.#at, length)
      if (taken === 0) return
      this.#sentHash.update(this.#block.subarray(this.#at, this.#at + taken))
      this.#at += taken
      this.#left -= taken
      if (this.#at === BLOCK) {
        this.#at = 0
        // The same block again would hide blocks that changed places.
        this.#block.writeUInt32LE(this.#left >>> 0, 0)
      }
    }
    this.#sent?.()
    this.#sent = null
  }
}
