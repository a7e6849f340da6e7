// One SVG a scenario, by vega-lite without a browser: a panel for each figure, the same order of contenders in a row of
// panels, warren in its own colour, values written out, the least and the most of the rounds as a thin line.
import { parse, View } from 'vega'
import { compile, type TopLevelSpec } from 'vega-lite'
import type { Contender } from './contenders/index.ts'
import { type Values, valuesOf } from './run.ts'
import { type Figure, figuresOf, type Scenario } from './scenarios/index.ts'
import { median, figure as written } from './statistics.ts'

const COLUMNS = 3
const WIDTH = 200
const STEP = 19
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'
const INK = '#1f2933'
const FAINT = '#7b8794'
const KINDS = { warren: '#d9480f', encrypted: '#4a7ba6', plain: '#a8b3be', direct: '#e3e7eb' }
type Kind = keyof typeof KINDS
/** A bar that is longer than so many of warren's is cut off there, and its value says so: it would make all others one pixel long. */
const CUT = 6
/** Room right of the longest bar for its value. */
const ROOM = 1.32

type Row = { name: string; kind: Kind; value: number; low: number; high: number; bar: number; text: string }

function kindOf(contender: Contender): Kind {
  if (contender.id === 'warren' || contender.id === 'direct') return contender.id
  return contender.encryption === null ? 'plain' : 'encrypted'
}

function rowsOf(values: Values, figure: Figure, contenders: readonly Contender[]): { rows: Row[]; end: number } {
  const measured = contenders.flatMap(contender => {
    const all = valuesOf(values, figure, contender.id)
    return all.length === 0 ? [] : [{ contender, all, value: median(all) }]
  })
  const failed = contenders.filter(
    ({ id }) => values.get(figure.id)?.has(id) && valuesOf(values, figure, id).length === 0,
  )
  const own = measured.find(({ contender }) => contender.id === 'warren')?.value ?? 0
  const longest = Math.max(0, ...measured.map(({ value }) => value)) || 1
  const end = own > 0 ? Math.min(longest, own * CUT) : longest
  const rows = measured.map(({ contender, all, value }) => {
    const cut = value > end
    return {
      name: contender.label,
      kind: kindOf(contender),
      value,
      low: cut ? end : Math.max(0, Math.min(...all)),
      high: cut ? end : Math.min(end * 1.05, Math.max(...all)),
      bar: Math.max(0, Math.min(end, value)),
      text: cut ? `${written(value)} →` : written(value),
    }
  })
  const none = failed
    .filter(({ id }) => id !== 'direct')
    .map(one => ({ name: one.label, kind: kindOf(one), value: 0, low: 0, high: 0, bar: 0, text: 'no value' }))
  return { rows: [...rows, ...none], end }
}

/** Best first, by the mean of the logarithms over the figures of a group; who failed at one comes last. */
function order(values: Values, figures: readonly Figure[], contenders: readonly Contender[]): string[] {
  const score = (contender: Contender): number => {
    const logs = figures.map(figure => Math.log(Math.max(1e-6, median(valuesOf(values, figure, contender.id)))))
    const known = logs.filter(Number.isFinite)
    if (known.length < logs.length) return Number.POSITIVE_INFINITY
    const mean = known.reduce((sum, log) => sum + log, 0) / known.length
    return figures[0]!.better === 'less' ? mean : -mean
  }
  return contenders
    .filter(contender => figures.some(figure => valuesOf(values, figure, contender.id).length > 0))
    .sort((a, b) => (a.id === 'direct' ? -1 : b.id === 'direct' ? 1 : compare(score(a), score(b))))
    .map(contender => contender.label)
}

/** As a difference does, also of two that are infinite. */
const compare = (a: number, b: number): number => (a === b ? 0 : a < b ? -1 : 1)

