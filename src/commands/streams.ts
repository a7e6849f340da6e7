// The process's own standard streams, one Output each for all that is printed.
import { Output, openSink, Terminal } from '../screen/index.ts'
import { formatLine } from '../telemetry/log.ts'

export const stderr: Output = new Output(openSink(2))

export const stdout: Output = new Output(openSink(1), count =>
  stderr.line(formatLine('warn', 'standard output did not take all: lines were dropped', { count }, Date.now())),
)

export function findTerminal(): Terminal | null {
  return Terminal.find()
}

/** How long a reader has for what is still to be printed. */
const PATIENCE_MS = 1000

/** Resolves when all that was printed is taken, or nobody takes it: standard output before what an error adds to it. */
export async function settle(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, PATIENCE_MS)
  await Promise.race([Promise.all([stdout.flush(), stderr.flush()]), promise])
  clearTimeout(timer)
}

/** Ends the process when all that was printed is taken, or nobody takes it. */
export async function exit(status: number): Promise<never> {
  await settle()
  process.exit(status)
}
