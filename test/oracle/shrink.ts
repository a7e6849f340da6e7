// Makes a failing script smaller for as long as it goes on failing: fewer steps first, then smaller numbers.
import { PLAIN_SIP, type Script, SIDES, type Step, weight } from './script.ts'

/** All scripts that are one cut smaller, the boldest first. */
export function smaller(script: Script): Script[] {
  const found: Script[] = []
  const add = (change: Partial<Script>) => found.push({ ...script, ...change })
  for (const side of SIDES) {
    const steps = script[side]
    for (let n = steps.length; n >= 1; n = n >> 1)
      for (let at = 0; at + n <= steps.length; at += n) add({ [side]: steps.toSpliced(at, n) })
  }
  if (script.early) add({ early: false })
  if (script.buffer > 0) add({ buffer: 0 })
  for (const side of SIDES) if (script.sip[side] !== PLAIN_SIP) add({ sip: { ...script.sip, [side]: PLAIN_SIP } })
  for (const side of SIDES) {
    script[side].forEach((step, at) => {
      for (const less of lesser(step)) add({ [side]: script[side].with(at, less) })
    })
  }
  const now = weight(script)
  return found.filter(candidate => weight(candidate) < now)
}

function lesser(step: Step): Step[] {
  if (step.do === 'write') return numbers(step.n, 1).map(n => ({ do: 'write', n }))
  if (step.do === 'pause') return numbers(step.ms, 0).map(ms => ({ do: 'pause', ms }))
  return []
}

/** From the least towards n, halving what is left: a boundary is found in logarithmic time. */
function numbers(n: number, least: number): number[] {
  const found: number[] = []
  for (let cut = n - least; cut >= 1; cut = cut >> 1) found.push(n - cut)
  return found
}

/**
 * The smallest script found that still fails. `fails` may be asked at most `budget` times, and is told to try more than
 * once by its caller if the fault shows only sometimes.
 */
export async function shrink(script: Script, fails: (script: Script) => boolean | Promise<boolean>, budget = 400) {
  let best = script
  let asked = 0
  let progress = true
  while (progress && asked < budget) {
    progress = false
    for (const candidate of smaller(best)) {
      if (asked++ >= budget) break
      if (!(await fails(candidate))) continue
      best = candidate
      progress = true
      break
    }
  }
  return best
}