function panel(values: Values, figure: Figure, contenders: readonly Contender[], names: string[], labels: boolean) {
  const { rows, end } = rowsOf(values, figure, contenders)
  const y = {
    field: 'name',
    type: 'nominal',
    sort: names,
    scale: { domain: names, paddingInner: 0.28 },
    axis: labels ? { title: null, labelLimit: 160 } : { title: null, labels: false },
  }
  const x = { field: 'bar', type: 'quantitative', scale: { domain: [0, end * ROOM], nice: false }, axis: null }
  const own = { test: "datum.name === 'warren'" }
  return {
    width: WIDTH,
    height: { step: STEP },
    title: { text: figure.label, subtitle: figure.unit },
    data: { values: rows },
    encoding: { y },
    layer: [
      {
        mark: { type: 'bar', cornerRadiusEnd: 2 },
        encoding: { x, color: { field: 'kind', type: 'nominal', legend: null, scale: scaleOf() } },
      },
      {
        mark: { type: 'rule', strokeWidth: 1.2, opacity: 0.55, color: INK },
        encoding: { x: { ...x, field: 'low' }, x2: { field: 'high' } },
      },
      {
        mark: { type: 'text', align: 'left', dx: 5, fontSize: 11 },
        encoding: {
          x: { ...x, field: 'high' },
          text: { field: 'text' },
          color: { condition: { ...own, value: KINDS.warren }, value: INK },
        },
      },
    ],
  }
}

const scaleOf = () => ({ domain: Object.keys(KINDS), range: Object.values(KINDS) })

const MEANING: Record<Kind, string> = {
  warren: 'warren (TLS 1.3)',
  encrypted: 'encrypted',
  plain: 'not encrypted',
  direct: 'no tunnel',
}
const LEGEND_STEP = 125

function legend(kinds: readonly Kind[]) {
  const x = { field: 'at', type: 'quantitative', axis: null, scale: { domain: [0, kinds.length], nice: false } }
  return {
    width: LEGEND_STEP * kinds.length,
    height: 12,
    data: { values: kinds.map((kind, at) => ({ kind, at: at + 0.05, meaning: MEANING[kind] })) },
    encoding: { x },
    layer: [
      {
        mark: { type: 'square', size: 110, opacity: 1, filled: true },
        encoding: { color: { field: 'kind', type: 'nominal', legend: null, scale: scaleOf() } },
      },
      {
        mark: { type: 'text', align: 'left', dx: 11, fontSize: 11, color: FAINT },
        encoding: { text: { field: 'meaning' } },
      },
    ],
  }
}

export async function plot(
  scenario: Scenario,
  values: Values,
  contenders: readonly Contender[],
): Promise<string | null> {
  const figures = figuresOf(scenario).filter(figure => !figure.unplotted && values.has(figure.id))
  if (figures.length === 0) return null
  const groups = [...Map.groupBy(figures, figure => figure.group)]
  const rows = groups.map(([group, of]) => {
    // What direct adds to itself is nothing.
    const shown = contenders.filter(contender => contender.id !== 'direct' || !of[0]!.added)
    const names = order(values, of, shown)
    return {
      title: {
        text: group[0]!.toUpperCase() + group.slice(1),
        subtitle: of[0]!.better === 'less' ? 'shorter is better' : 'longer is better',
        anchor: 'start',
        fontSize: 13,
        offset: 8,
      },
      concat: of.map((figure, at) => panel(values, figure, shown, names, at % COLUMNS === 0)),
      columns: COLUMNS,
      spacing: { column: 14, row: 22 },
    }
  })
  const shown = new Set(figures.flatMap(figure => rowsOf(values, figure, contenders).rows.map(({ kind }) => kind)))
  if (figures.every(({ added }) => added)) shown.delete('direct')
  const kinds = (Object.keys(KINDS) as Kind[]).filter(kind => shown.has(kind))
  const spec = {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    padding: 18,
    title: { text: scenario.title, fontSize: 17, offset: 14 },
    vconcat: [legend(kinds), ...rows],
    spacing: 30,
    config: {
      font: FONT,
      view: { stroke: null },
      axis: { domain: false, ticks: false, grid: false, labelColor: INK, labelFontSize: 11.5, labelPadding: 6 },
      title: {
        anchor: 'start',
        color: INK,
        fontSize: 12,
        subtitleColor: FAINT,
        subtitleFontSize: 11,
        subtitlePadding: 3,
        offset: 6,
      },
    },
  }
  const { spec: vega } = compile(spec as unknown as TopLevelSpec)
  const svg = await new View(parse(vega), { renderer: 'none' }).toSVG()
  return svg.replace('<svg ', `<svg role="img" aria-label="${scenario.title}: warren and others" `)
}
