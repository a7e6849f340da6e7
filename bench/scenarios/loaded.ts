// 5. Ping-pong beside bulk.
import { own } from '../services.ts'
import { pingUnderBulk, rate } from './beside.ts'
import type { Scenario } from './scenario.ts'

const LOAD_LEAD = 0.3

export const loaded: Scenario = {
  id: 'loaded',
  title: 'Ping-pong beside bulk',
  how: 'The same ping-pong while 8 streams download through the same tunnel as fast as it lets them.',
  service: own,
  stages: [
    {
      cases: [
        {
          figures: [
            { id: 'loaded-p50', label: 'p50', unit: 'µs', better: 'less', group: 'latency beside 8 bulk streams' },
            { id: 'loaded-p99', label: 'p99', unit: 'µs', better: 'less', group: 'latency beside 8 bulk streams' },
            { id: 'loaded-bulk', label: '8 streams', unit: 'MB/s', better: 'more', group: 'bulk meanwhile' },
          ],
          measure: async (run, found) => {
            const { pulled, us } = await pingUnderBulk(run, 8, run.seconds, LOAD_LEAD)
            found['loaded-p50'] = us.p50
            found['loaded-p99'] = us.p99
            found['loaded-bulk'] = rate(pulled)
          },
        },
      ],
    },
  ],
}
