// 9. Far away: over a long, lossy or slow link.
import type { Link } from '../../test/wan/wanlink.ts'
import { connects, pull, reach } from '../load.ts'
import { own } from '../services.ts'
import { pingUnderBulk, rate } from './beside.ts'
import type { Scenario, Stage } from './scenario.ts'

const FAR_LEAD = 2
const FAR_SECONDS = 4
/** BBR slows down for a moment once in ten seconds: in so many there is one, with the ping and without. */
const KEPT_SECONDS = 10
const NO_STALL_MS = 20_000

function farStage(id: string, name: string, link: Link, bulk: number): Stage {
  return {
    link,
    cases: [
      {
        figures: [
          { id: `${id}-bulk`, label: name, unit: 'MB/s', better: 'more', group: 'one bulk stream' },
          { id: `${id}-first`, label: name, unit: 'ms', better: 'less', group: 'first byte of a new connection' },
          { id: `${id}-ping`, label: name, unit: 'ms', better: 'less', group: 'ping beside one bulk stream, p50' },
          {
            id: `${id}-left`,
            label: name,
            unit: 'MB/s',
            better: 'more',
            group: 'bulk beside the ping',
            unplotted: true,
          },
        ],
        measure: async (run, found) => {
          const { front } = run.world
          await reach(front, run.at, NO_STALL_MS, own.hello)
          const { first } = await connects(front, run.at, 1, run.seconds)
          found[`${id}-first`] = first.p50 / 1000
          found[`${id}-bulk`] = rate(await pull(front, run.at, 1, bulk, FAR_LEAD))
          const { pulled, us } = await pingUnderBulk(run, 1, bulk, FAR_LEAD)
          found[`${id}-ping`] = us.p50 / 1000
          found[`${id}-left`] = rate(pulled)
        },
      },
    ],
  }
}

export const far: Scenario = {
  id: 'far',
  title: 'Far away',
  how: 'Visitor and relay on one host, agent and service on another, with a long link between them (two network namespaces, `test/wan/wanlink.c`): 20 ms and 100 ms there and back, 100 ms with 1 % of the packets lost, and 100 Mbit/s. The others carry 400 Mbit/s, so that the link and not this machine is the limit. Bulk counts from 2 seconds on, for 4; on the first link for 10, in which BBR slows down once to look for a shorter path.',
  service: own,
  stages: [
    farStage('ms20', '20 ms', { delay: 10, rate: 400, queue: 2000 }, KEPT_SECONDS),
    farStage('ms100', '100 ms', { delay: 50, rate: 400, queue: 5000 }, FAR_SECONDS),
    farStage('loss', '100 ms, 1 % loss', { delay: 50, rate: 400, queue: 5000, loss: 1, seed: 7 }, FAR_SECONDS),
    farStage('mbit100', '20 ms, 100 Mbit/s', { delay: 10, rate: 100, queue: 500 }, FAR_SECONDS),
  ],
}
