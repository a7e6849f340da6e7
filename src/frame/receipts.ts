// When the peer is told how much has arrived: after so many bytes, a while after the first of few, or along with a PONG
// (docs/protocol.md, "Receipts"). RECEIPT, PING and PONG alone make none due: two sides would receipt each other's receipts.
import { putReceipt } from './codec.ts'
import { TUNING } from './wire.ts'

/** A PONG takes a receipt along when at least so much is unreceipted, so that idle rings empty. */
const WITH_PONG = 1024

export class Receipts {
  /** Bytes received since registration: the position that a receipt names. */
  received = 0
  /** One is to be sent as soon as there is room. */
  due = false
  /** Something other than RECEIPT, PING and PONG is in the chunk being decoded. */
  countable = false
  #receipted = 0
  #at = Number.POSITIVE_INFINITY

  /** When one becomes due without anything more arriving, in the clock of `now`; Infinity while one is due or none will be. */
  get at(): number {
    return this.due ? Number.POSITIVE_INFINITY : this.#at
  }

  /** So much is unreceipted that it should not wait for the end of the turn. */
  get urgent(): boolean {
    return this.due && this.received - this.#receipted >= TUNING.receiptAtOnce
  }

  /** A chunk of the connection arrived, and is decoded next. */
  begin(bytes: number): void {
    this.received += bytes
    this.countable = false
  }

  /** It is decoded. */
  end(now: number): void {
    const unreceipted = this.received - this.#receipted
    if (unreceipted >= TUNING.receiptBytes) {
      this.due = true
    } else if (this.countable) {
      const soon = unreceipted >= TUNING.receiptSoonBytes
      this.#at = Math.min(this.#at, now + (soon ? TUNING.receiptSoon : TUNING.receiptDelay))
    }
  }

  /** Whether its time has come. */
  check(now: number): boolean {
    if (now < this.#at) return false
    this.due = true
    return true
  }

  /** A PONG is about to be sent. */
  withPong(): void {
    if (this.received - this.#receipted >= WITH_PONG) this.due = true
  }

  /** Writes the frame into `into`; returns its size. */
  put(into: Buffer): number {
    this.restart()
    return putReceipt(into, this.received)
  }

  /** The peer knows all that was received: by this receipt, or by the positions of a resume. */
  restart(): void {
    this.due = false
    this.#at = Number.POSITIVE_INFINITY
    this.#receipted = this.received
  }
}
