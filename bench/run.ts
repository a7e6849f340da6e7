// Runs scenarios: starts what is needed, interleaves the contenders A B C A B C, and keeps every value of every round.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Wan } from '../test/wan/wanlink.ts'
import { type Contender, ownFolder, type Setup, setupFor } from './contenders/index.ts'
import { type At, reach } from './load.ts'
import { Group, LOOPBACK, type World } from './processes.ts'
import type { Case, Found, Running, Scenario, Stage } from './scenarios/index.ts'
import { type Service, startService } from './services.ts'

export type Plan = {
  readonly scenarios: readonly Scenario[]
  readonly contenders: readonly Contender[]
  readonly rounds: number
  readonly seconds: number
  readonly smoke: boolean
}

/** figure → contender → one value a round. */
export type Values = Map<string, Map<string, (number | null)[]>>

export type Failure = { scenario: string; contender: string; message: string }

export type Results = { values: Values; failures: Failure[] }

export interface Watcher {
  /** One measurement begins, of a round that counts or of the one before them, -1. */
  step(scenario: Scenario, contender: Contender, round: number): void
  failed(failure: Failure): void
}

const REACH_MS = 20_000
/** A measurement that takes longer hangs; its commands are killed before. */
const HANG_MS = 120_000
/** A case of the round that does not count lasts so long at least: Bun compiles for the first ten seconds of a load. */
const WARM_UP_SECONDS = 4

/** One contender in a stage. */
class Entrant implements AsyncDisposable {
  readonly contender: Contender
  readonly service: Service
  readonly #setup: Setup
  #group: Group | null = null

  constructor(contender: Contender, service: Service, setup: Setup) {
    this.contender = contender
    this.service = service
    this.#setup = setup
  }

  prepare(): Promise<void> {
    return this.contender.prepare(this.#setup)
  }

  running(seconds: number): Running {
    const { world, folder } = this.#setup
    return {
      contender: this.contender.id,
      world,
      at: this.#at,
      group: this.#group,
      seconds,
      folder,
      start: () => this.start(),
    }
  }

  get #at(): At {
    const { world, port } = this.#setup
    if (this.contender.start === null) return { host: world.back.host, port: this.service.port }
    return { host: world.front.host, port }
  }

  get said(): string {
    return this.#group?.said ?? ''
  }

