// Why a dial failed: its name, the words for a person, and which of several addresses' failures says most.
import { exhausted } from './descriptors.ts'

/**
 * reset: somebody answered, and reset the connection at once. refused: nobody listens, or the other side closed during the
 * TLS handshake. limit: this machine is out of descriptors or ports. tls: what answers does not speak TLS 1.3. alpn: it does,
 * but not our protocol.
 */
export type DialFailure = 'refused' | 'reset' | 'timeout' | 'unreachable' | 'not-found' | 'limit' | 'tls' | 'alpn'

export type NotDialled = { readonly fail: DialFailure; readonly detail: string }

const RANK: Record<DialFailure, number> = {
  'not-found': 0,
  unreachable: 1,
  timeout: 2,
  refused: 3,
  reset: 4,
  tls: 4,
  alpn: 4,
  limit: 5,
}

/** The one that says more; of two that say as much, the first. */
export function moreTelling(first: NotDialled | null, second: NotDialled): NotDialled {
  return first === null || RANK[second.fail] > RANK[first.fail] ? second : first
}

/** As a person would say it; what is rare stays the system's code. */
const IN_WORDS: Readonly<Record<string, string>> = {
  '': 'connect failed',
  EADDRNOTAVAIL: 'no local port or address left',
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network unreachable',
  ENOENT: 'there is no such socket',
  ETIMEDOUT: 'no answer',
}

/** What the system's `code` means for a connect to `host`, '' for a unix socket. `resolved`: nobody named it, so that it is told. */
export function explain(host: string, resolved: boolean, code: string): NotDialled {
  const words = IN_WORDS[code] ?? code
  const detail = resolved ? `${host}: ${words}` : words
  switch (code) {
    case 'ECONNREFUSED':
      // Bun shows a want of descriptors as a refusal.
      return exhausted() ? { fail: 'limit', detail: 'no file descriptor left' } : { fail: 'refused', detail }
    case 'ENOENT':
      return { fail: 'refused', detail }
    case 'ECONNRESET':
      return { fail: 'reset', detail }
    case 'EMFILE':
    case 'ENFILE':
      return { fail: 'limit', detail: 'no file descriptor left' }
    case 'EADDRNOTAVAIL':
      // IPv4: no local port left. IPv6: more often a machine without it.
      return { fail: host.includes(':') ? 'unreachable' : 'limit', detail }
    case 'ETIMEDOUT':
      return { fail: 'timeout', detail }
    default:
      return { fail: 'unreachable', detail }
  }
}
