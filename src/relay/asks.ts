// What one session asks for while it lasts, BIND and UNBIND, in order. Each grant is a transaction on disk that all
// sessions wait for, so what comes together is granted together, and those of one key not more often than GAP_MS: an
// agent that asks and gives back without end holds up nobody.
import { LIMIT, type TunnelAsked } from '../frame/index.ts'

const GAP_MS = 100
/** Messages that may wait. */
const MOST = LIMIT.tunnels * 2

export class Asks {
  /** A number is the tunnel of an UNBIND. */
  readonly #waiting: (TunnelAsked | number)[] = []
  readonly #grant: (asked: readonly TunnelAsked[]) => void
  readonly #release: (tunnel: number) => void
  readonly #onTooMany: () => void
  readonly #processes: () => number
  #scheduled = false
  #stopped = false
  #timer: ReturnType<typeof setTimeout> | undefined
  #grantedAt = Number.NEGATIVE_INFINITY

  /** `processes`: how many sessions of the key there are. */
  constructor(
    grant: (asked: readonly TunnelAsked[]) => void,
    release: (tunnel: number) => void,
    onTooMany: () => void,
    processes: () => number,
  ) {
    this.#grant = grant
    this.#release = release
    this.#onTooMany = onTooMany
    this.#processes = processes
  }

  /** BIND, or UNBIND of a tunnel's number. */
  add(message: TunnelAsked | number): void {
    if (this.#stopped) return
    if (this.#waiting.length === MOST) return this.#onTooMany()
    this.#waiting.push(message)
    this.#schedule()
  }

  /** What waits is forgotten, and what still comes: the agent takes no streams any more. */
  stop(): void {
    this.#stopped = true
    this.#waiting.length = 0
    clearTimeout(this.#timer)
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    const wait = this.#grantedAt + GAP_MS * this.#processes() - performance.now()
    if (wait > 0) this.#timer = setTimeout(this.#run, wait)
    else queueMicrotask(this.#run)
  }

  readonly #run = (): void => {
    this.#scheduled = false
    const asked: TunnelAsked[] = []
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (typeof next === 'object') asked.push(next)
      else if (asked.length > 0) break
      else this.#release(next)
      this.#waiting.shift()
    }
    if (asked.length > 0) {
      this.#grantedAt = performance.now()
      this.#grant(asked)
    }
    if (this.#waiting.length > 0) this.#schedule()
  }
}
