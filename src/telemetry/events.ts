// What relay and agent tell the outside, as it happens. These are the objects that `--json` prints, one a line: their
// fields are a promise to scripts. Screen and log are other views of the same events.
import type { Code } from '../errors.ts'

/** How a stream ended: by FIN both ways, or why not. */
export type StreamEnd = 'fin' | 'reset' | 'refused' | 'timeout' | 'unreachable' | 'limit' | 'busy' | 'denied' | 'lost'

export type Event =
  /** The relay listens; `invite` on the first start only. */
  | { event: 'ready'; control: string; ports: string; fingerprint: string; invite: string | null }
  /** The agent's session with its relay. `rtt` in ms, when known. */
  | { event: 'session'; state: 'connecting'; relay: string }
  | { event: 'session'; state: 'connected'; relay: string; rtt: number | null }
  | { event: 'session'; state: 'lost'; relay: string; code: Code; reason: string; retryInMs: number }
  /** The link broke: open streams are held for `holdMs` while the agent dials again. */
  | { event: 'session'; state: 'held'; relay: string; streams: number; holdMs: number; reason: string }
  /** They go on, after so many ms; so many bytes were sent a second time. */
  | { event: 'session'; state: 'resumed'; relay: string; streams: number; replayed: number; afterMs: number }
  /** It did not come back in time, or the relay no longer had it: they were reset. */
  | { event: 'session'; state: 'expired'; relay: string; streams: number; reason: string }
  | { event: 'session'; state: 'refused'; relay: string; code: Code; reason: string }
  /** Round-trip time of the session in ms, at most once a second while it changes. */
  | { event: 'rtt'; rtt: number }
  /** A tunnel is open to the public. `address` is HOST:PORT, `[v6]:PORT` for IPv6. */
  | { event: 'tunnel'; name: string; address: string; local: string; key?: string }
  | { event: 'tunnel-closed'; name: string; address: string; reason: string }
  /** The local service of a tunnel stopped or started to answer. */
  | { event: 'local'; state: 'down' | 'up'; name: string; local: string; reason: string; code?: 'W-LOCAL-DOWN' }
  /** One visitor's connection. `sent`: bytes to the visitor; `received`: bytes from it; `ms`: its duration. */
  | { event: 'stream'; state: 'open'; visitor: string; tunnel: string; key?: string }
  | {
      event: 'stream'
      state: 'closed'
      visitor: string
      tunnel: string
      /** On a relay: the agent's key. */
      key?: string
      sent: number
      received: number
      ms: number
      end: StreamEnd
    }
  /** The relay's view of agents. */
  | {
      event: 'agent'
      state: 'enrolled' | 'connected' | 'held' | 'resumed' | 'gone' | 'refused'
      key: string
      name: string
      from: string
      reason?: string
      /** `held`, `resumed`: how many streams. */
      streams?: number
      /** `resumed`: bytes sent a second time, how long it was held, and its `from` until then. */
      replayed?: number
      afterMs?: number
      was?: string
    }
  /** The process is draining: no new streams, `streams` still open. */
  | { event: 'draining'; streams: number; graceMs: number }
  | { event: 'warning'; code: Code; message: string }

export type Emit = (event: Event) => void
