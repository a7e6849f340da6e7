// Counts the objects that DATA frames leave behind, in a process of its own: batches small enough that nothing is
// collected within one, and what each added to the heap summed up.
import { heapStats } from 'bun:jsc'
import { Memory, type Pieces, Session, type Sink, type Stream } from '../../src/frame/index.ts'

const BATCHES = 30
const FRAMES = 4000
/** With the largest payload, more than two blocks. */
const TURN = 100

class Count implements Sink {
  bytes = 0
  data(pieces: Pieces): number {
    this.bytes += pieces.bytes
    return pieces.bytes
  }
  free(): void {}
  end(): void {}
  reset(): void {}
}

function objects(): number {
  let n = 0
  const counts = heapStats().objectTypeCounts
  for (const type in counts) n += counts[type]!
  return n
}

function measure(payload: number): { perFrame: number; bytes: number; pushes: number } {
  const memory = new Memory()
  const sink = new Count()
  let accepted: Stream | null = null
  const events = { wake() {}, over() {} }
  const options = { peerFirstCredit: 65_536, deadAfter: 5000, memory }
  let pushes = 0
  const full = () => {
    pushes++
    relay.push(write, now)
  }
  const relay: Session = new Session({ ...options, opener: true, events: { ...events, opened() {}, full } }, 0)
  const opened = (stream: Stream) => {
    stream.sink = sink
    accepted = stream
  }
  const agent = new Session({ ...options, opener: false, events: { ...events, opened } }, 0)
  const wire = Buffer.alloc(4 * 1024 * 1024)
  let filled = 0
  const write = (from: Buffer, at: number, len: number) => {
    from.copy(wire, filled, at, at + len)
    filled += len
    return len
  }
  // What was pushed meanwhile comes first.
  const carry = (from: Session, to: Session, now: number) => {
    from.transmit(write, now)
    if (filled > 0) to.receive(wire.subarray(0, filled), now)
    filled = 0
  }
  const stream = relay.open({ tunnel: 1, visitor: 'v', edge: 'e' }, new Count())!
  const chunk = Buffer.alloc(payload)
  let now = 0
  const batch = () => {
    for (let i = 0; i < FRAMES; i += TURN) {
      // What finds no room is offered again after the receipts.
      relay.turns.window.size = 1024 * 1024
      for (let k = 0; k < TURN; k++) if (!stream.offer(chunk)) break
      now += 30
      carry(relay, agent, now)
      agent.tick(now)
      carry(agent, relay, now)
    }
  }
  for (let i = 0; i < 50; i++) batch()
  if (accepted === null) throw new Error('no stream')
  const before = sink.bytes
  let left = 0
  for (let i = 0; i < BATCHES; i++) {
    Bun.gc(true)
    const start = objects()
    batch()
    left += Math.max(0, objects() - start)
  }
  const bytes = sink.bytes - before
  return { perFrame: left / (bytes / payload), bytes, pushes }
}

if (import.meta.main) console.log(JSON.stringify([64, 1000, 4000].map(measure)))