  async start(): Promise<void> {
    if (this.contender.start !== null) {
      this.#group ??= new Group(this.#setup.folder)
      await this.contender.start(this.#setup, this.#group)
    }
    await reach(this.#setup.world.front, this.#at, REACH_MS, this.service.kind.hello)
  }

  /** Its processes are there for the accounting before a fresh case starts them. */
  renew(): void {
    if (this.contender.start !== null) this.#group = new Group(this.#setup.folder)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#group?.[Symbol.asyncDispose]()
    this.#group = null
  }
}

export function contendersOf(plan: Plan, scenario: Scenario): Contender[] {
  return plan.contenders.filter(
    ({ id, scenarios }) => !scenario.without?.includes(id) && (scenarios?.includes(scenario.id) ?? true),
  )
}

export function casesOf(plan: Plan, stage: Stage): Case[] {
  return stage.cases.filter(one => !plan.smoke || one.smoke)
}

const measures = (one: Case, contender: Contender): boolean => one.only?.includes(contender.id) ?? true

/**
 * Where a stage stays up and the machine is the limit, the first round is -1 and does not count: what fills caches, and the
 * most of what virtual machines compile, is in it. What a cold start costs has a scenario of its own.
 */
function firstRound(plan: Plan, stage: Stage): number {
  return plan.smoke || stage.fresh || stage.link !== undefined ? 0 : -1
}

/** How many measurements a plan takes. */
export function steps(plan: Plan): number {
  let count = 0
  for (const scenario of plan.scenarios)
    for (const stage of scenario.stages) {
      const rounds = plan.rounds - firstRound(plan, stage)
      for (const one of casesOf(plan, stage))
        count += contendersOf(plan, scenario).filter(contender => measures(one, contender)).length * rounds
    }
  return count
}

export async function run(plan: Plan, watcher: Watcher): Promise<Results> {
  const results: Results = { values: new Map(), failures: [] }
  const folder = mkdtempSync(join(tmpdir(), 'warren-bench-'))
  // A service may run as another user.
  chmodSync(folder, 0o755)
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  for (const scenario of plan.scenarios)
    for (const [at, stage] of scenario.stages.entries()) {
      if (casesOf(plan, stage).length === 0) continue
      const own = ownFolder(folder, `${scenario.id}-${at}`)
      try {
        if (stage.link === undefined) await runStage(plan, scenario, stage, LOOPBACK, own, results, watcher)
        else {
          await using wan = await Wan.open(stage.link)
          await runStage(plan, scenario, stage, { front: wan.a, back: wan.b }, own, results, watcher)
        }
      } catch (thrown) {
        const failure = { scenario: scenario.id, contender: 'all', message: String(thrown) }
        results.failures.push(failure)
        watcher.failed(failure)
      }
    }
  return results
}

async function runStage(
  plan: Plan,
  scenario: Scenario,
  stage: Stage,
  world: World,
  folder: string,
  results: Results,
  watcher: Watcher,
): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const fail = (contender: string, thrown: unknown, said = '') => {
    const failure = { scenario: scenario.id, contender, message: `${String(thrown)}\n${said}`.trim() }
    results.failures.push(failure)
    watcher.failed(failure)
  }
  const kind = scenario.service
  const shared = kind.alone ? null : stack.use(await startService(kind, world, ownFolder(folder, 'service')))
  const entrants: Entrant[] = []
  for (const contender of contendersOf(plan, scenario)) {
    const service = shared ?? stack.use(await startService(kind, world, ownFolder(folder, `service-${contender.id}`)))
    const setup = setupFor(world, service.port, ownFolder(folder, contender.id))
    const entrant = stack.use(new Entrant(contender, service, setup))
    try {
      await entrant.prepare()
      if (!stage.fresh) await entrant.start()
      entrants.push(entrant)
    } catch (thrown) {
      fail(contender.id, thrown, entrant.said)
    }
  }
  for (let round = firstRound(plan, stage); round < plan.rounds; round++) {
    const seconds = round < 0 ? Math.max(plan.seconds, WARM_UP_SECONDS) : plan.seconds
    for (const one of casesOf(plan, stage))
      for (const entrant of entrants.filter(entrant => measures(one, entrant.contender))) {
        watcher.step(scenario, entrant.contender, round)
        const found: Found = {}
        if (stage.fresh) entrant.renew()
        try {
          await inTime(one.measure(entrant.running(seconds), found))
        } catch (thrown) {
          fail(entrant.contender.id, thrown)
        }
        if (stage.fresh) await entrant[Symbol.asyncDispose]()
        if (round < 0) continue
        for (const figure of one.figures)
          keep(results.values, figure.id, entrant.contender.id, round, found[figure.id] ?? null)
      }
  }
}

async function inTime(work: Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`no end within ${HANG_MS / 1000} s`)), HANG_MS)
  try {
    await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

function keep(values: Values, figure: string, contender: string, round: number, value: number | null): void {
  const byContender = values.get(figure) ?? new Map<string, (number | null)[]>()
  const rounds = byContender.get(contender) ?? []
  rounds[round] = value !== null && Number.isFinite(value) ? value : null
  byContender.set(contender, rounds)
  values.set(figure, byContender)
}

/**
 * Values of one figure of one contender, one a round: of an added one, without what direct took in the same round.
 * `drawn`: these rounds instead of all, each as often as it is named.
 */
export function valuesOf(
  values: Values,
  figure: { id: string; added?: true },
  contender: string,
  drawn?: readonly number[],
): number[] {
  const all = values.get(figure.id)?.get(contender) ?? []
  const direct = values.get(figure.id)?.get('direct') ?? []
  return (drawn ?? [...all.keys()]).flatMap(round => {
    const value = all[round] ?? null
    if (value === null) return []
    if (!figure.added) return [value]
    const base = direct[round]
    return base == null ? [] : [value - base]
  })
}
