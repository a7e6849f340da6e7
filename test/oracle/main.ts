// `bun run oracle`: scripts by the thousand, and the smallest one that fails.
//
//   bun run oracle [--scripts 10000] [--seed S] [--from 0] [--via direct|tunnel|chain3|wan] [--jobs 32]
//                  [--loss 1] [--delay 20] [--cuts] [--failures 1] [--script JSON]
//
// --loss (percent) and --delay (ms, one way) are the long link's; with --cuts it is cut, reset and moved all the time.
// --script runs one script, as a failure prints it.
// WARREN names the program under test; without it, the source runs.
import { parseArgs } from 'node:util'
import { openWay, WAYS } from '../e2e/ways.ts'
import type { Failure } from './driver.ts'
import { type Script, SIDES, scriptText } from './script.ts'

const { values } = parseArgs({
  options: {
    scripts: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Math.floor(Date.now() / 1000) % 1_000_000) },
    from: { type: 'string', default: '0' },
    via: { type: 'string', default: 'tunnel' },
    jobs: { type: 'string', default: '32' },
    loss: { type: 'string', default: '1' },
    delay: { type: 'string', default: '20' },
    cuts: { type: 'boolean', default: false },
    failures: { type: 'string', default: '1' },
    script: { type: 'string' },
  },
})

const via = WAYS.find(way => way === values.via)
if (via === undefined) throw new Error(`--via is one of ${WAYS.join(', ')}`)
const [seed, from, count, jobs] = [values.seed, values.from, values.scripts, values.jobs].map(Number) as [
  number,
  number,
  number,
  number,
]
// How long a script may take while a failing one is made smaller: many of its kind end by the clock.
const SHRINK_MS = via === 'wan' ? 15_000 : 3000
const CHUNK = 1000

process.exitCode = await main()
process.exit()

async function main(): Promise<number> {
  console.log(`oracle: ${values.script ? 'one script' : `${count} scripts, seed ${seed}`}, via ${via}, ${jobs} at once`)
  await using way = await openWay(via!, jobs, {
    loss: Number(values.loss),
    delay: Number(values.delay),
    seed,
    cuts: values.cuts,
  })
  const began = performance.now()
  let ran = 0
  let strays = 0
  let looks = 0
  const failures: Failure[] = []
  if (values.script !== undefined) {
    const script = JSON.parse(values.script) as Script
    const result = await way.oracle.script(
      from,
      script,
      count === 10_000 ? 100 : count,
      via === 'wan' ? 90_000 : 20_000,
    )
    ran = result.ran
    failures.push(...result.failures)
  } else {
    for (let at = 0; at < count && failures.length === 0; at += CHUNK) {
      const result = await way.oracle.run(seed, from + at, Math.min(CHUNK, count - at), Number(values.failures))
      ran += result.ran
      strays += result.strays
      looks += result.looks
      failures.push(...result.failures)
      const rate = Math.round((ran * 1000) / (performance.now() - began))
      console.log(`  ${ran} scripts, ${failures.length} failures, ${rate}/s`)
    }
  }
  for (const failure of failures.slice(0, 5)) tell('failed', failure)
  const first = failures.find(failure => failure.via !== null)
  if (first) {
    console.log('making the first one smaller…')
    const smallest = await way.oracle.shrink(first, SHRINK_MS)
    tell('smallest', smallest)
    console.log(`  bun run oracle --via ${via} --from ${smallest.index} --script '${scriptText(smallest.script)}'`)
    console.log(way.said())
  }
  if (strays > 0) console.log(`${strays} connections reached a service without a visitor`)
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  console.log(
    `oracle: ${ran} scripts via ${via}, seed ${seed}: ${failures.length} failures, ${strays} strays, ${looks} looks, ${seconds} s`,
  )
  return failures.length > 0 || strays > 0 ? 1 : 0
}

function tell(what: string, failure: Failure): void {
  console.log(`${what}: script ${failure.index} (seed ${seed})`)
  for (const problem of failure.problems) console.log(`  ${problem}`)
  console.log(`  ${scriptText(failure.script)}`)
  for (const [run, log] of [['direct', failure.direct] as const, ['via', failure.via] as const])
    if (log) for (const side of SIDES) console.log(`  ${run} ${side}: ${JSON.stringify(log[side])}`)
}
