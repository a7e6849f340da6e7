// 3. Redis: many small requests on open connections.
import { output } from '../processes.ts'
import { redis } from '../services.ts'
import type { Case, Scenario } from './scenario.ts'

function redisCase(id: string, label: string, perSecond: number, flags: string[], smoke: boolean): Case {
  return {
    figures: [
      { id, label, unit: 'requests/s', better: 'more', group: 'requests per second' },
      { id: `${id}-p99`, label, unit: 'ms', better: 'less', group: 'p99 of a request', unplotted: true },
    ],
    ...(smoke ? { smoke } : {}),
    measure: async (run, found) => {
      const { at, world, seconds } = run
      const place = ['-h', at.host, '-p', String(at.port)]
      const count = String(Math.round(perSecond * seconds))
      const command = ['redis-benchmark', ...place, '-t', 'ping_mbulk', '-n', count, ...flags, '--csv']
      // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
      const fields = (await output(world.front, command)).trim().split('\n').at(-1)!.replaceAll('"', '').split(',')
      found[id] = Number(fields[1])
      found[`${id}-p99`] = Number(fields[6])
    },
  }
}

export const redisScenario: Scenario = {
  id: 'redis',
  title: 'Redis',
  how: '`redis-benchmark -t ping_mbulk` with 1 client, with 50, and with 50 that send 16 commands at a time (`-P 16`): as many requests for everybody as take warren about the time of a round.',
  service: redis,
  stages: [
    {
      cases: [
        redisCase('c1', '1 client', 8_000, ['-c', '1'], false),
        redisCase('c50', '50 clients', 50_000, ['-c', '50'], true),
        redisCase('c50p16', '50 clients, -P 16', 650_000, ['-c', '50', '-P', '16'], false),
      ],
    },
  ],
}
