// `bun run bench`: warren beside its peers. bench/README.md says what it measures and how.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { whyNoLink } from '../test/wan/wanlink.ts'
import { CONTENDERS, missing } from './contenders/index.ts'
import { GOALS, judge, ratio } from './goals.ts'
import { machine, restrict, Watch } from './machine.ts'
import { program, ROOT } from './processes.ts'
import { Progress } from './progress.ts'
import { type Header, PAGE_END, type Saved, savedText, terminalText, writePage } from './report.ts'
import { type Plan, type Results, run, steps } from './run.ts'
import { figuresOf, SCENARIOS } from './scenarios/index.ts'

const USAGE = `bun run bench [--only ids] [--contenders ids] [--rounds n] [--seconds n] [--cores n] [--smoke] [--page file] [--from files]

  --only        scenarios: ${SCENARIOS.map(scenario => scenario.id).join(', ')}
  --contenders  ${CONTENDERS.map(contender => contender.id).join(', ')}; warren and direct always run
  --rounds      of every measurement [4]
  --seconds     of every measurement, whole ones, 50 at most [2]
  --cores       that everything runs on [all]
  --smoke       under a minute, against stunnel, or haproxy without it; fails below half of the goals
  --page        write the page here [docs/benchmarks.md, after a whole run on a quiet machine]
  --from        results of earlier runs, to write a page of them; figures of a later one replace those of the first
`
const HERE = import.meta.dir
const PAGE = new URL('../docs/benchmarks.md', import.meta.url).pathname
/** Where a run's page went is nobody else's. */
const PAGE_FLAG = / --page \S+/
const PAGE_ROUNDS = 4
/** Two of them fit into what a measurement may take before it counts as hung. */
const MOST_SECONDS = 50
/** On two cores, as the goals are said for: with more, contenders of several threads have some that are idle. */
const SMOKE = { contenders: ['stunnel', 'haproxy'], seconds: 1, rounds: 2, cores: '2', factor: 0.5 }

function usage(message: string): never {
  console.error(`${message}\n\n${USAGE}`)
  process.exit(2)
}

