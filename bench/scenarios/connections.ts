// 4. New connections, each for one request.
import { connects } from '../load.ts'
import { own } from '../services.ts'
import { type Case, costing, type Scenario } from './scenario.ts'

function connectCase(clients: number, smoke: boolean): Case {
  const id = `conn${clients}`
  const label = clients === 1 ? '1 client' : `${clients} clients`
  return {
    figures: [
      { id, label, unit: 'connections/s', better: 'more', group: 'connections per second' },
      { id: `${id}-p99`, label, unit: 'µs', better: 'less', group: 'p99 of one', unplotted: true },
      { id: `${id}-cpu`, label, unit: 'µs', better: 'less', group: 'CPU of one, all processes', unplotted: true },
    ],
    ...(smoke ? { smoke } : {}),
    measure: async (run, found) => {
      const { value, cpu } = await costing(run, () => connects(run.world.front, run.at, clients, run.seconds))
      if (value.failed > value.count / 100)
        throw new Error(`${value.failed} connections failed, ${value.count} did not`)
      found[id] = value.rate
      found[`${id}-p99`] = value.us.p99
      if (run.group !== null) found[`${id}-cpu`] = (cpu / value.count) * 1e6
    },
  }
}

export const connections: Scenario = {
  id: 'connections',
  title: 'New connections',
  how: '1 and 16 clients: connect, 64 bytes there, 64 bytes back, end; and again.',
  service: own,
  stages: [{ cases: [connectCase(1, false), connectCase(16, true)] }],
}
