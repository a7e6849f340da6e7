// 2. Ping-pong: what a contender adds to a small message there and back.
import { ping } from '../load.ts'
import { own } from '../services.ts'
import type { Scenario } from './scenario.ts'

export const latency: Scenario = {
  id: 'ping',
  title: 'Ping-pong',
  how: 'One client sends 64 bytes and waits for them to come back, one after the other. What direct takes in the same round is taken off: these are the microseconds that the contender adds.',
  service: own,
  stages: [
    {
      cases: [
        {
          smoke: true,
          figures: (['p50', 'p99', 'p999'] as const).map(id => ({
            id,
            label: id === 'p999' ? 'p99.9' : id,
            unit: 'µs',
            better: 'less',
            group: 'added latency',
            added: true,
          })),
          measure: async (run, found) => {
            const { us } = await ping(run.world.front, run.at, run.seconds)
            Object.assign(found, { p50: us.p50, p99: us.p99, p999: us.p999 })
          },
        },
      ],
    },
  ],
}
