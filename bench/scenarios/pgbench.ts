// 6. PostgreSQL, on open connections and with a new one for every transaction.
import { output } from '../processes.ts'
import { postgres } from '../services.ts'
import type { Case, Scenario } from './scenario.ts'

function pgbenchCase(id: string, label: string, flags: string[]): Case {
  return {
    figures: [{ id, label, unit: 'transactions/s', better: 'more', group: 'transactions per second' }],
    measure: async (run, found) => {
      const { at, world, seconds } = run
      const place = ['-h', at.host, '-p', String(at.port), '-U', 'postgres']
      const time = ['-T', String(seconds)]
      const text = await output(world.front, ['pgbench', '-n', '-S', ...time, ...flags, ...place, 'postgres'])
      found[id] = Number(/^tps = ([\d.]+)/m.exec(text)?.[1])
    },
  }
}

export const pgbench: Scenario = {
  id: 'pgbench',
  title: 'PostgreSQL',
  how: '`pgbench -S -c 20 -j 2` on open connections; `pgbench -S -C`, one client that makes a new connection for every transaction; and that with 20 clients.',
  service: postgres,
  asRoot: true,
  stages: [
    {
      cases: [
        pgbenchCase('pg', '-S -c 20', ['-c', '20', '-j', '2']),
        pgbenchCase('pg-c', '-S -C', ['-C']),
        pgbenchCase('pg-c20', '-S -C -c 20', ['-C', '-c', '20', '-j', '2']),
      ],
    },
  ],
}
