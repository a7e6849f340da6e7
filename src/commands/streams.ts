// The process's own standard streams, one Output each for all that is printed.
import { EXIT } from '../errors.ts'
import { Output, openSink, Terminal } from '../screen/index.ts'
import { formatLine } from '../telemetry/log.ts'

export const stderr: Output = new Output(openSink(2))

export const stdout: Output = new Output(openSink(1), count => {
  // What stays has a log, which this is a line of; what only prints speaks to whoever typed it.
  stderr.line(
    stays
      ? formatLine('warn', 'standard output did not take all: lines were dropped', { count }, Date.now())
      : 'warren: standard output could not be written: not all that was printed is there',
  )
})

export function findTerminal(): Terminal | null {
  return Terminal.find()
}

/** How long the reader of a relay or an agent has, at its end, for what is still to be printed. */
const PATIENCE_MS = 1000

let stays = false

/** From now on a reader that takes nothing does not hold up the end: who stops a relay wants it stopped. */
export function staying(): void {
  stays = true
}

/**
 * Resolves when all that was printed is taken, standard output before what an error adds to it. What only prints waits as
 * long as its reader takes, like any program (an Output keeps 16 MiB for it); what stays gives up after a while.
 */
export async function settle(): Promise<void> {
  const taken = stdout.flush().then(() => stderr.flush())
  if (!stays) return taken
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, PATIENCE_MS)
  await Promise.race([taken, promise])
  clearTimeout(timer)
}

/** Ends the process when what was printed is taken. What was printed and is lost, as on a full disk, was not done. */
export async function exit(status: number): Promise<never> {
  await settle()
  process.exit(status === EXIT.ok && stdout.lost && !stays ? EXIT.failed : status)
}
