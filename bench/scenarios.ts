// What is measured: each scenario has stages (a world each), a stage has cases, a case fills in figures for one contender
// at a time. bench.ts runs them, report.ts and plot.ts show them.
import type { Link } from '../test/wan/wanlink.ts'
import { registerAgents } from './agents.ts'
import { type At, connects, hold, type Pulled, ping, pull, reach, stall } from './load.ts'
import { descriptors, type Group, output, type World } from './processes.ts'
import { iperf, nginx, own, postgres, redis, type ServiceKind } from './services.ts'

export type Figure = {
  readonly id: string
  readonly label: string
  readonly unit: string
  readonly better: 'more' | 'less'
  /** A table and a part of the plot for each. */
  readonly group: string
  /** What direct needs in the same round is taken off. */
  readonly added?: true
  /** In tables only. */
  readonly unplotted?: true
}

/** One contender in one world, up (or, in a fresh stage, to be started by the case). */
export type Running = {
  readonly contender: string
  readonly world: World
  /** Where visitors connect to. */
  readonly at: At
  /** Null for direct. */
  readonly group: Group | null
  readonly seconds: number
  readonly folder: string
  /** Resolves when the service answers through it. */
  start(): Promise<void>
}

export type Found = Record<string, number>

export type Case = {
  readonly figures: readonly Figure[]
  /** Only these contenders. */
  readonly only?: readonly string[]
  /** In the smoke form too. */
  readonly smoke?: true
  /** Fills in what it finds; what it has when it throws still counts. */
  measure(run: Running, found: Found): Promise<void>
}

export type Stage = {
  readonly link?: Link
  /** Cases start the contender themselves, each time anew. */
  readonly fresh?: true
  readonly cases: readonly Case[]
}

export type Scenario = {
  readonly id: string
  readonly title: string
  /** Its service runs as another user, which takes root. */
  readonly asRoot?: true
  /** How it is measured, for the page. */
  readonly how: string
  readonly service: ServiceKind
  /** Programs of the load, beyond the service's. */
  readonly without?: readonly string[]
  readonly stages: readonly Stage[]
}

const GB = 1e9
const KIB = 1024

/** CPU seconds of the contender's processes while `work` runs. */
async function costing<T>(run: Running, work: () => Promise<T>): Promise<{ value: T; cpu: number }> {
  const before = run.group?.cpu() ?? 0
  const value = await work()
  return { value, cpu: (run.group?.cpu() ?? 0) - before }
}

// ---- 1. Bulk

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

const bulk: Scenario = {
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

// ---- 2. Ping-pong

const latency: Scenario = {
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

// ---- 3. Redis

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

const redisScenario: Scenario = {
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

// ---- 4. New connections

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
      found[id] = value.rate
      found[`${id}-p99`] = value.us.p99
      if (run.group !== null) found[`${id}-cpu`] = (cpu / value.count) * 1e6
      if (value.failed > value.count / 100)
        throw new Error(`${value.failed} connections failed, ${value.count} did not`)
    },
  }
}

const connections: Scenario = {
  id: 'connections',
  title: 'New connections',
  how: '1 and 16 clients: connect, 64 bytes there, 64 bytes back, end; and again.',
  service: own,
  stages: [{ cases: [connectCase(1, false), connectCase(16, true)] }],
}

// ---- 5. Ping under load

const LOAD_LEAD = 0.3

/** A ping-pong while so many streams take all they get. */
async function pingUnderBulk(run: Running, streams: number, seconds: number, lead: number) {
  const { front } = run.world
  const load = pull(front, run.at, streams, seconds + lead, lead)
  const pinged = Bun.sleep(lead * 1000).then(() => ping(front, run.at, seconds))
  const [pulled, { us }] = await Promise.all([load, pinged])
  return { pulled, us }
}

const rate = ({ bytes, seconds }: Pulled): number => bytes / seconds / 1e6

const loaded: Scenario = {
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

// ---- 6. PostgreSQL

function pgbenchCase(id: string, label: string, flags: string[]): Case {
  return {
    figures: [{ id, label, unit: 'transactions/s', better: 'more', group: 'transactions per second' }],
    measure: async (run, found) => {
      const { at, world, seconds } = run
      const place = ['-h', at.host, '-p', String(at.port), '-U', 'postgres']
      const time = ['-T', String(seconds)]
      const text = await output(world.front, [
        'pgbench',
        '-n',
        '-S',
        '-j',
        '2',
        ...time,
        ...flags,
        ...place,
        'postgres',
      ])
      found[id] = Number(/^tps = ([\d.]+)/m.exec(text)?.[1])
    },
  }
}

const pgbench: Scenario = {
  id: 'pgbench',
  title: 'PostgreSQL',
  how: '`pgbench -S -c 20 -j 2`, on open connections and with `-C`, a new connection for every transaction.',
  service: postgres,
  asRoot: true,
  stages: [
    {
      cases: [pgbenchCase('pg', '-S -c 20', ['-c', '20']), pgbenchCase('pg-c', '-S -C -c 20', ['-c', '20', '-C'])],
    },
  ],
}

// ---- 7. HTTP

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
      found[id] = Number(/^Requests\/sec:\s+([\d.]+)/m.exec(text)?.[1])
      const [, value, unit] = /^\s+99%\s+([\d.]+)(us|ms|s)/m.exec(text) ?? []
      found[`${id}-p99`] = Number(value) * (MILLISECONDS[unit ?? ''] ?? Number.NaN)
      const errors = /Socket errors: .*/.exec(text)?.[0]
      if (errors !== undefined) throw new Error(errors)
    },
  }
}

