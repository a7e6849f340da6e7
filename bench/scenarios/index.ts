// What is measured. bench.ts runs it, report.ts and plot.ts show it.
import { bulk } from './bulk.ts'
import { connections } from './connections.ts'
import { far } from './far.ts'
import { http } from './http.ts'
import { loaded } from './loaded.ts'
import { memory } from './memory.ts'
import { pgbench } from './pgbench.ts'
import { latency } from './ping.ts'
import { redisScenario } from './redis.ts'
import type { Figure, Scenario } from './scenario.ts'
import { stalled } from './stalled.ts'
import { start } from './start.ts'

export type { Case, Figure, Found, Running, Scenario, Stage } from './scenario.ts'

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
