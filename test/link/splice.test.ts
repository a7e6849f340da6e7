// A joined connection and stream whose ends come in another order than usual.
import { expect, test } from 'bun:test'
import { Splice } from '../../src/link/index.ts'
import type { Connection } from '../../src/net/index.ts'
import { Peer, raw } from '../frame/peer.ts'

/** As much of a visitor's connection as a splice uses; it takes nothing of what it is given. */
class Deaf {
  handler: unknown = null
  lingers: number[] = []
  keepAlive(): void {}
  resetIfKilled(): void {}
  resume(): void {}
  pause(): void {}
  writeParts(): number {
    return 0
  }
  linger(ms: number): void {
    this.lingers.push(ms)
  }
}

for (const first of ['visitor', 'service'] as const)
  test(`who does not read does not stay once both sides have ended, the ${first} first`, () => {
    const peer = new Peer({ opener: true })
    const connection = new Deaf()
    const splice = new Splice(1, '192.0.2.1:5', () => {})
    expect(splice.open(connection as unknown as Connection, peer.session, '192.0.2.2:6')).toBe(true)
    peer.frames()
    const ends = [() => splice.onEnd(), () => peer.send(raw.data(1, Buffer.from('more')), raw.fin(1))]
    if (first === 'service') ends.reverse()
    ends[0]!()
    expect(connection.lingers).toEqual([])
    ends[1]!()
    expect(connection.lingers).toEqual([30_000])
  })
