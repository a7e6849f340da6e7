// 11. Start: until a tunnel is ready, and many agents at once.
import { registerAgents } from '../agents.ts'
import { own } from '../services.ts'
import type { Scenario } from './scenario.ts'

const AGENTS = 1_000

export const start: Scenario = {
  id: 'start',
  title: 'Start',
  how: `From starting both ends to the first byte back through the tunnel, with keys and certificates in place. Then ${AGENTS.toLocaleString('en-US')} agents that enrol with one relay at once, and that come back at once: measured for warren alone, for which so many fit into one process. In it all of them share one thread.`,
  service: own,
  without: ['direct'],
  stages: [
    {
      fresh: true,
      cases: [
        {
          figures: [{ id: 'start', label: 'start', unit: 'ms', better: 'less', group: 'cold start to first byte' }],
          measure: async (run, found) => {
            const began = performance.now()
            await run.start()
            found['start'] = performance.now() - began
          },
        },
        {
          only: ['warren'],
          figures: [
            { id: 'enrol', label: 'enrol', unit: 'ms', better: 'less', group: '1,000 agents at once', unplotted: true },
            {
              id: 'return',
              label: 'come back',
              unit: 'ms',
              better: 'less',
              group: '1,000 agents at once',
              unplotted: true,
            },
          ],
          measure: async (run, found) => {
            Object.assign(found, await registerAgents(AGENTS, run.folder))
          },
        },
      ],
    },
  ],
}
