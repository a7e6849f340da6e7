// The long forms of what test/wan proves over a link between two namespaces, for `npm run prove`; each says in one line
// what it found.
//
//   bun test/wan/proofs.ts [--seed S] [--only NAME]
//
// WARREN names the program under test; without it, the source runs.
import { parseArgs } from 'node:util'
import type { Proof } from '../proof.ts'
import { pastTheHold, storm } from './cuts.ts'
import { heldMemory } from './memory.ts'
import { pgbenchThroughCuts, scpThroughCuts, shellThroughCut } from './programs.ts'
import { type Load, silences, stops, underFullLoad, watched } from './silence.ts'
import { lasting, type Site, type SiteOptions } from './site.ts'

const TEN_MINUTES = 600_000

export function proofs(seed: number): Proof[] {
  const lossy = { link: { loss: 5, delay: 50, seed } }
  const slow = { link: { rate: 0.16, delay: 10 } }
  const plain = { link: { delay: 10, rate: 8 } }
  // A stop is 4 s, and 1.25 s on average before it.
  const stopped = (site: Site) => stops(seed, TEN_MINUTES / 2 / 5500, site)
  const sleep = () => lasting(TEN_MINUTES)
  return [
    {
      name: 'wan-storm',
      what: '200 random cuts, resets and changes of address during 64 transfers at a time, every byte compared',
      run: async () => {
        const { lost, streams, breaks, mishaps } = await storm(seed, 200, 64)
        const worst = Math.max(...breaks.afterMs)
        const told = `${streams} streams, ${lost.length} lost; ${breaks.held} times held, ${breaks.resumed} resumed`
        return {
          good: lost.length === 0 && mishaps.length >= 200 && breaks.held === breaks.resumed && breaks.held > 0,
          what: `${told}, after ${worst} ms at most, ${(breaks.replayed / 1e6).toFixed(1)} MB sent again by the agent`,
        }
      },
    },
    {
      name: 'wan-past-the-hold',
      what: 'a cut that outlasts --hold 4s, 48 streams of every kind',
      run: async () => {
        const { streams, ends } = await pastTheHold(seed, 4000, 48)
        const resets = ends.filter(end => end.endsWith(' rst')).length
        return { good: resets === streams * 2, what: `${resets} of ${streams * 2} outer sockets saw RST` }
      },
    },
    noticed(seed, 5000, 20),
    noticed(seed, 1500, 40),
    calm('wan-calm-loss', '5 % loss and 100 ms, idle', lossy, 'nothing', sleep),
    calm('wan-calm-loss-bulk', '5 % loss and 100 ms, with bulk', lossy, 'from the agent', sleep),
    calm('wan-calm-slow', '20 kB/s, full of bulk from the agent', slow, 'from the agent', sleep),
    calm('wan-calm-slow-back', '20 kB/s, full of bulk to the agent', slow, 'to the agent', sleep),
    calm('wan-calm-stops', 'either side stopped for 4 s again and again, idle', plain, 'nothing', stopped),
    calm(
      'wan-calm-stops-bulk',
      'either side stopped for 4 s again and again, with bulk',
      plain,
      'from the agent',
      stopped,
    ),
    calm('wan-calm-load', 'every core busy, with bulk', plain, 'from the agent', () => underFullLoad(TEN_MINUTES)),
    {
      name: 'wan-pgbench',
      what: 'pgbench -c 20 -T 120, a cut of 7 s every 20 s, the connection reset between',
      run: async () => {
        const { status, failed, transactions, connections, breaks } = await pgbenchThroughCuts(120, '30s')
        const again = connections - 21
        return {
          good: status === 0 && failed === '0' && again === 0 && breaks.held >= 10 && breaks.held === breaks.resumed,
          what: `${transactions} transactions, ${failed} failed, ${again} connected again, held ${breaks.held} times`,
        }
      },
    },
    {
      name: 'wan-pgbench-without',
      what: 'the same with --hold 0, which has to fail',
      run: async () => {
        const { status, breaks } = await pgbenchThroughCuts(120, '0')
        return { good: status !== 0 && breaks.resumed === 0, what: `pgbench ended with status ${status}` }
      },
    },
    {
      name: 'wan-scp',
      what: 'scp of 500 MB through 10 cuts',
      run: async () => {
        const { same, bytes, cuts, breaks } = await scpThroughCuts(500, 10)
        const whole = same && bytes === 500 << 20 && cuts === 10
        return {
          good: whole && breaks.expired === 0,
          what: `${whole ? 'the same' : 'other'} bytes, held ${breaks.held} times`,
        }
      },
    },
    {
      name: 'wan-shell',
      what: 'an ssh shell after a cut of 20 s',
      run: async () => {
        const { after, sameShell } = await shellThroughCut(20_000)
        const good = after === 'after' && sameShell
        return { good, what: good ? 'the same shell answers what was typed meanwhile' : `it says: ${after}` }
      },
    },
    {
      name: 'wan-memory',
      what: '1,000 held streams whose visitors go on sending, 20 s',
      run: async () => {
        const { held, most, taken, ended, resumed } = await heldMemory(1000, 20_000)
        const mb = `${held.toFixed(0)} MB resident when held, ${most.toFixed(0)} MB at most after that`
        return {
          good: most - held < 12 && ended === 0 && resumed === 1000,
          what: `${mb}; the kernel took ${taken.toFixed(0)} MB; ${resumed} resumed`,
        }
      },
    },
  ]
}

function noticed(seed: number, deadAfterMs: number, times: number): Proof {
  return {
    name: `wan-silence-${deadAfterMs}`,
    what: `${times} silent cuts with --dead-after ${deadAfterMs}ms, noticed by both sides within 500 ms more`,
    run: async () => {
      const found = [
        ...(await silences(seed, deadAfterMs, times / 2, false)),
        ...(await silences(seed, deadAfterMs, times / 2, true)),
      ]
      const slowest = Math.max(...found.flatMap(({ agent, relay }) => [agent, relay]))
      const good = found.length === times && slowest <= deadAfterMs + 500
      return { good, what: `${found.length} noticed, after ${slowest.toFixed(0)} ms at most` }
    },
  }
}

function calm(
  name: string,
  what: string,
  options: SiteOptions,
  load: Load,
  meanwhile: (site: Site) => Promise<void>,
): Proof {
  return {
    name,
    what: `no false alarm in 10 minutes: ${what}`,
    run: async () => {
      const { alarms, carried, said } = await watched(options, load, meanwhile)
      const lost = carried.flatMap(run => run.lost)
      if (alarms > 0 || lost.length > 0) console.log(`${said}\n${lost.join('\n')}`)
      const told = carried.length > 0 ? `, ${carried.length} transfers, ${lost.length} lost` : ''
      return { good: alarms === 0 && lost.length === 0, what: `${alarms} alarms${told}` }
    },
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seed: { type: 'string', default: '1' }, only: { type: 'string' } } })
  let failed = 0
  for (const { name, what, run } of proofs(Number(values.seed))) {
    if (values.only !== undefined && !name.includes(values.only)) continue
    const began = performance.now()
    const outcome = await run()
    if (!outcome.good) failed++
    const seconds = ((performance.now() - began) / 1000).toFixed(0)
    console.log(`${name}: ${what}: ${outcome.good ? 'held' : 'FAILED'}: ${outcome.what} (${seconds} s)`)
  }
  process.exit(failed === 0 ? 0 : 1)
}
