// What goes through a tunnel while its link is cut: bulk one way and both ways, half-closed streams, idle ones, talk in
// small messages, a reader that stops. As scripts of the oracle, whose endpoints compare every byte.
import type { Random } from '../oracle/random.ts'
import { PLAIN_SIP, type Script, type Side, type Step } from '../oracle/script.ts'

/** What an endpoint can send in one direction without its bytes coming again. */
export const BULK_MOST = 8 << 20

const KINDS = ['both', 'answer', 'service-first', 'talk', 'idle', 'stopped'] as const
type Kind = (typeof KINDS)[number]

export type Shape = {
  /** Bytes of a bulk direction. */
  bytes: number
  /** How long the quiet ones are quiet, in ms. */
  idleMs: number
}

/** As many of each kind as of the next. */
export function transfers(r: Random, count: number, shape: Shape): Script[] {
  return Array.from({ length: count }, (_, i) => transfer(r, KINDS[i % KINDS.length]!, shape))
}

function transfer(r: Random, kind: Kind, { bytes, idleMs }: Shape): Script {
  const bulk = () => write(r.between(Math.floor(bytes / 2), bytes))
  switch (kind) {
    case 'both':
      return script([bulk(), FIN, EOF], [bulk(), FIN, EOF])
    // Half-closed by the visitor at once; all that comes then comes the other way.
    case 'answer':
      return script([write(r.between(1, 20_000)), FIN, EOF], [EOF, bulk(), pause(idleMs / 2), bulk(), FIN])
    case 'service-first':
      return script([EOF, bulk(), pause(idleMs / 2), bulk(), FIN], [write(r.between(1, 20_000)), FIN, EOF])
    case 'talk':
      return script(talk(r, idleMs), talk(r, idleMs))
    case 'idle':
      return script([write(1000), BARRIER, pause(idleMs), write(1000), FIN, EOF], [write(1000), BARRIER, EOF, FIN])
    case 'stopped':
      return script([{ do: 'stop' }, pause(idleMs), { do: 'resume' }, write(100), FIN, EOF], [bulk(), FIN, EOF])
  }
}

/** Messages, each of them waited for by its sender. */
function talk(r: Random, ms: number): Step[] {
  const turns = 12
  const steps: Step[] = []
  for (let i = 0; i < turns; i++) steps.push(write(r.between(1, 3000)), BARRIER, pause(r.between(0, (2 * ms) / turns)))
  return [...steps, FIN, EOF]
}

/** Bulk, one way. */
export function bulk(toAgent: boolean, bytes: number): Script {
  const [sends, reads] = [
    [write(bytes), FIN, EOF],
    [EOF, FIN],
  ]
  return toAgent ? script(sends, reads) : script(reads, sends)
}

/** A script of one stream that neither side ends for `ms`, with bytes on their way. */
export function lastingFor(ms: number, bytes: number): Script {
  return script([write(bytes), pause(ms), FIN, EOF], [write(bytes), pause(ms), FIN, EOF])
}

const FIN: Step = { do: 'fin' }
const EOF: Step = { do: 'eof' }
const BARRIER: Step = { do: 'barrier' }
const write = (n: number): Step => ({ do: 'write', n })
const pause = (ms: number): Step => ({ do: 'pause', ms: Math.round(ms) })

function script(visitor: Step[], service: Step[]): Script {
  const sides: Record<Side, Step[]> = { visitor, service }
  return { early: false, buffer: 0, sip: { visitor: PLAIN_SIP, service: PLAIN_SIP }, ...sides }
}
