// Notices what no packet tells: that the address a connection was made from is gone (another network), or that the
// machine slept. A session need not wait for its link to be silent then.
import { networkInterfaces } from 'node:os'

const LOOK_MS = 1_000
/** The wall clock moved so much more than the clock that stands still in sleep. */
const SLEPT_MS = 3_000

export class Roaming {
  readonly #timer: ReturnType<typeof setInterval>
  #wall = Date.now()
  #steady = performance.now()

  /** `localHost`: where the connection was made from, null while there is none. */
  constructor(localHost: () => string | null, onMoved: () => void) {
    this.#timer = setInterval(() => {
      const host = localHost()
      if (this.#slept() || (host !== null && !has(host))) onMoved()
    }, LOOK_MS)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #slept(): boolean {
    const wall = Date.now()
    const steady = performance.now()
    const jump = wall - this.#wall - (steady - this.#steady)
    this.#wall = wall
    this.#steady = steady
    return jump >= SLEPT_MS
  }
}

function has(host: string): boolean {
  for (const addresses of Object.values(networkInterfaces()))
    if (addresses?.some(a => a.address === host || `::ffff:${a.address}` === host)) return true
  return false
}
