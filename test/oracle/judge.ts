// The verdict on one script: what TCP promises, and nothing that only timing decides.
//
// A direction that ends by FIN carried every byte that was asked for. One that was reset carried a prefix, at least
// what a barrier confirmed, and ended as RST, never as FIN. Nothing ends that nobody ended. How many bytes a reset
// swallows, and whether it overtakes a FIN before it, differs from run to run on loopback too; so that is not compared.
import type { EndpointLog } from './endpoint.ts'
import { other, type Script, SIDES, type Side } from './script.ts'

export type PairLog = Record<Side, EndpointLog> & {
  /** Why the connection was not even made, or the script not finished in time. */
  failed: string | null
}

/** Everything in one run that a plain TCP connection could not have done. */
export function judgeRun(script: Script, run: PairLog): string[] {
  const problems: string[] = []
  if (run.failed !== null) problems.push(run.failed)
  for (const side of SIDES) {
    const log = run[side]
    if (log.stuckAt !== null) problems.push(`${side} was still at ${log.stuckAt}`)
    if (log.strange !== null) problems.push(`${side} saw ${log.strange}`)
  }
  if (problems.length > 0) return problems
  for (const side of SIDES) problems.push(...judgeDirection(side, run[side], run[other(side)]))
  for (const side of SIDES) problems.push(...judgeOrder(script, side, run[side]))
  return problems
}

/** The direction that `to` receives: `from` is the other endpoint. */
function judgeDirection(side: Side, to: EndpointLog, from: EndpointLog): string[] {
  const problems: string[] = []
  const say = (what: string) => problems.push(`${side}: ${what}`)
  if (to.differsAt >= 0) say(`what arrived differs from what was sent, from byte ${to.differsAt} on`)
  if (to.received > from.sent) say(`${to.received} bytes arrived of ${from.sent} sent`)
  if (to.received < from.confirmed) say(`${to.received} bytes arrived of ${from.confirmed} confirmed`)
  if (to.in === null || to.out === null) say('a direction has no end')
  if (to.in === 'fin' && from.out !== 'fin' && from.order.indexOf('out') < 0) say('a FIN arrived that was not sent')
  if (to.in === 'fin' && from.out === 'cut')
    say(`a clean end arrived after ${to.received} of ${from.asked} bytes; a reset was sent`)
  if (to.in === 'fin' && to.received !== from.asked) say(`a clean end after ${to.received} of ${from.asked} bytes`)
  if (to.in === 'rst' && !from.reset) say(`a reset arrived after ${to.received} bytes that nobody sent`)
  if (to.out === 'rst' && !from.reset) say('its sending was reset, though the other side did not')
  return problems
}

/** Where a script forces an order (its own end only after the other's), that order is what must have been seen. */
function judgeOrder(script: Script, side: Side, log: EndpointLog): string[] {
  const steps = script[side]
  const eof = steps.findIndex(step => step.do === 'eof')
  const fin = steps.findIndex(step => step.do === 'fin')
  const forced = eof >= 0 && (fin < 0 || eof < fin) && log.in === 'fin' && log.out === 'fin'
  return forced && log.order[0] !== 'in' ? [`${side}: its own end came before the one that it waited for`] : []
}

/** The tunnel against the direct run: [] when a program at either end could not tell which was which. */
export function judge(script: Script, direct: PairLog, via: PairLog): string[] {
  const problems = judgeRun(script, direct).map(problem => `direct: ${problem}`)
  if (problems.length > 0) return problems
  problems.push(...judgeRun(script, via))
  for (const side of SIDES) {
    const [a, b] = [direct[side], via[side]]
    // Both ended by FIN: same bytes (each was compared with what was sent), so only their number is left to compare.
    if (
      a.in === 'fin' &&
      b.in === 'fin' &&
      direct[other(side)].asked === via[other(side)].asked &&
      a.received !== b.received
    )
      problems.push(`${side}: ${b.received} bytes by FIN, ${a.received} when direct`)
  }
  return problems
}
