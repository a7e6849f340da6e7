// Notices what no packet tells: that the address a connection was made from is gone (another network), or that the
// machine slept. A session need not wait for its link to be silent then.
import { networkInterfaces } from 'node:os'

const LOOK_MS = 1_000
/** The wall clock moved so much more than the clock that stands still in sleep. */
const SLEPT_MS = 3_000

/** What a machine knows of itself. */
export type Machine = {
  /** Goes on while the machine sleeps; may be set. In ms. */
  wall: () => number
  /** Stands still while the machine sleeps; is never set. In ms. */
  steady: () => number
  /** Null when nobody can be asked now: it takes a file descriptor, and more than a hardened unit may allow. */
  addresses: () => readonly string[] | null
}

const THIS_MACHINE: Machine = {
  wall: () => Date.now(),
  steady: () => performance.now(),
  addresses: () => {
    try {
      return Object.values(networkInterfaces()).flatMap(list => (list ?? []).map(a => a.address))
    } catch {
      return null
    }
  },
}

/** gone: the address that the connection was made from. slept: the machine; or its clock was set forward, which looks the same. */
export type Moved = 'gone' | 'slept'

export class Roaming {
  readonly #localHost: () => string | null
  readonly #onMoved: (why: Moved) => void
  readonly #machine: Machine
  readonly #timer: ReturnType<typeof setInterval>
  #wall: number
  #steady: number
  /** The connection's address, once the machine was seen to have it: Bun's list leaves out interfaces without a carrier. */
  #seen: string | null = null

  /** `localHost`: where the connection was made from, null while there is none. */
  constructor(localHost: () => string | null, onMoved: (why: Moved) => void, machine = THIS_MACHINE) {
    this.#localHost = localHost
    this.#onMoved = onMoved
    this.#machine = machine
    this.#wall = machine.wall()
    this.#steady = machine.steady()
    this.#timer = setInterval(() => this.look(), LOOK_MS)
    this.#timer.unref()
  }

  /** A connection was made: its address may be gone before the next look. */
  connected(): void {
    const address = this.#address()
    this.#seen = this.#listed(address) ? address : null
  }

  /** Looks now. */
  look(): void {
    const slept = this.#slept()
    const address = this.#address()
    if (address === null) return
    const listed = this.#listed(address)
    const gone = listed === false && this.#seen === address
    this.#seen = listed ? address : null
    if (gone) this.#onMoved('gone')
    else if (slept) this.#onMoved('slept')
  }

  /** Without the zone that a link-local address may carry. Empty: the socket is closing, and says so itself. */
  #address(): string | null {
    return this.#localHost()?.split('%')[0] ?? null
  }

  /** Undefined: nobody can say. */
  #listed(address: string | null): boolean | undefined {
    return address === null || address === '' ? undefined : this.#machine.addresses()?.includes(address)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #slept(): boolean {
    const wall = this.#machine.wall()
    const steady = this.#machine.steady()
    const jump = wall - this.#wall - (steady - this.#steady)
    this.#wall = wall
    this.#steady = steady
    return jump >= SLEPT_MS
  }
}
