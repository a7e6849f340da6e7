// Links that are cut, reset and moved while streams go through them. The tests run the short forms, `npm run prove` the
// long ones (proofs.ts).
import { until, within } from '../e2e/warren.ts'
import type { Result } from '../oracle/oracle.ts'
import { Random } from '../oracle/random.ts'
import { scriptText } from '../oracle/script.ts'
import { type Breaks, lasting, type Site, Streams } from './site.ts'
import { BULK_MOST, transfers } from './transfers.ts'

/** Slow enough that a few megabytes are on their way for as long as the link is cut. */
export const LINK = { delay: 10, rate: 40 } as const

/** How a run ended, as a test compares it: `lost` are streams that ended as no TCP connection would have. */
export type Carried = { streams: number; lost: string[]; strays: number; breaks: Breaks }

export function carried(result: Result, breaks: Breaks): Carried {
  const lost = result.failures.map(({ problems, script }) => `${problems.join('; ')}: ${scriptText(script)}`)
  return { streams: result.ran, lost, strays: result.strays, breaks }
}

export type Mishap = 'cut' | 'cut a' | 'cut b' | 'reset' | 'roam'

/** How often, how long and how far apart; in ms. */
export type Weather = {
  mishaps: readonly Mishap[]
  cutMs: [number, number]
  calmMs: [number, number]
  /** The next one may come before the session has got over the last. */
  overlap: boolean
}

/** A session is held at every mishap, or the kernel gets over it alone. */
export const WEATHER: Weather = {
  mishaps: ['cut', 'cut', 'cut', 'cut a', 'cut b', 'reset', 'roam'],
  cutMs: [100, 4000],
  calmMs: [50, 2500],
  overlap: true,
}

/** For visitors that come all the time: one that comes to a broken link waits 3 s for it, and is reset then. */
export const SHOWERS: Weather = { ...WEATHER, cutMs: [100, 1500], calmMs: [200, 1500], overlap: false }

/** One after the other, until `stop` says so. */
export async function mishaps(r: Random, site: Site, weather: Weather, stop: () => boolean): Promise<Mishap[]> {
  const done: Mishap[] = []
  while (!stop()) {
    const what = r.pick(weather.mishaps)
    done.push(what)
    switch (what) {
      case 'cut':
        await site.cut(r.between(...weather.cutMs))
        break
      case 'cut a':
        await site.cut(r.between(...weather.cutMs), 'a')
        break
      case 'cut b':
        await site.cut(r.between(...weather.cutMs), 'b')
        break
      case 'reset':
        await site.reset()
        break
      case 'roam':
        await site.roam()
    }
    await lasting(r.between(...weather.calmMs))
    if (!weather.overlap) await until(() => !site.isHeld, `the session goes on\n${site.said}`)
  }
  return done
}

export type Storm = Carried & { mishaps: Mishap[] }

/** At least `count` random mishaps, during `slots` transfers at a time; new ones begin when all of them have ended. */
export async function storm(seed: number, count: number, slots: number): Promise<Storm> {
  const r = new Random(seed, 77)
  await using streams = await Streams.open(slots, { link: { ...LINK, seed }, deadAfter: '1500ms' })
  const { site } = streams
  const from = site.marks
  const all: Storm = { streams: 0, lost: [], strays: 0, breaks: site.breaks(from), mishaps: [] }
  while (all.mishaps.length < count) {
    let over = false
    const most = count - all.mishaps.length
    let begun = 0
    let done: Promise<Mishap[]> = Promise.resolve([])
    const scripts = transfers(r, slots, { bytes: 2 << 20, idleMs: 8000 })
    const result = await streams.run(scripts, async () => {
      done = mishaps(r, site, WEATHER, () => over || begun++ >= most)
    })
    over = true
    all.mishaps.push(...(await done))
    const { streams: ran, lost, strays } = carried(result, all.breaks)
    all.streams += ran
    all.lost.push(...lost)
    all.strays += strays
    if (lost.length > 0) break
  }
  return { ...all, breaks: site.breaks(from) }
}

