// 10. A visitor that never reads: what it costs the others, and in memory.
import { pull, stall } from '../load.ts'
import { own } from '../services.ts'
import { rate } from './beside.ts'
import { KIB, type Scenario } from './scenario.ts'

const STALL_MS = 1_000
const LEAD = 0.2

export const stalled: Scenario = {
  id: 'stalled',
  title: 'A visitor that never reads',
  how: 'One visitor asks for everything and reads nothing; 8 others download before and meanwhile. What it costs in memory is PSS of both ends, which nobody used before.',
  service: own,
  stages: [
    {
      fresh: true,
      cases: [
        {
          figures: [
            { id: 'stall-before', label: 'before', unit: 'MB/s', better: 'more', group: 'rate of 8 others' },
            { id: 'stall-while', label: 'meanwhile', unit: 'MB/s', better: 'more', group: 'rate of 8 others' },
            { id: 'stall-memory', label: 'one stalled visitor', unit: 'MiB', better: 'less', group: 'memory for it' },
          ],
          measure: async (run, found) => {
            await run.start()
            const { front } = run.world
            await Bun.sleep(STALL_MS)
            // Of the memory that bulk leaves behind, a stalled visitor would take none that can be seen.
            const before = run.group?.memory().pss ?? 0
            {
              await using _ = await stall(front, run.at)
              await Bun.sleep(STALL_MS)
              if (run.group !== null) found['stall-memory'] = (run.group.memory().pss - before) / KIB
            }
            found['stall-before'] = rate(await pull(front, run.at, 8, run.seconds, LEAD))
            await using _ = await stall(front, run.at)
            await Bun.sleep(STALL_MS)
            found['stall-while'] = rate(await pull(front, run.at, 8, run.seconds, LEAD))
          },
        },
      ],
    },
  ],
}
