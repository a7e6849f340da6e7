// One exchange between two sessions, always the same: every kind of frame, streams that end in every way. It can be cut at
// any byte of either direction and goes on over another connection; what both sides saw in the end has to be the same.
import {
  BIND,
  BOUND,
  Memory,
  type Over,
  RESET_CODE,
  Session,
  type SessionEvents,
  type Stream,
  UNBIND,
} from '../../src/frame/index.ts'
import { Collect } from './peer.ts'

export type Way = 'toAgent' | 'toRelay'
export const WAYS: readonly Way[] = ['toAgent', 'toRelay']

/**
 * What becomes of bytes that are on their way when the connection breaks. lost: both sides notice before they arrive.
 * arrives: those of the other direction still come in, and the side that gets them goes on writing, to nobody.
 */
export const FATES = ['lost', 'arrives'] as const
export type Fate = (typeof FATES)[number]

/** Where it is cut: after so many bytes one way, once, or again and again after so many either way. */
export type Cut = { way: Way; after: number; fate: Fate } | { every: number; fate: Fate }

/** Long enough for CREDIT to fall due, and for its frame to be cut in many places. */
const LONG = 40_000

class Half {
  readonly session: Session
  readonly streams = new Map<number, { stream: Stream; sink: Collect }>()
  readonly said: string[] = []
  readonly over: Over[] = []
  awake = false
  /** Bytes written and not yet arrived at the other side. */
  flight: Buffer[] = []

  constructor(
    readonly opener: boolean,
    readonly memory: Memory,
    events: (half: Half) => Partial<SessionEvents>,
  ) {
    this.session = new Session(
      {
        opener,
        peerFirstCredit: 65_536,
        deadAfter: 60_000,
        memory,
        events: {
          opened: (stream, opening) => {
            const sink = new Collect()
            stream.sink = sink
            this.streams.set(stream.id, { stream, sink })
            this.said.push(`opened ${stream.id} ${JSON.stringify(opening)}`)
          },
          wake: () => {
            this.awake = true
          },
          over: how => this.over.push(how),
          goaway: (code, text) => this.said.push(`goaway ${code} ${text}`),
          ...events(this),
        },
      },
      0,
    )
  }

  transmit(now: number): void {
    this.awake = false
    this.session.transmit((b, at, len) => {
      this.flight.push(Buffer.from(b.subarray(at, at + len)))
      return len
    }, now)
  }

  /** What it saw, for the comparison with another run. */
  get seen(): unknown {
    const streams = [...this.streams].map(([id, { sink }]) => [
      id,
      Bun.hash(sink.bytes),
      sink.length,
      sink.ended,
      sink.resets,
      sink.freed.length,
    ])
    return { streams, said: this.said, over: this.over }
  }
}

export class Exchange {
  readonly relay: Half
  readonly agent: Half
  /** Everything that arrived, for the uncut run: where frames begin and end. */
  readonly arrived: Record<Way, Buffer[]> = { toAgent: [], toRelay: [] }
  cuts = 0
  #now = 0
  readonly #cut: Cut | null
  readonly #left: Record<Way, number> = { toAgent: Number.POSITIVE_INFINITY, toRelay: Number.POSITIVE_INFINITY }

  constructor(cut: Cut | null, memory = new Memory()) {
    this.relay = new Half(true, memory, half => ({
      bind: tunnel => {
        half.said.push(`bind ${JSON.stringify(tunnel)}`)
        half.session.send({ type: BOUND, answer: { id: tunnel.id, host: '192.0.2.9', port: 20_001, epoch: 1 } })
      },
      unbind: id => half.said.push(`unbind ${id}`),
    }))
    this.agent = new Half(false, memory, half => ({
      bound: answer => half.said.push(`bound ${JSON.stringify(answer)}`),
    }))
    this.#cut = cut
    if (cut !== null && 'way' in cut) this.#left[cut.way] = cut.after
    this.#limit()
  }

