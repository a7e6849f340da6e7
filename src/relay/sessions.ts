// The sessions that are registered now: who they are, which tunnels they have, which visitors they carry.
import type { Session } from '../frame/index.ts'
import type { Carrier, Splice } from '../link/index.ts'
import type { Tunnel } from './tunnels.ts'

/** Replaced sessions that are remembered. */
const REPLACED = 1_024

/** One registered session of an agent. */
export type Member = {
  readonly key: Uint8Array
  readonly fingerprint: string
  readonly name: string
  /** Random bytes of the agent's process, in hex. */
  readonly instance: string
  /** HOST:PORT that it came from. */
  from: string
  /** What it is resumed by, in hex, and the number of the last attempt. */
  readonly id: string
  attempt: number
  readonly session: Session
  readonly carrier: Carrier
  /** By the agent's own tunnel id. */
  readonly tunnels: Map<number, Tunnel>
  readonly splices: Set<Splice>
}

export class Sessions {
  readonly #byKey = new Map<string, Set<Member>>()
  readonly #byId = new Map<string, Member>()
  /** Ids of sessions that another process replaced, so that whoever wants to resume one is told. Oldest first. */
  readonly #replaced = new Set<string>()
  #size = 0

  get size(): number {
    return this.#size
  }

  add(member: Member): void {
    const others = this.#byKey.get(member.fingerprint)
    if (others === undefined) this.#byKey.set(member.fingerprint, new Set([member]))
    else others.add(member)
    this.#byId.set(member.id, member)
    this.#size += 1
  }

  byId(id: string): Member | undefined {
    return this.#byId.get(id)
  }

  /** Another process has taken over all that this one had. */
  replaced(member: Member): void {
    this.#replaced.add(member.id)
    if (this.#replaced.size <= REPLACED) return
    for (const oldest of this.#replaced) {
      this.#replaced.delete(oldest)
      return
    }
  }

  wasReplaced(id: string): boolean {
    return this.#replaced.has(id)
  }

  remove(member: Member): void {
    const others = this.#byKey.get(member.fingerprint)
    if (!others?.delete(member)) return
    this.#byId.delete(member.id)
    this.#size -= 1
    if (others.size === 0) this.#byKey.delete(member.fingerprint)
  }

  /** A copy: the caller may end what it gets. */
  ofKey(fingerprint: string): Member[] {
    return [...(this.#byKey.get(fingerprint) ?? [])]
  }

  all(): Member[] {
    return [...this.#byKey.values()].flatMap(members => [...members])
  }
}
