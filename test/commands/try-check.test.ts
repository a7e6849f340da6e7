// `warren try --check` itself: content with a direct connection, and not with tunnels that only nearly are one.
import { describe, expect, test } from 'bun:test'
import type { Running } from '../../src/commands/running.ts'
import { checkTunnel, type Finding } from '../../src/commands/try-check.ts'
import { formatHostPort, type TunnelSpec } from '../../src/config/index.ts'
import { type Connection, dial, type Ended, type Handler, listen } from '../../src/net/index.ts'
import type { Emit } from '../../src/telemetry/events.ts'

const HOST = '127.0.0.1'

/** What a tunnel makes of the ends of a connection, and of its bytes. */
type Faults = { halfClose: boolean; reset: boolean; refusal: boolean; bytes: boolean }
const NONE: Faults = { halfClose: false, reset: false, refusal: false, bytes: false }

/** One side of a connection through the tunnel; bytes wait in memory, as no tunnel should have it. */
class Side implements Handler {
  other: Side | null = null
  #connection: Connection | null = null
  readonly #faults: Faults
  readonly #waiting: Buffer[] = []
  #ended = false

  constructor(faults: Faults) {
    this.#faults = faults
  }

  attach(connection: Connection): this {
    this.#connection = connection
    queueMicrotask(() => this.onDrain())
    return this
  }

  push(bytes: Buffer): void {
    this.#waiting.push(bytes)
    this.onDrain()
  }

  finish(): void {
    this.#ended = true
    this.onDrain()
  }

  abort(): void {
    if (this.#faults.reset) this.#connection?.shutdown()
    else this.#connection?.abort()
  }

  refuse(): void {
    if (this.#faults.refusal) this.#connection?.shutdown()
    else this.#connection?.abort()
  }

  onData(bytes: Buffer): boolean {
    if (this.#faults.bytes && bytes.length > 1000) bytes[500] = (bytes[500] ?? 0) ^ 1
    this.other?.push(bytes)
    return false
  }

  onDrain(): void {
    for (let bytes = this.#waiting[0]; bytes !== undefined; bytes = this.#waiting[0]) {
      const taken = this.#connection?.write(bytes, 0, bytes.length) ?? 0
      if (taken < bytes.length) {
        this.#waiting[0] = bytes.subarray(taken)
        return
      }
      this.#waiting.shift()
    }
    if (this.#ended) this.#connection?.shutdown()
  }

  onEnd(): void {
    this.other?.finish()
    if (this.#faults.halfClose) this.finish()
  }

  onClose(how: Ended): void {
    if (how !== 'closed') this.other?.abort()
  }
}

function tunnelWith(faults: Faults) {
  return async (tunnels: TunnelSpec[], emit: Emit): Promise<Running> => {
    const listeners = tunnels.map(({ name, local }) => {
      if (local.kind !== 'tcp') throw new Error('not for unix sockets')
      const listener = listen({ host: HOST, port: 0 }, visitor => {
        const outer = new Side(faults)
        const inner = new Side(faults)
        outer.other = inner
        inner.other = outer
        dial({ host: local.host, port: local.port }, 5000, result => {
          if ('ok' in result) return inner.attach(result.ok)
          outer.refuse()
        })
        return outer.attach(visitor)
      })
      emit({ event: 'tunnel', name, address: formatHostPort(HOST, listener.port), local: '' })
      return listener
    })
    const closed = Promise.withResolvers<null>()
    const stop = () => {
      for (const listener of listeners) listener.stop()
      closed.resolve(null)
    }
    return { drain: async () => stop(), stop, closed: closed.promise }
  }
}

async function findings(faults: Partial<Faults>): Promise<{ passed: boolean; bad: string[] }> {
  const all: Finding[] = []
  const passed = await checkTunnel(tunnelWith({ ...NONE, ...faults }), finding => all.push(finding))
  expect(all).toHaveLength(10)
  return { passed, bad: all.filter(finding => !finding.ok).map(finding => finding.what.split(':')[0] ?? '') }
}

describe('a tunnel that', () => {
  test('passes everything on', async () => expect(await findings({})).toEqual({ passed: true, bad: [] }))

  test('takes FIN for the end of both directions', async () => {
    const { passed, bad } = await findings({ halfClose: true })
    expect(passed).toBe(false)
    expect(bad).toEqual(['half-close by the visitor', 'half-close by the service'])
  })

  test('makes FIN of a reset', async () => {
    const { passed, bad } = await findings({ reset: true })
    expect(passed).toBe(false)
    expect(bad).toEqual(['a reset by the service', 'a reset by the visitor'])
  })

  test('makes a clean end of a refusal', async () => {
    expect(await findings({ refusal: true })).toEqual({ passed: false, bad: ['a service that is down'] })
  })

  test('changes a bit', async () => {
    const { passed, bad } = await findings({ bytes: true })
    expect(passed).toBe(false)
    expect(bad).toContain('bytes to the service')
    expect(bad).toContain('bytes to the visitor')
  })
})