  /** Runs it all; returns what both sides saw. */
  run(): unknown {
    const { relay, agent } = this
    const [one, two, three, four, five] = [1, 2, 3, 4, 5].map(() => this.#open()) as [
      Stream,
      Stream,
      Stream,
      Stream,
      Stream,
    ]
    one.offer(Buffer.from('a question'))
    this.#settle()
    this.#at(agent, 1).offer(Buffer.alloc(300, 'an answer '))
    this.#at(agent, 2).offer(Buffer.alloc(LONG, 'a long way up '))
    two.offer(Buffer.alloc(5_000, 'a way down '))
    three.finish()
    this.#settle()
    one.finish()
    this.#at(agent, 1).finish()
    four.abort(RESET_CODE.ABORTED)
    this.#at(agent, 5).abort(RESET_CODE.REFUSED)
    this.#at(agent, 3).offer(Buffer.from('after the other end'))
    this.#settle()
    five.offer(Buffer.from('to nobody'))
    agent.session.send({ type: BIND, tunnel: { id: 7, name: 'seven', port: null } })
    this.#settle()
    agent.session.send({ type: UNBIND, tunnel: 7 })
    this.#at(agent, 3).finish()
    this.#at(agent, 2).offer(Buffer.from('the last of it'))
    this.#at(agent, 2).finish()
    relay.session.goaway(7, 'enough')
    this.#settle()
    two.offer(Buffer.from('and down again'))
    two.finish()
    this.#settle()
    const seen = { relay: relay.seen, agent: agent.seen, streams: [relay.session.streams, agent.session.streams] }
    for (const half of [relay, agent]) half.session.lost()
    return seen
  }

  #open(): Stream {
    const sink = new Collect()
    const stream = this.relay.session.open({ tunnel: 3, visitor: '192.0.2.1:5', edge: '192.0.2.2:6' }, sink)
    if (stream === null) throw new Error('the relay opens no stream')
    this.relay.streams.set(stream.id, { stream, sink })
    return stream
  }

  #at(half: Half, id: number): Stream {
    const found = half.streams.get(id)
    if (found === undefined) throw new Error(`stream ${id} has not arrived`)
    return found.stream
  }

  /** Everything arrives, receipts are written, a PING goes there and back. */
  #settle(): void {
    for (let i = 0; i < 3; i++) {
      this.#pump()
      this.#now += [30, 30, 1_000][i]!
      for (const half of [this.relay, this.agent]) half.session.tick(this.#now)
    }
    this.#pump()
  }

  #pump(): void {
    const { relay, agent } = this
    for (let turns = 0; relay.awake || agent.awake || relay.flight.length > 0 || agent.flight.length > 0; turns++) {
      if (turns > 100_000) throw new Error('it does not come to an end')
      for (const half of [relay, agent]) if (half.awake) half.transmit(this.#now)
      this.#deliver('toAgent')
      this.#deliver('toRelay')
    }
  }

  #ends(way: Way): { from: Half; to: Half } {
    return way === 'toAgent' ? { from: this.relay, to: this.agent } : { from: this.agent, to: this.relay }
  }

  #deliver(way: Way): void {
    const { from, to } = this.#ends(way)
    if (from.flight.length === 0) return
    const bytes = Buffer.concat(from.flight)
    from.flight = []
    const now = bytes.subarray(0, this.#left[way])
    this.#left[way] -= now.length
    this.#receive(way, to, now)
    if (this.#left[way] > 0) return
    from.flight = [bytes.subarray(now.length)]
    this.#break(way)
  }

  #receive(way: Way, to: Half, bytes: Buffer): void {
    if (bytes.length === 0) return
    this.arrived[way].push(bytes)
    to.session.receive(Buffer.from(bytes), this.#now)
  }

  #break(way: Way): void {
    const { relay, agent } = this
    this.cuts++
    this.#left.toAgent = Number.POSITIVE_INFINITY
    this.#left.toRelay = Number.POSITIVE_INFINITY
    const { from, to } = this.#ends(way)
    const back = way === 'toAgent' ? 'toRelay' : 'toAgent'
    to.session.detach()
    if (this.#cut?.fate === 'arrives') {
      const rest = Buffer.concat(to.flight)
      to.flight = []
      this.#receive(back, from, rest)
      from.transmit(this.#now)
    }
    from.session.detach()
    // Old bytes at a mute side: nothing of them may count.
    for (const half of [relay, agent]) {
      const other = half === relay ? agent : relay
      for (const late of other.flight)
        if (!half.session.receive(late, this.#now)) throw new Error('old bytes were kept')
      other.flight = []
    }
    const [agentAt, relayAt] = [agent.session.position(), relay.session.position()]
    for (const [half, at] of [
      [relay, agentAt],
      [agent, relayAt],
    ] as const) {
      if (!half.session.resumable(at)) throw new Error(`${at} is not a position to resume from`)
      half.awake = false
      half.session.attach(at, this.#now)
    }
    this.#limit()
  }

  #limit(): void {
    const cut = this.#cut
    if (cut === null || 'way' in cut) return
    this.#left.toAgent = cut.every
    this.#left.toRelay = cut.every
  }
}
