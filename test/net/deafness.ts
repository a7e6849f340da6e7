// Starts deaf.ts and fills its backlog.
import { afterAll } from 'bun:test'
import { join } from 'node:path'
import { dialled, Tape, Waiting } from './tape.ts'

export class Deaf extends Waiting {
  readonly lines: string[] = []
  private readonly child: Bun.Subprocess<'pipe', 'pipe', 'inherit'>

  private constructor(path: string, host: string) {
    super()
    this.child = Bun.spawn([process.execPath, join(import.meta.dir, 'deaf.ts'), path, host], {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'inherit',
    })
    afterAll(() => this.child.kill())
    void this.listen()
  }

  static async start(path = '', host = '127.0.0.1'): Promise<Deaf> {
    const deaf = new Deaf(path, host)
    await deaf.told(1)
    const filler = new Tape()
    await dialled(path === '' ? { host, port: deaf.port } : { path }, 5_000, filler).answer
    filler.it.mute()
    return deaf
  }

  get port(): number {
    return Number(this.lines[0])
  }

  told(lines: number): Promise<void> {
    return this.until(
      () => this.lines.length >= lines,
      `${lines} lines`,
      () => this.lines.join(' '),
    )
  }

  /** Woken up, it found `connections` reset, besides the one that filled its backlog. */
  async resets(connections: number): Promise<void> {
    const count = () => this.lines.filter(line => line === 'reset').length
    await this.until(
      () => count() === connections + 1,
      `${connections + 1} resets`,
      () => this.lines.join(' '),
    )
  }

  /** It hears again. */
  wakeUp(): void {
    this.child.stdin.write('\n')
    this.child.stdin.flush()
  }

  private async listen(): Promise<void> {
    const decoder = new TextDecoder()
    for await (const chunk of this.child.stdout) {
      this.lines.push(...decoder.decode(chunk).split('\n').filter(Boolean))
      this.wake()
    }
  }
}
