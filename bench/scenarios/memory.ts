// 8. Memory: idle, with idle streams, after them, and during bulk.
import { hold, pull } from '../load.ts'
import { descriptors } from '../processes.ts'
import { own } from '../services.ts'
import { type Figure, type Found, KIB, type Running, type Scenario } from './scenario.ts'

/** Each is so many more than the last that the load's threads share it evenly. */
const LEVELS = [1_000, 5_000, 10_000] as const
const SETTLE_MS = 1_500
const SAMPLE_MS = 100

const memoryFigure = (id: string, label: string, unplotted?: true): readonly Figure[] => [
  {
    id,
    label,
    unit: 'MiB',
    better: 'less',
    group: 'PSS, all processes',
    ...(unplotted === undefined ? {} : { unplotted }),
  },
  { id: `${id}-rss`, label, unit: 'MiB', better: 'less', group: 'RSS, all processes', unplotted: true },
]

function noteMemory(run: Running, found: Found, id: string): void {
  const { pss, rss } = run.group!.memory()
  found[id] = pss / KIB
  found[`${id}-rss`] = rss / KIB
}

export const memory: Scenario = {
  id: 'memory',
  title: 'Memory',
  how: 'PSS and RSS of both ends: idle, with 1,000, 5,000 and 10,000 idle streams, after they closed, and the most during bulk of 8 streams. The kernel’s socket buffers are not in it. One that needs two descriptors for a stream in one process has no room for 10,000 where a process may have 20,000.',
  service: own,
  without: ['direct'],
  stages: [
    {
      fresh: true,
      cases: [
        {
          figures: [
            ...memoryFigure('idle', 'idle'),
            ...LEVELS.flatMap(level => memoryFigure(`idle${level}`, level.toLocaleString('en-US'))),
            ...memoryFigure('after', 'after them'),
            {
              id: 'per-stream',
              label: '1,000 → 5,000',
              unit: 'KiB',
              better: 'less',
              group: 'PSS of one more idle stream',
            },
          ],
          measure: async (run, found) => {
            await run.start()
            await Bun.sleep(SETTLE_MS)
            noteMemory(run, found, 'idle')
            await using held = new AsyncDisposableStack()
            let open = 0
            for (const level of LEVELS) {
              const more = held.use(await hold(run.world.front, run.at, level - open))
              if (more.failed > 0) {
                if (2 * level >= descriptors()) return
                throw new Error(`${more.failed} connections failed on the way to ${level}`)
              }
              open = level
              await Bun.sleep(SETTLE_MS)
              noteMemory(run, found, `idle${level}`)
              const [first, second] = [found['idle1000'], found['idle5000']]
              if (first !== undefined && second !== undefined) found['per-stream'] = ((second - first) * KIB) / 4_000
            }
            await held.disposeAsync()
            await Bun.sleep(2 * SETTLE_MS)
            noteMemory(run, found, 'after')
          },
        },
        {
          figures: memoryFigure('busy', 'bulk'),
          measure: async (run, found) => {
            await run.start()
            const load = pull(run.world.front, run.at, 8, run.seconds, 0.2)
            let done = false
            const most: Found = {}
            const finished = load.finally(() => {
              done = true
            })
            while (!done) {
              const now: Found = {}
              noteMemory(run, now, 'busy')
              for (const [id, value] of Object.entries(now)) most[id] = Math.max(most[id] ?? 0, value)
              await Bun.sleep(SAMPLE_MS)
            }
            await finished
            Object.assign(found, most)
          },
        },
      ],
    },
  ],
}
