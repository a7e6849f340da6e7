// A relay or an agent from its start to its end: signals drain it, a second one stops it at once, and however it ends the
// terminal is left as it was.
import type { WarrenError } from '../errors.ts'
import { type Measure, openView, type View, type ViewOptions } from '../screen/index.ts'
import { findTerminal, staying, stderr, stdout } from './streams.ts'
import { version } from './version.ts'

/** What a second signal leaves for the end. */
const STOP_MS = 500

/**
 * What comes this soon after the first signal is still the first one: a terminal tells all of its processes, and npm, npx
 * and warren's launcher, which are among them, pass on to this one what they were told.
 */
const ONE_SIGNAL_MS = 200

export interface Running {
  /** No new streams; resolves when the open ones are done or their time is over. */
  drain(): Promise<void>
  stop(): void
  /** Bytes by tunnel while streams are open; without it they are known when a stream closes. */
  traffic?(): Measure
  /** Resolves once it is over: null or nothing when it was asked to end. */
  readonly closed: Promise<WarrenError | null | undefined | undefined>
}

/** Starts something, and stays until it is over. Throws the error that ended it. */
export async function stay<T extends Running>(
  options: Omit<ViewOptions, 'version'>,
  start: (view: View) => Promise<T>,
  onStarted: (running: T, view: View) => void = () => {},
): Promise<void> {
  staying()
  const view = openView({ ...options, version }, stdout, stderr, findTerminal())
  const givenUp = Promise.withResolvers<null>()
  let running: T | null = null
  let draining: Promise<void> | null = null
  let drainingSince = 0
  let over = false

  const onSignal = (): void => {
    if (over) return
    if (running === null) givenUp.resolve(null)
    else if (draining === null) {
      drainingSince = performance.now()
      draining = running.drain()
      draining.catch(givenUp.reject)
    } else if (performance.now() - drainingSince > ONE_SIGNAL_MS) {
      running.stop()
      setTimeout(givenUp.resolve, STOP_MS, null)
    }
  }
  // Never taken off: a signal that comes while the last lines are printed must not change the status of an end that is
  // under way.
  for (const name of handledSignals()) process.on(name, onSignal)

  try {
    const started = await Promise.race([start(view), givenUp.promise])
    if (started === null) return
    running = started
    if (started.traffic !== undefined) view.watch(() => started.traffic?.() ?? new Map())
    onStarted(running, view)
    const error = await Promise.race([running.closed, givenUp.promise])
    // What is closed may still have a farewell on its way to the other side.
    await Promise.race([draining, givenUp.promise])
    if (error != null) throw error
  } finally {
    over = true
    view.close()
  }
}

/** A closed terminal means the end as well; without one, SIGHUP stays as it was inherited, so that nohup works. */
export function handledSignals(): NodeJS.Signals[] {
  const terminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY
  return terminal ? ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] : ['SIGINT', 'SIGTERM']
}
