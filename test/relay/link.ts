// A TCP link between agents and a relay in this process that breaks on command: with a reset, with a FIN, or by falling
// silent, where both ends keep their connections and nothing passes.
import { afterAll } from 'bun:test'
import net from 'node:net'
import { formatInvite, parseInvite } from '../../src/identity/index.ts'

type Pair = { near: net.Socket; far: net.Socket; silent: boolean }

export class Link {
  readonly port: number
  /** The relay's control port. */
  target: number
  /** What happens to new connections; `silent` ones are accepted and hear nothing. */
  state: 'up' | 'down' | 'silent' = 'up'
  /** Connections taken in since the link was made. */
  taken = 0
  readonly #server: net.Server
  readonly #pairs = new Set<Pair>()

  constructor(target: number) {
    this.target = target
    this.#server = net.createServer({ allowHalfOpen: true }, near => this.#take(near))
    this.#server.listen(0, '127.0.0.1')
    this.port = (this.#server.address() as net.AddressInfo).port
    afterAll(() => {
      this.cut()
      this.#server.close()
    })
  }

  /** The invite, by way of this link. */
  invite(text: string): string {
    return formatInvite({ ...parseInvite(text), host: '127.0.0.1', port: this.port })
  }

  /** RST to both ends. */
  cut(): void {
    for (const { near, far } of [...this.#pairs]) {
      near.resetAndDestroy()
      far.resetAndDestroy()
    }
  }

  /** Nothing passes any more, and nobody is told. */
  silence(): void {
    this.state = 'silent'
    for (const pair of this.#pairs) pair.silent = true
  }

  #take(near: net.Socket): void {
    this.taken++
    near.on('error', () => {})
    if (this.state === 'down') {
      near.resetAndDestroy()
      return
    }
    const far = net.connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true })
    const pair: Pair = { near, far, silent: this.state === 'silent' }
    this.#pairs.add(pair)
    far.on('error', () => {})
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', chunk => {
        if (pair.silent || to.destroyed) return
        if (!to.write(chunk)) from.pause()
      })
      to.on('drain', () => from.resume())
      from.on('end', () => {
        if (!pair.silent) to.end()
      })
      from.on('close', () => {
        if (pair.silent) return
        this.#pairs.delete(pair)
        if (!to.destroyed) to.resetAndDestroy()
      })
    }
  }
}
