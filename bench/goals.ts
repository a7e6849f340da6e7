// What warren has to reach against its peers, as ratios of medians of one run, warren's figure over the other's: `must`,
// and `aim`. With several figures the ratio is their geometric mean.
import { type Values, valuesOf } from './run.ts'
import { figuresOf, SCENARIOS } from './scenarios/index.ts'
import { median } from './statistics.ts'

/** `aim`: null where nothing beyond `must` is asked for. */
type Bound = { readonly against: string; readonly must: number; readonly aim: number | null }
export type Goal = { readonly name: string; readonly figures: readonly string[]; readonly bounds: readonly Bound[] }

/** The best of the tunnels of its kind: with TLS, or encryption of their own; frp in both of its forms. */
const PEERS = ['rathole-tls', 'frp', 'frp-nomux', 'chisel'] as const
export const BEST_PEER = 'best of rathole TLS, frp, chisel'

const bound = (against: string, must: number, aim: number | null): Bound => ({ against, must, aim })

export const GOALS: readonly Goal[] = [
  {
    name: 'bulk, 1 stream',
    figures: ['up1', 'down1'],
    bounds: [
      bound('stunnel', 1.6, 2),
      bound('ssh-gcm', 1.05, 1.3),
      bound('haproxy', 0.75, 0.9),
      bound(BEST_PEER, 1, 1.5),
    ],
  },
  {
    name: 'bulk, 8 streams',
    figures: ['up8', 'down8'],
    bounds: [
      bound('stunnel', 1.2, 1.5),
      bound('ssh-gcm', 1.05, 1.3),
      bound('haproxy', 0.5, 0.65),
      bound(BEST_PEER, 1, 1.3),
    ],
  },
  {
    name: 'CPU seconds per GB',
    figures: ['up1-cpu', 'down1-cpu', 'up8-cpu', 'down8-cpu'],
    bounds: [
      bound('stunnel', 0.6, 0.45),
      bound('ssh-gcm', 0.75, 0.6),
      bound('haproxy', 1.65, 1.4),
      bound(BEST_PEER, 1, 0.7),
    ],
  },
  {
    name: 'ping-pong p50, added',
    figures: ['p50'],
    bounds: [
      bound('stunnel', 0.9, 0.7),
      bound('ssh-gcm', 0.8, 0.6),
      bound('haproxy', 1.8, 1.4),
      bound(BEST_PEER, 1, 0.8),
    ],
  },
  {
    name: 'ping-pong p50 beside 8 bulk streams',
    figures: ['loaded-p50'],
    bounds: [bound('ssh-gcm', 0.5, 0.25), bound('haproxy', 0.3, 0.15), bound(BEST_PEER, 0.5, 0.2)],
  },
  {
    name: 'new connections, 16 clients',
    figures: ['conn16'],
    bounds: [bound('stunnel', 5, 6), bound('ssh-gcm', 1.2, 1.5), bound('haproxy', 0.6, 0.75), bound(BEST_PEER, 1, 1.5)],
  },
  {
    name: 'redis, 50 clients',
    figures: ['c50'],
    bounds: [
      bound('stunnel', 2.4, 3),
      bound('ssh-gcm', 1.35, 1.6),
      bound('haproxy', 0.85, 1),
      bound(BEST_PEER, 1, 1.3),
    ],
  },
  {
    name: 'pgbench -C',
    figures: ['pg-c'],
    bounds: [bound('stunnel', 2.5, 3), bound('ssh-gcm', 1.2, 1.4), bound(BEST_PEER, 1, 1.3)],
  },
  {
    name: 'memory of one more idle stream',
    figures: ['per-stream'],
    bounds: [
      bound('stunnel', 0.05, null),
      bound('ssh-gcm', 1, 0.7),
      bound('haproxy', 1, 0.7),
      bound(BEST_PEER, 1, 0.5),
    ],
  },
]

const FIGURES = new Map(SCENARIOS.flatMap(figuresOf).map(figure => [figure.id, figure]))

export const lessIsBetter = (goal: Goal): boolean => FIGURES.get(goal.figures[0]!)!.better === 'less'

/** warren's figures over the other's, of those that were measured; null without any, or where the other failed. */
export function ratio(values: Values, goal: Goal, against: string, drawn?: readonly number[]): number | null {
  const measured = goal.figures.filter(id => values.has(id))
  const logs = measured.map(id => {
    const figure = FIGURES.get(id)!
    const other = against === BEST_PEER ? best(values, id, drawn) : median(valuesOf(values, figure, against, drawn))
    return Math.log(median(valuesOf(values, figure, 'warren', drawn)) / other)
  })
  const mean = Math.exp(logs.reduce((sum, log) => sum + log, 0) / logs.length)
  return Number.isFinite(mean) ? mean : null
}

function best(values: Values, id: string, drawn?: readonly number[]): number {
  const figure = FIGURES.get(id)!
  const medians = PEERS.map(peer => median(valuesOf(values, figure, peer, drawn))).filter(Number.isFinite)
  if (medians.length === 0) return Number.NaN
  return figure.better === 'less' ? Math.min(...medians) : Math.max(...medians)
}

