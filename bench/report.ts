// What a run found, as text for a terminal and as the page docs/benchmarks.md with its plots.
import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Contender } from './contenders/index.ts'
import { BEST_PEER, close, closeFar, FAR_GOALS, GOALS, judge, judgeFar, lessIsBetter, ratio } from './goals.ts'
import { plot } from './plot.ts'
import { type Failure, type Results, type Values, valuesOf } from './run.ts'
import { type Figure, figuresOf, type Scenario } from './scenarios/index.ts'
import { median, spread, figure as written } from './statistics.ts'

export type Header = {
  date: string
  /** Of the tree, with a + where it was changed. */
  commit: string
  command: string
  machine: string
  rounds: number
  seconds: number
  load: string
  versions: Record<string, string>
  programs: string[]
  absent: { label: string; install: string }[]
  /** What is of another run, and what puts figures off. */
  notes?: string[]
}

/** A run as it is kept: bench.ts --from writes the page of it again. */
export type Saved = { header: Header; values: [string, [string, (number | null)[]][]][]; failures: Failure[] }

const DIGITS = 5

export function savedText(header: Header, { values, failures }: Results): string {
  const saved: Saved = { header, values: [...values].map(([id, by]) => [id, [...by]]), failures }
  return `${JSON.stringify(saved, (_, value) => (typeof value === 'number' ? Number(value.toPrecision(DIGITS)) : value))}\n`
}

type Table = { head: string[]; rows: string[][]; words?: true }

/** A table for each group of figures; a cell has the median, the spread, and warren's value over this one. */
function tablesOf(scenario: Scenario, values: Values, contenders: readonly Contender[]): Map<string, Table> {
  const groups = Map.groupBy(
    figuresOf(scenario).filter(figure => values.has(figure.id)),
    figure => figure.group,
  )
  return new Map(
    [...groups].map(([group, figures]) => {
      const measured = contenders.filter(one => figures.some(figure => values.get(figure.id)?.has(one.id)))
      const rows = measured.map(one => [one.label, ...figures.map(figure => cell(values, figure, one.id))])
      return [group, { head: ['', ...figures.map(figure => `${figure.label} (${figure.unit})`)], rows }]
    }),
  )
}

function cell(values: Values, figure: Figure, contender: string): string {
  if (figure.added && contender === 'direct') {
    const { added: _, ...absolute } = figure
    return `takes ${written(median(valuesOf(values, absolute, contender)))}`
  }
  if (!values.get(figure.id)?.has(contender)) return ''
  const all = valuesOf(values, figure, contender)
  if (all.length === 0) return contender === 'direct' ? '' : 'no value'
  const value = median(all)
  const about = all.length > 1 ? around(all) : ''
  const own = median(valuesOf(values, figure, 'warren')) / value
  const times = contender === 'warren' || !Number.isFinite(own) || own <= 0 ? '' : ` · ${own.toFixed(2)}×`
  return `${written(value)}${about}${times}`
}

/** Nothing is a part of a median of 0: then the most says it. */
function around(all: readonly number[]): string {
  const part = spread(all)
  return Number.isFinite(part) ? ` ±${Math.round(part * 100)} %` : ` to ${written(Math.max(...all))}`
}

const SIGNS = { aim: '✓✓', must: '✓', short: '✗' } as const

function goalsTable(values: Values, contenders: readonly Contender[]): Table {
  const others = ['stunnel', 'ssh-gcm', 'haproxy', BEST_PEER]
  const label = (id: string) => contenders.find(contender => contender.id === id)?.label ?? id
  const rows = GOALS.map(goal => [
    goal.name,
    ...others.map(against => {
      const bound = goal.bounds.find(one => one.against === against)
      if (bound === undefined) return '–'
      const found = ratio(values, goal, against)
      const limits = `${lessIsBetter(goal) ? '≤' : '≥'} ${bound.must}${bound.aim === null ? '' : ` / ${bound.aim}`}`
      if (found === null) return `not measured (${limits})`
      const sign = `${close(values, goal, bound) ? '≈ ' : ''}${SIGNS[judge(goal, bound, found)]}`
      return `${found.toFixed(2)} ${sign} (${limits})`
    }),
  ])
  return { head: ['warren over …', ...others.map(label)], rows }
}

function farTable(values: Values): Table {
  const rows = FAR_GOALS.map(goal => {
    const found = goal.find(values)
    const limits = `${goal.better === 'less' ? '≤' : '≥'} ${goal.must}${goal.aim === null ? '' : ` / ${goal.aim}`}`
    const said = Number.isFinite(found)
      ? `${found.toFixed(2)} ${goal.unit} ${closeFar(values, goal) ? '≈ ' : ''}${SIGNS[judgeFar(goal, found)]}`
      : 'not measured'
    return [goal.name, said, limits]
  })
  return { head: ['far away', 'warren', 'must / aim'], rows }
}

function markdown({ head, rows, words }: Table): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, at) => (at === 0 || words ? '---' : '--:'))), ...rows.map(line)].join('\n')
}

