// The oracle as others use it: opens its services, is told the way under test, runs scripts, shrinks what fails.
import type { Failure, Namespaces, Way } from './driver.ts'
import { lines, type Program, start } from './process.ts'
import type { Script } from './script.ts'
import { shrink } from './shrink.ts'
import type { Answer, Request } from './worker.ts'

export type { Failure, Way } from './driver.ts'

export type Options = {
  /** Scripts in flight, each on a service of its own. */
  slots?: number
  timeoutMs?: number
  namespaces?: Namespaces
  serviceHost?: string
}

/** strays: connections that reached a service without a visitor. looks: those of an agent after a service has reset. */
export type Result = { ran: number; ms: number; failures: Failure[]; strays: number; looks: number }

const TRIES_WHEN_SHRINKING = 4

export class Oracle {
  /** The ports of its services, on `serviceHost`: what the tunnels under test have to lead to, one each. */
  readonly ports: number[]
  readonly #program: Program
  readonly #answers: AsyncIterator<string>

  private constructor(program: Program, answers: AsyncIterator<string>, ports: number[]) {
    this.#program = program
    this.#answers = answers
    this.ports = ports
  }

  static async open(options: Options = {}): Promise<Oracle> {
    const { slots = 32, timeoutMs = 15_000, serviceHost = '127.0.0.1' } = options
    const namespaces = options.namespaces ?? { visitor: null, service: null }
    const program = start([process.execPath, new URL('./worker.ts', import.meta.url).pathname])
    const answers = lines(program.stdout)
    const oracle = new Oracle(program, answers, [])
    oracle.#ask({ do: 'open', slots, timeoutMs, namespaces, serviceHost })
    const answer = await oracle.#answer()
    if (!('opened' in answer)) throw new Error(`the oracle did not open: ${JSON.stringify(answer)}`)
    oracle.ports.push(...answer.opened)
    return oracle
  }

  /** Where each service's visitor connects to; null: straight to the service. */
  async via(ways: Way[] | null): Promise<void> {
    this.#ask({ do: 'via', ways })
    await this.#answer()
  }

  /** Scripts `from` to `from + count - 1` of a seed; stops after some failures, which may come in any order. */
  run(seed: number, from: number, count: number, failures = 10): Promise<Result> {
    return this.#collect({ do: 'run', seed, from, count, failures })
  }

  /** One script, several times at once, since a fault may show only sometimes. */
  script(index: number, script: Script, times: number, timeoutMs: number): Promise<Result> {
    return this.#collect({ do: 'script', index, script, times, timeoutMs })
  }

  /** Each of these once, all at the same time as far as there are slots, by the way alone: nothing is run over loopback. */
  scripts(from: number, scripts: Script[], timeoutMs: number): Promise<Result> {
    return this.#collect({ do: 'scripts', from, scripts, timeoutMs })
  }

  /** The smallest script that still fails where this one did. A failure of the direct run is never the tunnel's. */
  async shrink(failure: Failure, timeoutMs: number, budget = 300): Promise<Failure> {
    let best = failure
    const fails = async (script: Script) => {
      const { failures } = await this.script(failure.index, script, TRIES_WHEN_SHRINKING, timeoutMs)
      const found = failures.find(f => f.via !== null)
      if (found) best = found
      return found !== undefined
    }
    await shrink(failure.script, fails, budget)
    return best
  }

  async close(): Promise<void> {
    this.#program.stdin.end()
    this.#program.kill('SIGKILL')
    await this.#program.exited
  }

  async #collect(request: Request): Promise<Result> {
    this.#ask(request)
    const failures: Failure[] = []
    for (;;) {
      const answer = await this.#answer()
      if ('failure' in answer) failures.push(answer.failure)
      else if ('ran' in answer) return { ...answer, failures }
      else throw new Error(JSON.stringify(answer))
    }
  }

  #ask(request: Request): void {
    this.#program.stdin.write(`${JSON.stringify(request)}\n`)
    this.#program.stdin.flush()
  }

  async #answer(): Promise<Answer> {
    const { value, done } = await this.#answers.next()
    if (done) throw new Error("the oracle's process ended")
    const answer = JSON.parse(value) as Answer
    if ('error' in answer) throw new Error(answer.error)
    return answer
  }
}
