// The process's own standard streams, one Output each for all that is printed.
import { Output, openSink, Terminal } from '../screen/index.ts'
import { formatLine } from '../telemetry/log.ts'

export const stderr: Output = new Output(openSink(2))

export const stdout: Output = new Output(openSink(1), count =>
  stderr.line(formatLine('warn', 'standard output was read too slowly: lines were dropped', { count }, Date.now())),
)

export function findTerminal(): Terminal | null {
  return Terminal.find()
}

/** Ends the process when all that was printed is taken, or after a second of nobody taking it. */
export async function exit(status: number): Promise<never> {
  const patience = setTimeout(() => process.exit(status), 1000)
  await stdout.flush()
  await stderr.flush()
  clearTimeout(patience)
  process.exit(status)
}
