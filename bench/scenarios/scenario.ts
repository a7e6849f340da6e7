// What a scenario is made of: stages (a world each), a stage has cases, a case fills in figures for one contender at a time.
import type { Link } from '../../test/wan/wanlink.ts'
import type { At } from '../load.ts'
import type { Group, World } from '../processes.ts'
import type { ServiceKind } from '../services.ts'

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
  /** Fills in what it finds; what it has when it throws still counts, so that nothing is filled in before its check. */
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

/** KiB in a MiB: memory is read in the one and shown in the other. */
export const KIB = 1024

/** CPU seconds of the contender's processes while `work` runs. */
export async function costing<T>(run: Running, work: () => Promise<T>): Promise<{ value: T; cpu: number }> {
  const before = run.group?.cpu() ?? 0
  const value = await work()
  return { value, cpu: (run.group?.cpu() ?? 0) - before }
}
