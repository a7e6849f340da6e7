// 7. HTTP, as the peers publish it.
import { output } from '../processes.ts'
import { nginx } from '../services.ts'
import type { Case, Scenario } from './scenario.ts'

const MILLISECONDS: Record<string, number> = { us: 1e-3, ms: 1, s: 1e3 }

function wrkCase(workers: number): Case {
  const id = `http${workers}`
  const label = `${workers} connections`
  return {
    figures: [
      { id, label, unit: 'requests/s', better: 'more', group: 'requests per second' },
      { id: `${id}-p99`, label, unit: 'ms', better: 'less', group: 'p99 of a request', unplotted: true },
    ],
    measure: async (run, found) => {
      const { at, world, seconds } = run
      const time = `${seconds}s`
      const flags = ['-t', '2', '-c', String(workers), '-d', time, '--latency']
      const text = await output(world.front, ['wrk', ...flags, `http://${at.host}:${at.port}/`])
      const errors = /Socket errors: .*|Non-2xx or 3xx responses: .*/.exec(text)?.[0]
      if (errors !== undefined) throw new Error(errors)
      found[id] = Number(/^Requests\/sec:\s+([\d.]+)/m.exec(text)?.[1])
      const [, value, unit] = /^\s+99%\s+([\d.]+)(us|ms|s)/m.exec(text) ?? []
      found[`${id}-p99`] = Number(value) * (MILLISECONDS[unit ?? ''] ?? Number.NaN)
    },
  }
}

export const http: Scenario = {
  id: 'http',
  title: 'HTTP',
  how: '`wrk` on a small page of nginx over connections that stay open: 48, as rathole publishes it (with vegeta), and 100, as gt does.',
  service: nginx,
  stages: [{ cases: [wrkCase(48), wrkCase(100)] }],
}
