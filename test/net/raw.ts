// Drives raw-peer.mjs: a Node process whose sockets are the other end of a connection under test.
import { afterAll } from 'bun:test'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Waiting } from './tape.ts'

type Event = { id: number; event: string; n?: number; code?: string; port?: number; alpn?: string | false; v?: string }

export class RawPeer extends Waiting {
  readonly events: string[] = []
  bytes = 0
  port = 0
  alpn: string | false = false
  version = ''

  constructor(
    private readonly host: RawHost,
    private readonly id: number,
  ) {
    super()
  }

  order(what: string, more: Record<string, unknown> = {}): void {
    this.host.order({ do: what, id: this.id, ...more })
  }

  /** Has it done, while this process stands still: when this returns, the kernel has what the peer sent. */
  orderAndStandStill(what: string, mark: string): void {
    this.order(what, { mark })
    for (let i = 0; i < 5000 && !existsSync(mark); i++) Bun.sleepSync(1)
    if (!existsSync(mark)) throw new Error(`the raw peer did not ${what}`)
  }

  take(event: Event): void {
    if (event.event === 'data') this.bytes += event.n ?? 0
    else if (event.event === 'error') this.events.push(`error:${event.code}`)
    else this.events.push(event.event)
    if (event.port !== undefined) this.port = event.port
    if (event.alpn !== undefined) this.alpn = event.alpn
    if (event.v !== undefined) this.version = event.v
    this.wake()
  }

  saw(event: string): Promise<void> {
    return this.until(
      () => this.events.includes(event),
      `raw peer: ${event}`,
      () => this.events.join(' '),
    )
  }

  got(bytes: number): Promise<void> {
    return this.until(
      () => this.bytes >= bytes,
      `raw peer: ${bytes} bytes`,
      () => `${this.bytes} bytes`,
    )
  }
}

export class RawHost {
  private readonly child: Bun.Subprocess<'pipe', 'pipe', 'inherit'>
  private readonly peers: RawPeer[] = []

  constructor() {
    this.child = Bun.spawn(['node', join(import.meta.dir, 'raw-peer.mjs')], {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'inherit',
    })
    void this.listen()
    afterAll(() => this.child.kill())
  }

  peer(): RawPeer {
    const peer = new RawPeer(this, this.peers.length)
    this.peers.push(peer)
    return peer
  }

  order(order: object): void {
    this.child.stdin.write(`${JSON.stringify(order)}\n`)
    this.child.stdin.flush()
  }

  private async listen(): Promise<void> {
    let rest = ''
    const decoder = new TextDecoder()
    for await (const chunk of this.child.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const event: Event = JSON.parse(line)
        this.peers[event.id]?.take(event)
      }
    }
  }
}