export type Verdict = 'aim' | 'must' | 'short'

/** `factor`: how much of the goal is asked for; the smoke form asks for half. */
export function judge(goal: Goal, { must, aim }: Bound, value: number, factor = 1): Verdict {
  const reached = (limit: number) => (lessIsBetter(goal) ? value * factor <= limit : value >= limit * factor)
  if (aim !== null && reached(aim)) return 'aim'
  return reached(must) ? 'must' : 'short'
}

/** How often rounds are drawn anew, and the part of it from which on a verdict that turns is close. */
const DRAWS = 400
const TURNED = 0.05

/**
 * Another run of as many rounds might find otherwise: with rounds drawn from those that there are, with repetition (the
 * bootstrap), what must be reached is reached in some draws, and in others it is not. The draws are the same each time.
 */
function turns(rounds: number, short: (drawn?: readonly number[]) => boolean | null): boolean {
  const all = short()
  let turned = 0
  let seed = 1
  const next = () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((seed / 2 ** 32) * rounds)
  }
  for (let draw = 0; draw < DRAWS; draw++) {
    const one = short(Array.from({ length: rounds }, next))
    if (one !== null && one !== all) turned++
  }
  return turned >= DRAWS * TURNED
}

const roundsOf = (values: Values, figures: readonly string[]): number =>
  Math.max(0, ...figures.map(id => values.get(id)?.get('warren')?.length ?? 0))

export function close(values: Values, goal: Goal, bound: Bound): boolean {
  return turns(roundsOf(values, goal.figures), drawn => {
    const found = ratio(values, goal, bound.against, drawn)
    return found === null ? null : judge(goal, bound, found) === 'short'
  })
}

/** What must be reached over the long link, where the measure is the link and not a peer. */
export type FarGoal = {
  readonly name: string
  readonly unit: string
  readonly better: 'more' | 'less'
  readonly must: number
  readonly aim: number | null
  /** That warren's is measured by. */
  readonly figure: string
  find(values: Values, drawn?: readonly number[]): number
}

const middle = (values: Values, id: string, contender: string, drawn?: readonly number[]) =>
  median(valuesOf(values, FIGURES.get(id)!, contender, drawn))
const NEAR_MS = 20
const FAR_MS = 100
/** Beyond half a round trip, in ms. */
const FIRST_BYTE_MS = 2

export const FAR_GOALS: readonly FarGoal[] = [
  {
    name: 'one bulk stream at 100 ms, of direct’s',
    unit: '×',
    better: 'more',
    must: 0.9,
    aim: null,
    figure: 'ms100-bulk',
    find: (values, drawn) =>
      middle(values, 'ms100-bulk', 'warren', drawn) / middle(values, 'ms100-bulk', 'direct', drawn),
  },
  {
    name: 'first byte of a new connection at 100 ms, after direct’s',
    unit: 'ms',
    better: 'less',
    must: FAR_MS / 2 + FIRST_BYTE_MS,
    aim: null,
    figure: 'ms100-first',
    find: (values, drawn) =>
      middle(values, 'ms100-first', 'warren', drawn) - middle(values, 'ms100-first', 'direct', drawn),
  },
  {
    name: 'ping beside one bulk stream at 20 ms, beyond the round trip',
    unit: 'ms',
    better: 'less',
    must: 10,
    aim: 5,
    figure: 'ms20-ping',
    find: (values, drawn) => middle(values, 'ms20-ping', 'warren', drawn) - NEAR_MS,
  },
  {
    name: 'bulk beside that ping, of what it is alone',
    unit: '×',
    better: 'more',
    must: 0.95,
    aim: null,
    figure: 'ms20-left',
    find: (values, drawn) =>
      middle(values, 'ms20-left', 'warren', drawn) / middle(values, 'ms20-bulk', 'warren', drawn),
  },
  {
    name: 'one bulk stream with 1 % loss, of the best other’s',
    unit: '×',
    better: 'more',
    must: 1,
    aim: null,
    figure: 'loss-bulk',
    find: (values, drawn) => {
      const others = [...(values.get('loss-bulk')?.keys() ?? [])].filter(id => id !== 'warren' && id !== 'direct')
      const rates = others.map(id => middle(values, 'loss-bulk', id, drawn))
      return rates.length === 0 ? Number.NaN : middle(values, 'loss-bulk', 'warren', drawn) / Math.max(...rates)
    },
  },
]

export function judgeFar({ better, must, aim }: FarGoal, value: number): Verdict {
  const reached = (limit: number) => (better === 'less' ? value <= limit : value >= limit)
  if (aim !== null && reached(aim)) return 'aim'
  return reached(must) ? 'must' : 'short'
}

export function closeFar(values: Values, goal: FarGoal): boolean {
  return turns(roundsOf(values, [goal.figure]), drawn => {
    const found = goal.find(values, drawn)
    return Number.isNaN(found) ? null : judgeFar(goal, found) === 'short'
  })
}