function options() {
  try {
    return parseArgs({
      options: {
        only: { type: 'string' },
        contenders: { type: 'string' },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        cores: { type: 'string' },
        smoke: { type: 'boolean', default: false },
        page: { type: 'string' },
        from: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values
  } catch (thrown) {
    usage(thrown instanceof Error ? thrown.message : String(thrown))
  }
}

function count(text: string | undefined, fallback: number, flag: string, most = Number.MAX_SAFE_INTEGER): number {
  const value = text === undefined ? fallback : Number(text)
  if (!Number.isSafeInteger(value) || value < 1) usage(`${flag}: '${text}' is not a whole number above 0`)
  if (value > most) usage(`${flag}: '${text}' is more than ${most}`)
  return value
}

function pick<T extends { id: string }>(all: readonly T[], wanted: string | undefined, flag: string): T[] {
  if (wanted === undefined) return [...all]
  const ids = wanted.split(',').filter(id => id !== '')
  const unknown = ids.find(id => !all.some(one => one.id === id))
  if (unknown !== undefined) usage(`${flag}: there is no '${unknown}'`)
  if (ids.length === 0) usage(`${flag}: names nothing`)
  return all.filter(one => ids.includes(one.id))
}

async function headerOf(plan: Plan, load: number): Promise<Header> {
  const versions: Record<string, string> = {}
  for (const contender of plan.contenders) versions[contender.id] = await contender.version()
  const said = (command: string[]) => Bun.spawnSync(command, { stderr: 'pipe' })
  const programs = [
    ['iperf3', '--version'],
    ['redis-benchmark', '--version'],
    ['pgbench', '--version'],
    ['nginx', '-v'],
    ['wrk', '-v'],
  ].flatMap(command => {
    const path = program(command[0]!)
    if (path === null) return []
    const { stdout, stderr } = said([path, ...command.slice(1)])
    const line = `${stdout.toString()}${stderr.toString()}`.split('\n')[0]!
    return [line.replace(/^nginx version: /, '').replace(/ \[.*| Copyright.*| \(cJSON.*/, '')]
  })
  const git = (...words: string[]) =>
    said(['git', '-C', HERE, ...words])
      .stdout.toString()
      .trim()
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: `${git('rev-parse', '--short', 'HEAD') || 'unknown'}${git('status', '--porcelain', '-uno') === '' ? '' : '+'}`,
    command: `npm run bench -- ${Bun.argv.slice(2).join(' ')}`.replace(PAGE_FLAG, '').trim(),
    machine: machine(),
    rounds: plan.rounds,
    seconds: plan.seconds,
    load: load.toFixed(2),
    versions,
    programs,
    absent: CONTENDERS.filter(missing).map(({ label, install }) => ({ label, install })),
  }
}

async function main(): Promise<number> {
  const flags = options()
  if (flags.help) {
    console.log(USAGE)
    return 0
  }
  if (flags.page !== undefined && !flags.page.endsWith(PAGE_END))
    usage(`--page: '${flags.page}' is no name of a ${PAGE_END} file`)
  if (flags.from !== undefined) return again(flags.from.split(','), flags.page ?? PAGE)
  const { smoke } = flags
  const limit = flags.cores ?? (smoke ? SMOKE.cores : undefined)
  if (limit !== undefined) {
    const why = restrict(count(limit, 0, '--cores'))
    if (why !== null) usage(`--cores: ${why}`)
  }
  const watch = new Watch()
  const smokers = CONTENDERS.filter(one => SMOKE.contenders.includes(one.id))
  const smoker = smokers
    .toSorted((a, b) => SMOKE.contenders.indexOf(a.id) - SMOKE.contenders.indexOf(b.id))
    .find(one => !missing(one))
  if (smoke && flags.contenders === undefined && smoker === undefined) {
    console.error(`--smoke needs something to compare with: ${smokers[0]!.install}`)
    return 1
  }
  const wanted = pick(CONTENDERS, flags.contenders ?? (smoke ? smoker!.id : undefined), '--contenders')
  const asked = CONTENDERS.filter(one => one.id === 'warren' || one.id === 'direct' || wanted.includes(one))
  const contenders = asked.filter(one => !missing(one))
  for (const one of asked.filter(missing)) console.error(`${one.label} is not installed, and left out: ${one.install}`)
  const linked = whyNoLink()
  const scenarios = pick(SCENARIOS, flags.only, '--only').filter(scenario => {
    const absent = scenario.service.programs.filter(name => program(name) === null)
    const inTheWay = absent.length > 0 ? `${absent.join(', ')} not installed: sh bench/setup.sh debian` : null
    const asRoot =
      scenario.asRoot && process.getuid?.() !== 0 ? 'it starts its service as another user: run as root' : null
    const why = inTheWay ?? asRoot ?? (scenario.stages.some(stage => stage.link !== undefined) ? linked : null)
    if (why !== null) console.error(`scenario ${scenario.id} is left out: ${why}`)
    return why === null
  })
  const plan: Plan = {
    scenarios: smoke
      ? scenarios.filter(one => one.stages.some(stage => stage.cases.some(({ smoke }) => smoke)))
      : scenarios,
    contenders,
    rounds: count(flags.rounds, smoke ? SMOKE.rounds : PAGE_ROUNDS, '--rounds'),
    seconds: count(flags.seconds, smoke ? SMOKE.seconds : 2, '--seconds', MOST_SECONDS),
    smoke,
  }
  if (!watch.quiet)
    console.error(`load average ${watch.load.toFixed(2)}: this machine does something else too; figures will be off`)
  const header = await headerOf(plan, watch.load)
  const progress = new Progress(steps(plan))
  const results = await run(plan, progress)
  progress.end()
  const { short } = watch
  if (short > 0) {
    const note = `short of memory for TCP for ${(short / 1000).toFixed(1)} s of this run; figures are off`
    console.error(`the system was ${note}`)
    header.notes = [`The system was ${note}.`]
  }
  const saved = smoke ? '' : save(header, results)
  console.log(terminalText(results, plan.scenarios, plan.contenders))
  if (smoke) return guard(results, plan)
  console.log(`\nresults: ${saved}`)
  const status = results.failures.length > 0 ? 1 : 0
  const lacks = [
    plan.scenarios.length < SCENARIOS.length && 'not every scenario',
    contenders.length < CONTENDERS.length && 'not every contender',
    plan.rounds < PAGE_ROUNDS && `fewer than ${PAGE_ROUNDS} rounds`,
    !watch.quiet && 'a machine that was not quiet',
    short > 0 && 'a system that was short of memory for TCP',
  ].filter(lack => lack !== false)
  if (flags.page === undefined && lacks.length > 0) {
    console.log(`no page: ${lacks.join(', ')}; --page FILE writes one all the same`)
    return status
  }
  const page = flags.page ?? PAGE
  await writePage(page, header, results, plan.scenarios, plan.contenders)
  console.log(`page: ${page}`)
  return status
}

/** Only a collapse: below half of what must be reached. */
function guard({ values, failures }: Results, plan: Plan): number {
  const ids = new Set(plan.contenders.map(({ id }) => id))
  const verdicts = GOALS.flatMap(goal =>
    goal.bounds.flatMap(bound => {
      const found = ids.has(bound.against) ? ratio(values, goal, bound.against) : null
      return found === null ? [] : [{ goal, bound, found, verdict: judge(goal, bound, found, SMOKE.factor) }]
    }),
  )
  for (const { goal, bound, found } of verdicts.filter(({ verdict }) => verdict === 'short'))
    console.error(
      `${goal.name}: ${found.toFixed(2)} of ${bound.against}, and ${bound.must} is the goal: below half of it`,
    )
  const passed = verdicts.filter(({ verdict }) => verdict !== 'short').length
  const failed = verdicts.length - passed + failures.length
  console.log(`\n${passed} passed, ${failed} failed`)
  return failed > 0 || passed === 0 ? 1 : 0
}

function save(header: Header, results: Results): string {
  const folder = join(ROOT, 'results')
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${new Date().toISOString().replaceAll(':', '-')}.json`)
  writeFileSync(file, savedText(header, results))
  return file
}

/** A saved run, or the end of this one. */
function read(file: string): Saved {
  try {
    const saved = JSON.parse(readFileSync(file, 'utf8')) as Saved
    if (!Array.isArray(saved.values) || saved.header === undefined) throw new Error('it holds no results')
    return saved
  } catch (thrown) {
    return usage(`--from: ${file}: ${thrown instanceof Error ? thrown.message : String(thrown)}`)
  }
}

async function again(files: readonly string[], page: string): Promise<number> {
  const [{ header, values, failures }, ...later] = files.map(read) as [Saved, ...Saved[]]
  const contenders = CONTENDERS.filter(({ id }) => header.versions[id] !== undefined)
  const results: Results = { values: new Map(values.map(([id, by]) => [id, new Map(by)])), failures }
  const notes: string[] = []
  for (const run of later) {
    for (const [id, by] of run.values) results.values.set(id, new Map(by))
    const again = SCENARIOS.filter(one => figuresOf(one).some(({ id }) => run.values.some(([name]) => name === id)))
    results.failures = results.failures.filter(({ scenario }) => !again.some(({ id }) => id === scenario))
    results.failures.push(...run.failures)
    const { date, commit, rounds, seconds, load, machine, command } = run.header
    const titles = again.map(({ title }) => `“${title}”`).join(', ')
    const where = machine === header.machine ? '' : `, on ${machine}`
    notes.push(
      `${titles}: of a run of its own on ${date}, at commit ${commit}, ${rounds} rounds, ${seconds} s each, load average before ${load}${where} (\`${command.replace(PAGE_FLAG, '')}\`).`,
      ...(run.header.notes ?? []),
    )
  }
  const scenarios = SCENARIOS.filter(one => figuresOf(one).some(({ id }) => results.values.has(id)))
  await writePage(page, { ...header, notes: [...(header.notes ?? []), ...notes] }, results, scenarios, contenders)
  console.log(`page: ${page}`)
  return 0
}

process.exit(await main())