const http: Scenario = {
  id: 'http',
  title: 'HTTP',
  how: '`wrk` on a small page of nginx over connections that stay open: 48, as rathole publishes it (with vegeta), and 100, as gt does.',
  service: nginx,
  stages: [{ cases: [wrkCase(48), wrkCase(100)] }],
}

// ---- 8. Memory

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

const memory: Scenario = {
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

// ---- 9. Far away

const FAR_LEAD = 2
const FAR_SECONDS = 4
const NO_STALL_MS = 20_000

function farStage(id: string, name: string, link: Link): Stage {
  return {
    link,
    cases: [
      {
        figures: [
          { id: `${id}-bulk`, label: name, unit: 'MB/s', better: 'more', group: 'one bulk stream' },
          { id: `${id}-first`, label: name, unit: 'ms', better: 'less', group: 'first byte of a new connection' },
          { id: `${id}-ping`, label: name, unit: 'ms', better: 'less', group: 'ping beside one bulk stream, p50' },
          {
            id: `${id}-left`,
            label: name,
            unit: 'MB/s',
            better: 'more',
            group: 'bulk beside the ping',
            unplotted: true,
          },
        ],
        measure: async (run, found) => {
          const { front } = run.world
          await reach(front, run.at, NO_STALL_MS, own.hello)
          const { first } = await connects(front, run.at, 1, run.seconds)
          found[`${id}-first`] = first.p50 / 1000
          found[`${id}-bulk`] = rate(await pull(front, run.at, 1, FAR_SECONDS, FAR_LEAD))
          const { pulled, us } = await pingUnderBulk(run, 1, FAR_SECONDS, FAR_LEAD)
          found[`${id}-ping`] = us.p50 / 1000
          found[`${id}-left`] = rate(pulled)
        },
      },
    ],
  }
}

const far: Scenario = {
  id: 'far',
  title: 'Far away',
  how: 'Visitor and relay on one host, agent and service on another, with a long link between them (two network namespaces, `test/wan/wanlink.c`): 20 ms and 100 ms there and back, 100 ms with 1 % of the packets lost, and 100 Mbit/s. The others carry 400 Mbit/s, so that the link and not this machine is the limit. Bulk counts from 2 seconds on.',
  service: own,
  stages: [
    farStage('ms20', '20 ms', { delay: 10, rate: 400, queue: 2000 }),
    farStage('ms100', '100 ms', { delay: 50, rate: 400, queue: 5000 }),
    farStage('loss', '100 ms, 1 % loss', { delay: 50, rate: 400, queue: 5000, loss: 1, seed: 7 }),
    farStage('mbit100', '20 ms, 100 Mbit/s', { delay: 10, rate: 100, queue: 500 }),
  ],
}

// ---- 10. A visitor that never reads

const STALL_MS = 1_000

const stalled: Scenario = {
  id: 'stalled',
  title: 'A visitor that never reads',
  how: 'One visitor asks for everything and reads nothing; 8 others download before and meanwhile. What it costs in memory is PSS of both ends, before the 8 come.',
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
            found['stall-before'] = rate(await pull(front, run.at, 8, run.seconds, 0.2))
            await Bun.sleep(STALL_MS)
            const before = run.group?.memory().pss ?? 0
            await using _ = await stall(front, run.at)
            await Bun.sleep(STALL_MS)
            if (run.group !== null) found['stall-memory'] = Math.max(0, run.group.memory().pss - before) / KIB
            found['stall-while'] = rate(await pull(front, run.at, 8, run.seconds, 0.2))
          },
        },
      ],
    },
  ],
}

// ---- 11. Start

const AGENTS = 1_000

const start: Scenario = {
  id: 'start',
  title: 'Start',
  how: `From starting both ends to the first byte back through the tunnel, with keys and certificates in place. Then ${AGENTS.toLocaleString('en-US')} agents that enrol with one relay at once, and that come back at once: measured for warren alone, for which so many fit into one process. Its one thread, which makes all their handshakes and signatures, is what takes the time: the relay has some 3 ms of work with each.`,
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

export const SCENARIOS: readonly Scenario[] = [
  bulk,
  latency,
  redisScenario,
  connections,
  loaded,
  pgbench,
  http,
  memory,
  far,
  stalled,
  start,
]

export const figuresOf = (scenario: Scenario): Figure[] =>
  scenario.stages.flatMap(stage => stage.cases.flatMap(one => one.figures))
