// The local services: dials what the command line named, for each stream, and knows whether it answers. The wire carries
// tunnel ids, never addresses: nothing else can be reached through an agent.
import { formatLocal, type Local, type TunnelSpec } from '../config/index.ts'
import { RESET_CODE, type ResetCode, type Stream, type TunnelAsked } from '../frame/index.ts'
import type { Splice } from '../link/index.ts'
import {
  type Connection,
  type DialFailure,
  type Dialing,
  dial,
  type Handler,
  isLocalhost,
  isLoopback,
  type NotDialled,
  type Target,
} from '../net/index.ts'
import type { Emit } from '../telemetry/events.ts'

const DIAL_MS = 5_000
/** How often a service that does not answer is tried again, in ms. */
const PROBE_MS = 2_000
/** So long the address that a name was last reached at is dialled without asking again what the name stands for. */
const REACHED_MS = 5_000

const RESET_OF: Record<DialFailure, ResetCode> = {
  refused: RESET_CODE.REFUSED,
  reset: RESET_CODE.ABORTED,
  timeout: RESET_CODE.TIMEOUT,
  unreachable: RESET_CODE.UNREACHABLE,
  'not-found': RESET_CODE.UNREACHABLE,
  limit: RESET_CODE.LOCAL_LIMIT,
  tls: RESET_CODE.REFUSED,
  alpn: RESET_CODE.REFUSED,
}

/** What a person is told; for the others the system's own words say more. */
const WHY_DOWN: Partial<Record<DialFailure, string>> = {
  refused: 'connection refused',
  timeout: `no answer within ${DIAL_MS / 1000} s`,
}

/** A probe leaves by FIN, and waits for the service's: a service logs a reset as a fault. */
const LEAVING: Handler = { onData: () => true, onDrain() {}, onEnd() {}, onClose() {} }

export class Service {
  readonly id: number
  readonly spec: TunnelSpec
  /** In this session it was asked for, and the answer is on its way or was a tunnel. */
  claimed = false
  /** Where it was told that the tunnel is open, and not yet that it is closed; null otherwise. */
  address: string | null = null
  /** Another process of this key took its tunnel over: asked for only as long as nobody has it. */
  taken = false
  /** Bytes to visitors and from them, of the streams that are closed. */
  sent = 0
  received = 0
  readonly #target: Target
  readonly #emit: Emit
  #down = false
  /** Somebody listened at its port at the last look. */
  #listened = false
  /** Where a name's service answered last, and until when that is good. */
  #reached: Target | null = null
  #reachedUntil = 0
  #probe: Dialing | null = null
  #probeTimer: ReturnType<typeof setTimeout> | undefined

  constructor(id: number, spec: TunnelSpec, emit: Emit) {
    this.id = id
    this.spec = spec
    this.#target = targetOf(spec.local)
    this.#emit = emit
  }

  /** What the relay is asked for. */
  asked(yields: boolean): TunnelAsked {
    const { name, port } = this.spec
    return { id: this.id, name, port, ...(yields ? { yields: true } : {}) }
  }

  /** Dials the service for a stream that was just opened; its bytes wait meanwhile. */
  connect(stream: Stream, splice: Splice): void {
    splice.accept(stream)
    const known = performance.now() < this.#reachedUntil ? this.#reached : null
    if (known === null) {
      this.#dial(this.#target, splice)
      return
    }
    splice.dialing = dial(known, DIAL_MS, result => {
      if ('ok' in result) return this.#join(result.ok, splice)
      this.#reached = null
      // A reset is an answer, and trying again would be a second connection for one visitor.
      if (result.fail === 'reset') this.#failed(result, splice)
      else this.#dial(this.#target, splice)
    })
  }

  #dial(target: Target, splice: Splice): void {
    splice.dialing = dial(target, DIAL_MS, result => {
      if ('ok' in result) {
        if ('host' in target && result.ok.remoteHost !== target.host) {
          this.#reached = { host: result.ok.remoteHost, port: target.port }
          this.#reachedUntil = performance.now() + REACHED_MS
        }
        return this.#join(result.ok, splice)
      }
      this.#failed(result, splice)
    })
  }

  #failed({ fail, detail }: NotDialled, splice: Splice): void {
    this.#answered(fail, detail)
    splice.refuse(RESET_OF[fail])
  }

  #join(connection: Connection, splice: Splice): Splice | undefined {
    this.#answered(null, '')
    return splice.connect(connection) ? splice : undefined
  }

  /** Tries whether the service answers, so that a person learns of it before a visitor does. */
  check(): void {
    if (this.#probe !== null) return
    this.#probe = dial(this.#target, DIAL_MS, result => {
      this.#probe = null
      if ('fail' in result) {
        this.#answered(result.fail, result.detail)
        return
      }
      this.#answered(null, '')
      result.ok.shutdown()
      result.ok.linger(PROBE_MS, PROBE_MS)
      return LEAVING
    })
  }

  /** The port of a service on this machine, at which a listener can be seen; null for any other. */
  get ownPort(): number | null {
    const { local } = this.spec
    if (local.kind === 'unix') return null
    return isLocalhost(local.host) || isLoopback(local.host) ? local.port : null
  }

  /**
   * `is`: somebody listens at its port now. One that is gone is looked into at once, by a connection; without one nothing is
   * known, as what answers may be behind a rule of the firewall.
   */
  listened(is: boolean): void {
    const gone = this.#listened && !is
    this.#listened = is
    if (gone && !this.#down) this.check()
  }

  stop(): void {
    clearTimeout(this.#probeTimer)
    this.#probe?.cancel()
  }

  #answered(failure: DialFailure | null, detail: string): void {
    // A service that answers by a reset is there all the same.
    if (failure === null || failure === 'reset') {
      if (this.#down) this.#tell('up', 'it answers again')
      this.#down = false
      return
    }
    // Being out of descriptors says nothing about the service.
    if (failure !== 'limit') {
      if (!this.#down) this.#tell('down', WHY_DOWN[failure] ?? detail)
      this.#down = true
    }
    clearTimeout(this.#probeTimer)
    this.#probeTimer = setTimeout(() => this.check(), PROBE_MS)
  }

  #tell(state: 'up' | 'down', reason: string): void {
    const { name, local } = this.spec
    const code = state === 'down' ? ({ code: 'W-LOCAL-DOWN' } as const) : {}
    this.#emit({ event: 'local', state, name, local: formatLocal(local), reason, ...code })
  }
}

function targetOf(local: Local): Target {
  return local.kind === 'unix' ? { path: local.path } : { host: local.host, port: local.port }
}
