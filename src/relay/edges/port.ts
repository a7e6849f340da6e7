// The edge of a public TCP port: listens, and hands every visitor to whoever has the port now.
import { WarrenError } from '../../errors.ts'
import { type Connection, type Handler, type Listener, listen } from '../../net/index.ts'

export type Visit = (visitor: Connection) => Handler

/** For a visitor that was reset at once: nothing of it matters any more. */
export const TURNED_AWAY: Handler = { onData: () => true, onDrain() {}, onEnd() {}, onClose() {} }

export class PortEdge {
  readonly port: number
  /** Until the port's tunnel is there, visitors are reset. */
  visit: Visit = visitor => {
    visitor.abort()
    return TURNED_AWAY
  }
  readonly #listener: Listener

  private constructor(host: string, port: number) {
    this.#listener = listen({ host, port, guarded: true }, visitor => this.visit(visitor))
    this.port = this.#listener.port
  }

  /** Null when something else has the port. */
  static bind(host: string, port: number): PortEdge | null {
    try {
      return new PortEdge(host, port)
    } catch (thrown) {
      if (thrown instanceof WarrenError && thrown.code === 'W-PORT-BOUND') return null
      throw thrown
    }
  }

  /** Whether ports like this one can be had here at all, be it taken now or not; otherwise the W-PORT-BOUND that says why. */
  static probe(host: string, port: number): void {
    try {
      new PortEdge(host, port).stop()
    } catch (thrown) {
      const { cause } = thrown as Error
      if (!(cause instanceof Error && 'code' in cause && cause.code === 'EADDRINUSE')) throw thrown
    }
  }

  stop(): void {
    this.#listener.stop()
  }
}
