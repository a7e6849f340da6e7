// Services as a process of their own, for tests where visitors alone keep one busy:
//   bun test/e2e/served.ts echo|source|sink       prints its port
import { lines, start } from '../oracle/process.ts'
import { block, echo, type Plain, service } from './plain.ts'

export type Kind = 'echo' | 'source' | 'sink'

const CHUNK = block(7, 1 << 18)

/** Sends for as long as anybody takes it. */
async function source(plain: Plain): Promise<void> {
  plain.keep = false
  while (await plain.send(CHUNK));
}

function sink(plain: Plain): void {
  plain.keep = false
  void plain.ended.then(() => plain.finish())
}

const KINDS: Record<Kind, (plain: Plain) => void> = { echo, source, sink }

/** One of them, in a process of its own; inside a namespace with `prefix`. */
export async function served(
  kind: Kind,
  prefix: string[] = [],
): Promise<{ local: string; pid: number } & AsyncDisposable> {
  const program = start([...prefix, process.execPath, import.meta.path, kind])
  const { value } = await lines(program.stdout).next()
  return {
    local: `127.0.0.1:${value}`,
    pid: program.pid,
    async [Symbol.asyncDispose]() {
      program.kill('SIGKILL')
      await program.exited
    },
  }
}

if (import.meta.main) {
  const kind = process.argv[2] as Kind
  console.log(service(KINDS[kind]).port)
}
