// A long-distance link between two network namespaces (wanlink.c, whose first comment has its commands): compiled at
// first use, driven over its standard input. Needs root, a C compiler and /dev/net/tun.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { folder } from '../e2e/warren.ts'
import { lines, type Program } from '../oracle/process.ts'

/** delay one way and jitter in ms, loss in percent, rate in Mbit/s, queue in KB. */
export type Link = Partial<Record<'delay' | 'jitter' | 'loss' | 'rate' | 'queue' | 'seed', number>>

/** What is missing here for a link, or null. */
export function whyNoLink(): string | null {
  if (process.getuid?.() !== 0) return 'it needs root, for network namespaces'
  if (!existsSync('/dev/net/tun')) return 'there is no /dev/net/tun'
  for (const tool of ['gcc', 'ip']) if (Bun.which(tool) === null) return `${tool} is missing: npm run setup:system`
  return null
}

let compiled: string | null = null
let opened = 0

function compile(): string {
  if (compiled !== null) return compiled
  const program = join(folder('wanlink'), 'wanlink')
  const source = new URL('./wanlink.c', import.meta.url).pathname
  const gcc = Bun.spawnSync(['gcc', '-O2', '-o', program, source], { stdout: 'pipe', stderr: 'pipe' })
  if (gcc.exitCode !== 0) throw new Error(`gcc: ${gcc.stderr.toString()}`)
  compiled = program
  return program
}

function words(link: Link): string[] {
  return Object.entries(link).map(([key, value]) => `${key}=${value}`)
}

export class Wan implements AsyncDisposable {
  /** The two hosts: an address each, a namespace to open sockets in, and a prefix for commands. */
  readonly a: { host: string; namespace: string; prefix: string[] }
  readonly b: { host: string; namespace: string; prefix: string[] }
  readonly #program: Program
  readonly #answers: AsyncGenerator<string, undefined>

  private constructor(name: string, program: Program) {
    const side = (which: 'a' | 'b', host: string) => ({
      host,
      namespace: `/run/netns/${name}-${which}`,
      prefix: ['ip', 'netns', 'exec', `${name}-${which}`],
    })
    this.a = side('a', '10.77.0.1')
    this.b = side('b', '10.77.0.2')
    this.#program = program
    this.#answers = lines(program.stdout)
  }

  static async open(link: Link): Promise<Wan> {
    const why = whyNoLink()
    if (why !== null) throw new Error(`no wanlink here: ${why}`)
    const name = `warren-${process.pid}-${++opened}`
    // Not killed with this process: the end of its input makes it take its namespaces along, a kill would leave them.
    const command = [compile(), name, ...words(link)]
    const wan = new Wan(name, Bun.spawn(command, { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' }))
    const ready = await wan.#answers.next()
    if (ready.value !== 'ready') throw new Error(`wanlink: ${ready.value}`)
    return wan
  }

  /** Changes the link while it runs; resolves once the change holds. */
  set(link: Link): Promise<string> {
    return this.#command(words(link).join(' '))
  }

  /** Drops everything silently, or only what one side sends. */
  cut(only?: 'a' | 'b'): Promise<string> {
    return this.#command(only ? `cut ${only}` : 'cut')
  }

  heal(): Promise<string> {
    return this.#command('heal')
  }

  async #command(line: string): Promise<string> {
    this.#program.stdin.write(`${line}\n`)
    this.#program.stdin.flush()
    for (;;) {
      const { value } = await this.#answers.next()
      if (value === undefined || value.startsWith('error')) throw new Error(`wanlink: ${value ?? 'ended'}`)
      if (value === `ok ${line}`) return value
    }
  }

  /** Ends it by the end of its input, so that it takes its namespaces along. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#program.stdin.end()
    await this.#program.exited
  }
}
