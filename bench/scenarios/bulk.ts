// 1. Bulk: what iperf3 gets through.
import { output } from '../processes.ts'
import { iperf } from '../services.ts'
import { type Case, costing, type Running, type Scenario } from './scenario.ts'

const GB = 1e9

type IperfSum = { bytes: number; seconds: number; bits_per_second: number }
const BUSY = /busy running a test/
const BUSY_MS = 100

async function iperf3(run: Running, streams: number, down: boolean): Promise<IperfSum> {
  const { at, world, seconds } = run
  const flags = ['-t', String(seconds), '-P', String(streams), '-J', ...(down ? ['-R'] : [])]
  const command = ['iperf3', '-c', at.host, '-p', String(at.port), ...flags]
  for (const end = performance.now() + 5_000; ; await Bun.sleep(BUSY_MS)) {
    let text: string
    try {
      text = await output(world.front, command)
    } catch (thrown) {
      // The server takes one client at a time, and the last one's end may still be on its way through the tunnel.
      if (BUSY.test(String(thrown)) && performance.now() < end) continue
      throw thrown
    }
    return (JSON.parse(text) as { end: { sum_received: IperfSum } }).end.sum_received
  }
}

function bulkCase(streams: number, down: boolean, smoke: boolean): Case {
  const id = `${down ? 'down' : 'up'}${streams}`
  const label = `${down ? 'down' : 'up'}, ${streams}`
  return {
    figures: [
      { id, label, unit: 'MB/s', better: 'more', group: 'throughput' },
      { id: `${id}-cpu`, label, unit: 'CPU-s/GB', better: 'less', group: 'CPU seconds per GB, all processes' },
    ],
    ...(smoke ? { smoke } : {}),
    measure: async (run, found) => {
      const { value, cpu } = await costing(run, () => iperf3(run, streams, down))
      found[id] = value.bits_per_second / 8 / 1e6
      if (run.group !== null) found[`${id}-cpu`] = cpu / (value.bytes / GB)
    },
  }
}

export const bulk: Scenario = {
  id: 'bulk',
  title: 'Bulk',
  how: '`iperf3` with 1, 8 and 64 streams, up (visitor to service) and down (`-R`): the receiver’s figure.',
  service: iperf,
  stages: [
    {
      cases: [false, true].flatMap(down => [1, 8, 64].map(streams => bulkCase(streams, down, down && streams < 64))),
    },
  ],
}
