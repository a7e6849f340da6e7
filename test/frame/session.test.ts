// Two sessions back to back: what one offers, the other's sink takes.
import { expect, test } from 'bun:test'
import { createHash, randomBytes } from 'node:crypto'
import { Memory, type Pieces, Session, type Sink, type Stream } from '../../src/frame/index.ts'

class Collect implements Sink {
  readonly hash = createHash('sha256')
  bytes = 0
  ended = false
  resetBy: number | null = null
  freed = 0
  data(pieces: Pieces): number {
    for (let i = 0; i < pieces.count; i++) {
      const at = pieces.at[i]!
      this.hash.update(pieces.buf.subarray(at, at + pieces.len[i]!))
    }
    this.bytes += pieces.bytes
    return pieces.bytes
  }
  free(): void {
    this.freed++
  }
  end(): void {
    this.ended = true
  }
  reset(code: number): void {
    this.resetBy = code
  }
}

test('64 MiB each way arrive whole, end by FIN, and leave nothing behind', () => {
  const memory = new Memory()
  let now = 0
  const sinks: Collect[] = []
  const accepted: Stream[] = []
  const events = { wake() {}, over() {} }
  const relay = new Session(
    { opener: true, peerFirstCredit: 65536, deadAfter: 5000, memory, events: { ...events, opened() {} } },
    now,
  )
  const agent = new Session(
    {
      opener: false,
      peerFirstCredit: 65536,
      deadAfter: 5000,
      memory,
      events: {
        ...events,
        opened(stream) {
          const sink = new Collect()
          stream.sink = sink
          sinks.push(sink)
          accepted.push(stream)
        },
      },
    },
    now,
  )
  const mine = new Collect()
  const stream = relay.open({ tunnel: 1, visitor: '1.2.3.4:5', edge: '1.2.3.4:6' }, mine)!
  const step = () => {
    now += 0.1
    const toAgent: Buffer[] = []
    const toRelay: Buffer[] = []
    relay.transmit((b, at, len) => {
      toAgent.push(Buffer.from(b.subarray(at, at + len)))
      return len
    }, now)
    agent.transmit((b, at, len) => {
      toRelay.push(Buffer.from(b.subarray(at, at + len)))
      return len
    }, now)
    for (const b of toAgent) agent.receive(b, now)
    for (const b of toRelay) relay.receive(b, now)
    relay.tick(now)
    agent.tick(now)
  }
  step()
  const chunk = randomBytes(512 * 1024)
  const all = createHash('sha256')
  for (let i = 0; i < 128; i++) all.update(chunk)
  const digest = all.digest('hex')
  const other = accepted[0]!
  for (const [from, sink] of [
    [stream, mine],
    [other, sinks[0]!],
  ] as const) {
    for (let i = 0; i < 128; i++) {
      const freed = sink.freed
      if (!from.offer(Buffer.from(chunk))) while (sink.freed === freed) step()
    }
    from.finish()
  }
  for (let i = 0; i < 1000; i++) step()
  for (const sink of [mine, sinks[0]!]) {
    expect(sink.bytes).toBe(128 * chunk.length)
    expect(sink.hash.digest('hex')).toBe(digest)
    expect(sink.ended).toBe(true)
    expect(sink.resetBy).toBeNull()
  }
  expect(relay.streams).toBe(0)
  expect(agent.streams).toBe(0)
  expect(memory.buffered).toBe(0)
  expect(memory.granted).toBe(0)
})
