// How long a silent link goes unnoticed, and what must not be taken for one: loss, a slow link full of bulk, a busy
// machine, a process that was stopped for a while. The tests run the short forms, `npm run prove` the long ones.
import { cpus } from 'node:os'
import { start } from '../oracle/process.ts'
import { Random } from '../oracle/random.ts'
import { type Carried, carried } from './cuts.ts'
import { lasting, type Site, type SiteOptions, Streams } from './site.ts'
import { BULK_MOST, bulk, lastingFor } from './transfers.ts'

/** How long after a cut each side noticed, in ms. */
export type Noticed = { agent: number; relay: number }

/** `times` cuts at random moments of a session that is otherwise idle, or that carries bulk both ways. */
export async function silences(seed: number, deadAfterMs: number, times: number, busy: boolean): Promise<Noticed[]> {
  const r = new Random(seed, 81)
  await using streams = await Streams.open(1, { link: { delay: 10, rate: 8 }, deadAfter: `${deadAfterMs}ms` })
  const { site } = streams
  const found: Noticed[] = []
  const measure = async () => {
    for (let i = 0; i < times; i++) {
      // Anywhere between two PINGs.
      await lasting(r.between(0, deadAfterMs / 2))
      const from = site.marks
      const began = performance.now()
      await site.wan.cut()
      found.push(await site.noticed(began, from, deadAfterMs * 2))
      await site.wan.heal()
      await site.resumed(from)
    }
  }
  if (busy) await streams.run([lastingFor(times * deadAfterMs, 4 << 20)], measure, times * deadAfterMs * 10)
  else await measure()
  return found
}

/** `alarms`: how often either side held, lost or resumed the session, which none of them should. */
export type Calm = { alarms: number; carried: Carried[]; said: string }

export type Load = 'nothing' | 'from the agent' | 'to the agent'

/** Watches a session while its link carries `load`, for as long as `meanwhile` takes. */
export async function watched(
  options: SiteOptions,
  load: Load,
  meanwhile: (site: Site) => Promise<void>,
): Promise<Calm> {
  await using streams = await Streams.open(1, options)
  const { site } = streams
  const from = site.marks
  // A few seconds of a slow link: the last of them outlasts the watch by no more.
  const bytes = Math.min(BULK_MOST, Math.ceil((options.link?.rate ?? 8) * 125_000 * 5))
  let over = false
  const runs: Carried[] = []
  const carry = async () => {
    while (load !== 'nothing' && !over)
      runs.push(carried(await streams.run([bulk(load === 'to the agent', bytes)], async () => {}), site.breaks(from)))
  }
  const watch = async () => {
    await meanwhile(site)
    over = true
  }
  await Promise.all([carry(), watch()])
  const told = [
    ...site.agent.events.slice(from.agent).filter(event => event.event === 'session'),
    ...site.relay.events.slice(from.relay).filter(event => event.event === 'agent'),
  ]
  return { alarms: told.length, carried: runs, said: site.said }
}

/** Every core of the machine has something else to do as well; it ends by itself, whatever becomes of the test. */
export async function underFullLoad(ms: number): Promise<void> {
  const busy = cpus().map(() => start(['timeout', String(ms / 1000), 'sh', '-c', 'while :; do :; done']))
  for (const one of busy) await one.exited
}

/** Each side is stopped for 4 s, `times` times, at random moments between two PINGs. */
export async function stops(seed: number, times: number, site: Site): Promise<void> {
  const r = new Random(seed, 82)
  for (let i = 0; i < times; i++)
    for (const side of [site.agent, site.relay]) {
      await lasting(r.between(0, 2500))
      side.signal('SIGSTOP')
      await lasting(4000)
      const from = site.agent.events.length
      side.signal('SIGCONT')
      await site.agent.event('rtt', () => true, from)
    }
}