function plain({ head, rows }: Table): string {
  const widths = head.map((_, at) => Math.max(...[head, ...rows].map(cells => Bun.stringWidth(cells[at] ?? ''))))
  const line = (cells: string[]) =>
    cells
      .map((text, at) => {
        const blank = ' '.repeat(widths[at]! - Bun.stringWidth(text))
        return at === 0 ? text + blank : blank + text
      })
      .join('  ')
      .trimEnd()
  return [line(head), ...rows.map(line)].join('\n')
}

export function terminalText(
  results: Results,
  scenarios: readonly Scenario[],
  contenders: readonly Contender[],
): string {
  const parts = scenarios.flatMap(scenario =>
    [...tablesOf(scenario, results.values, contenders)].map(
      ([group, table]) => `${scenario.title}: ${group}\n${plain(table)}`,
    ),
  )
  const goals = [goalsTable(results.values, contenders), farTable(results.values)].map(measuredOnly)
  const told = goals.filter(({ rows }) => rows.length > 0).map(plain)
  return [...parts, ...(told.length > 0 ? [`Goals, must / aim\n${told.join('\n\n')}`] : [])].join('\n\n')
}

const measuredOnly = ({ head, rows }: Table): Table => ({
  head,
  rows: rows.filter(cells => cells.slice(1).some(text => /^-?\d/.test(text))),
})

function failuresText(failures: readonly Failure[]): string {
  if (failures.length === 0) return ''
  const lines = failures.map(
    // How many of them is another number every round.
    ({ scenario, contender, message }) =>
      `* ${contender}, ${scenario}: ${message.split('\n')[0]!.replace(/^Error: \d+ /, '')}`,
  )
  return `\n## What failed\n\n${[...new Set(lines)].join('\n')}\n`
}

function contendersTable(header: Header, contenders: readonly Contender[]): string {
  const rows = contenders
    .filter(one => one.id !== 'direct')
    .map(one => [one.label, header.versions[one.id] ?? '', one.encryption ?? 'none', one.setting])
  return markdown({ head: ['', 'version', 'encryption', 'setting'], rows, words: true })
}

/** What a page's name ends with; without it, it is the name of the folder of its plots. */
export const PAGE_END = '.md'

/** Writes the page and, in a folder of its name beside it, the plots. */
export async function writePage(
  file: string,
  header: Header,
  results: Results,
  scenarios: readonly Scenario[],
  contenders: readonly Contender[],
): Promise<void> {
  const folder = file.slice(0, -PAGE_END.length)
  const beside = basename(folder)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'results.json'), savedText(header, results))
  const sections: string[] = []
  for (const scenario of scenarios) {
    const svg = await plot(scenario, results.values, contenders)
    if (svg !== null) writeFileSync(join(folder, `${scenario.id}.svg`), `${svg}\n`)
    const tables = [...tablesOf(scenario, results.values, contenders)].map(
      ([group, table]) => `### ${group[0]!.toUpperCase()}${group.slice(1)}\n\n${markdown(table)}\n`,
    )
    const picture = svg === null ? '' : `![${scenario.title}](${beside}/${scenario.id}.svg)\n\n`
    sections.push(`## ${scenario.title}\n\n${scenario.how}\n\n${picture}${tables.join('\n')}`)
  }
  const absent = header.absent.map(
    ({ label, install }) => `${label} is not here: it was not installed (\`${install}\`).`,
  )
  const notes = [...absent, ...(header.notes ?? [])]
  const note = notes.length > 0 ? `\n${notes.join('\n')}\n` : ''
  writeFileSync(
    file,
    `<!-- Made by \`bun run bench\`. Do not edit. -->
# Benchmarks

${header.date}, at commit ${header.commit}, on ${header.machine}. ${header.rounds} rounds, ${header.seconds} s each, interleaved (A B C A B C),
after one that does not count, with the load, both ends and the service on this one machine; load average before: ${header.load}.
Repeat it with \`npm run bench:setup\` and \`${header.command}\`; [bench/README.md](../bench/README.md) says how it
measures. Every value of every round is in [results.json](${beside}/results.json).

A cell is the median of the rounds ± half the distance from the least to the most, and what warren’s median is of this
one’s (2.00× under MB/s: warren is twice as fast; 0.50× under CPU: warren takes half). In the plots a thin line goes from
the least to the most, as far as there is room, and an arrow marks a bar that is longer than that.

${contendersTable(header, contenders)}

Load and services: ${header.programs.join(', ')}.
${note}
## Goals

Ratios of warren’s figures to each other’s, and in parentheses what must be reached and what is aimed at: ✓✓ the aim is
reached, ✓ what must be is, ✗ it falls short, and with ≈ another run may find otherwise: of 400 draws of as many rounds from
these, at least every twentieth does. Of several figures a ratio is the geometric mean: bulk is up and down, CPU both with 1 and with 8 streams. A ratio is one of a machine:
[performance.md](performance.md) says [why some fall short](performance.md#where-it-falls-short), and
[what they are on a second one](performance.md#another-machine).

${markdown(goalsTable(results.values, contenders))}

${markdown(farTable(results.values))}

Of the first byte: through a relay a visitor’s handshake is with the relay beside it, and only direct’s crosses the link.

${sections.join('\n')}${failuresText(results.failures)}`,
  )
}