/** How streams ended that were given up: what each of the two outer sockets saw. */
export type PastTheHold = { streams: number; ends: string[]; afterMs: { agent: number; relay: number } }

/** A cut that outlasts the hold. Every kind of transfer is under way; the ends come while the link is still cut. */
export async function pastTheHold(seed: number, holdMs: number, slots: number): Promise<PastTheHold> {
  const r = new Random(seed, 78)
  const deadAfter = '1500ms'
  await using streams = await Streams.open(slots, { link: LINK, hold: `${holdMs}ms`, deadAfter })
  const { site } = streams
  const afterMs = { agent: 0, relay: 0 }
  // Nothing may end before the cut does.
  const scripts = transfers(r, slots, { bytes: BULK_MOST / 2, idleMs: 30_000 })
  const { ran, failures } = await streams.run(scripts, async () => {
    const from = site.marks
    const began = performance.now()
    await site.wan.cut()
    const since = () => performance.now() - began
    const [agent, relay] = await Promise.all([
      site.agent.event('session', event => event.state === 'expired', from.agent).then(since),
      site.relay.event('agent', event => event.state === 'gone', from.relay).then(since),
    ])
    Object.assign(afterMs, { agent, relay })
  })
  const ends = failures.flatMap(({ via }) =>
    via === null ? [] : [`visitor ${seen(via.visitor)}`, `service ${seen(via.service)}`],
  )
  return { streams: ran, ends, afterMs }
}

/** What ended the endpoint; a direction that was over before the cut has an end of its own. */
function seen({
  in: read,
  out,
  strange,
  stuckAt,
}: {
  in: string | null
  out: string | null
  strange: string | null
  stuckAt: string | null
}): string {
  if (strange !== null || stuckAt !== null) return `${strange ?? ''} ${stuckAt ?? ''}`
  return read === 'rst' || out === 'rst' ? 'rst' : `${read} ${out}`
}

/** Cuts of these lengths, one after the other, during transfers of every kind; each is followed by a time of calm. */
export async function cutsDuring(
  seed: number,
  cuts: readonly number[],
  options: { deadAfter: string; slots: number; only?: 'a' | 'b' },
): Promise<Carried & { cutWhileOpen: number[] }> {
  const r = new Random(seed, 79)
  await using streams = await Streams.open(options.slots, { link: { ...LINK, seed }, deadAfter: options.deadAfter })
  const { site } = streams
  const from = site.marks
  const cutWhileOpen: number[] = []
  const total = cuts.reduce((sum, ms) => sum + ms, 0)
  const scripts = transfers(r, options.slots, { bytes: 3 << 20, idleMs: total })
  const result = await streams.run(scripts, async () => {
    for (const ms of cuts) {
      await site.cut(ms, options.only)
      cutWhileOpen.push(site.openStreams(from))
      await recovered(site)
    }
  })
  return { ...carried(result, site.breaks(from)), cutWhileOpen }
}

/** Bytes go both ways again. */
async function recovered(site: Site): Promise<void> {
  await within(
    20_000,
    site.agent.event('rtt', () => true, site.agent.events.length),
    () => `silent\n${site.said}`,
  )
}

/** One mishap of a kind, several times, each once bytes go again after the one before. */
export async function repeated(
  seed: number,
  what: 'reset' | 'roam',
  times: number,
  slots: number,
): Promise<Carried & { backMs: number[] }> {
  const r = new Random(seed, 80)
  await using streams = await Streams.open(slots, { link: { ...LINK, seed } })
  const { site } = streams
  const from = site.marks
  const scripts = transfers(r, slots, { bytes: 3 << 20, idleMs: times * 3000 })
  const backMs: number[] = []
  const result = await streams.run(scripts, async () => {
    for (let i = 0; i < times; i++) {
      const before = site.marks
      const began = performance.now()
      if (what === 'reset') await site.reset()
      else await site.roam()
      await site.resumed(before)
      backMs.push(Math.round(performance.now() - began))
    }
  })
  return { ...carried(result, site.breaks(from)), backMs }
}
