// A script: what the two plain endpoints of one connection do, step by step, and how a seed makes one.
import { Random } from './random.ts'

export type Side = 'visitor' | 'service'
export const SIDES: readonly Side[] = ['visitor', 'service']
export const other = (side: Side): Side => (side === 'visitor' ? 'service' : 'visitor')

export type Step =
  /** Queues n bytes behind those before; the next step does not wait for them. */
  | { do: 'write'; n: number }
  | { do: 'pause'; ms: number }
  /** Half-close, once all bytes so far are with the kernel. */
  | { do: 'fin' }
  /** RST now; bytes still queued are dropped. Always a side's last step. */
  | { do: 'reset' }
  /** Stop and resume reading. Waiting steps below read whatever was said, or two of them could wait for each other. */
  | { do: 'stop' }
  | { do: 'resume' }
  /** Waits until the other side has read all that this side wrote so far, and its FIN if that was asked for. */
  | { do: 'barrier' }
  /** Waits for the end of what the other side sends. */
  | { do: 'eof' }
  /** Waits for the RST of the other side. */
  | { do: 'gone' }

export type Script = {
  /** The visitor starts as soon as it is connected, before the service has it. */
  early: boolean
  /** SO_RCVBUF and SO_SNDBUF of both endpoints; 0 leaves the kernel's. */
  buffer: number
  /** Bytes that an endpoint takes in one read. */
  sip: Record<Side, number>
} & Record<Side, Step[]>

// Around what could be a boundary somewhere: an MSS, a header, first credit, a ring block, the biggest frame.
const EDGES = [1, 2, 100, 1448, 4095, 4096, 4097, 16383, 16384, 16385, 65535, 65536, 65537, 131071, 131072, 131073]
const WIDE = [262143, 262144, 262145, 300000, 524288, 524289]
const MOST = 2 << 20
// More than the kernel's own buffers take for a reader that does not read: the rest waits inside the tunnel.
const FLOOD = [5 << 20, 6 << 20] as const
// Through a window of 4 KiB the kernel itself waits for its timers at every few segments.
const MOST_TINY = 128 << 10

export function makeScript(seed: number, index: number): Script {
  const r = new Random(seed, index)
  const resets = r.chance(55) ? (r.chance(20) ? [...SIDES] : [r.pick(SIDES)]) : []
  const script: Script = {
    early: false,
    // Not where something resets: Linux loses an RST now and then at a receiver with so little room (the segment is not
    // exactly the next one, and the ACK that would ask again is rate-limited), through an honest forwarder as well.
    buffer: resets.length === 0 && r.chance(40) ? r.pick([4096, 16384]) : 0,
    sip: {
      visitor: r.pick([1 << 18, 1 << 18, 65536, 4096, 1000]),
      service: r.pick([1 << 18, 1 << 18, 65536, 4096, 1000]),
    },
    visitor: [],
    service: [],
  }
  // Of two sides that both wait for the other's end before they give their own, neither would ever go on: one may.
  const answers: Side | null = resets.length === 0 && r.chance(50) ? r.pick(SIDES) : null
  for (const side of SIDES) {
    const reset = resets.includes(side)
    const otherResets = resets.includes(other(side))
    script[side] = makeSide(r, {
      most: script.buffer > 0 ? MOST_TINY : MOST,
      reset,
      eofBeforeFin: side === answers || (otherResets && !reset),
      eofAfterFin: !reset,
      gone: otherResets && !reset,
    })
  }
  if (script.buffer === 0 && r.chance(5)) {
    const writer = r.pick(SIDES)
    script[writer].unshift({ do: 'write', n: r.between(...FLOOD) })
    script[other(writer)].unshift({ do: 'stop' }, { do: 'pause', ms: r.between(5, 50) })
  }
  // A visitor that resets at once may never be seen by a service: that has a test of its own.
  script.early = !resets.includes('visitor') && r.chance(40)
  return script
}

type Allowed = { most: number; reset: boolean; eofBeforeFin: boolean; eofAfterFin: boolean; gone: boolean }

function makeSide(r: Random, allowed: Allowed): Step[] {
  const steps: Step[] = []
  let left = allowed.most
  let finished = false
  const count = r.between(0, 9)
  for (let i = 0; i < count; i++) {
    const kind = r.between(0, 99)
    if (kind < 45 && !finished) {
      const n = Math.min(left, size(r))
      if (n > 0) steps.push({ do: 'write', n })
      left -= n
    } else if (kind < 60) steps.push({ do: 'pause', ms: r.chance(70) ? r.between(0, 3) : r.between(4, 30) })
    else if (kind < 68) steps.push({ do: 'stop' })
    else if (kind < 74) steps.push({ do: 'resume' })
    else if (kind < 86) steps.push({ do: 'barrier' })
    else if (kind < 93 && !finished) {
      steps.push({ do: 'fin' })
      finished = true
    } else if (finished ? allowed.eofAfterFin : allowed.eofBeforeFin) steps.push({ do: 'eof' })
  }
  if (allowed.reset) steps.push({ do: 'reset' })
  else if (allowed.gone && r.chance(50)) steps.push({ do: 'gone' })
  return steps
}

function size(r: Random): number {
  const kind = r.between(0, 99)
  if (kind < 40) return r.between(1, 2000)
  if (kind < 75) return r.pick(EDGES)
  if (kind < 93) return r.between(2000, 200000)
  return kind < 98 ? r.pick(WIDE) : r.between(1 << 20, MOST)
}

export function bytesOf(steps: readonly Step[]): number {
  let n = 0
  for (const step of steps) if (step.do === 'write') n += step.n
  return n
}

/** How much there is to a script: what the shrinker makes smaller. */
export function weight(script: Script): number {
  let w = script.early ? 1 : 0
  w += script.buffer > 0 ? 1 : 0
  for (const side of SIDES) {
    w += script.sip[side] === PLAIN_SIP ? 0 : 1
    for (const step of script[side]) {
      w += 1000
      if (step.do === 'write') w += Math.log2(step.n + 1)
      if (step.do === 'pause') w += Math.log2(step.ms + 1)
    }
  }
  return w
}

export const PLAIN_SIP = 1 << 18

/** One line that a person reads and `--script` takes back. */
export function scriptText(script: Script): string {
  return JSON.stringify(script)
}
