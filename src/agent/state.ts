// What an agent remembers between its runs: its key, and which relays it has met, by the pin of each one's key.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import * as v from 'valibot'
import { CONTROL_PORT, formatHostPort, parseHostPort } from '../config/index.ts'
import { WarrenError } from '../errors.ts'
import {
  type KeyPair,
  loadOrCreateKey,
  looksLikeInvite,
  parseInvite,
  readStateFile,
  writeStateFile,
} from '../identity/index.ts'
import { holdingFolder } from '../net/index.ts'
import type { KnownRelay } from './greeting.ts'

const KEY = 'agent.key'
const RELAYS = 'relays.json'

const pin = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/))
const relays = v.object({ last: v.nullable(v.string()), pins: v.record(v.string(), pin) })
type Relays = v.InferOutput<typeof relays>

/** A relay, and what lets a new agent join it. */
export type Invited = KnownRelay & { token: Uint8Array | null }

export class AgentState {
  readonly #folder: string
  #relays: Relays

  private constructor(folder: string, known: Relays) {
    this.#folder = folder
    this.#relays = known
  }

  /** Throws W-STATE when the folder cannot be used, or what it remembers is damaged. */
  static open(folder: string): AgentState {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    return new AgentState(folder, readRelays(folder))
  }

  /** The agent's key, made at the first use. */
  key(comment: string): KeyPair {
    return loadOrCreateKey(join(this.#folder, KEY), comment)
  }

  /** The relay that `text` means: an invite brings the pin; otherwise it must have been met before. Null: the last one. */
  relay(text: string | null): Invited {
    if (text !== null && looksLikeInvite(text)) {
      const { host, port, pin, token } = parseInvite(text)
      return { host, port, pin, token }
    }
    const address = text ?? this.#relays.last
    if (address === null) throw new WarrenError('W-RELAY-UNKNOWN', 'this machine has no relay yet')
    const { host: written, port } = parseHostPort(address, CONTROL_PORT)
    const host = written.toLowerCase()
    const known = this.#relays.pins[formatHostPort(host, port)]
    if (known === undefined)
      throw new WarrenError('W-RELAY-UNKNOWN', `this machine has never met the relay ${formatHostPort(host, port)}`)
    return { host, port, pin: Buffer.from(known, 'base64url'), token: null }
  }

  /** Notes the relay, beside what other processes have noted since; called once it has taken this agent in. */
  remember(host: string, port: number, keyHash: Uint8Array): void {
    const address = formatHostPort(host, port)
    const encoded = Buffer.from(keyHash).toString('base64url')
    if (this.#relays.last === address && this.#relays.pins[address] === encoded) return
    holdingFolder(this.#folder, () => {
      const { pins } = readRelays(this.#folder)
      this.#relays = { last: address, pins: { ...pins, [address]: encoded } }
      const text = `${JSON.stringify(this.#relays, null, 2)}\n`
      writeStateFile(join(this.#folder, RELAYS), text, 0o600, 'replace', 'W-STATE')
    })
  }
}

function readRelays(folder: string): Relays {
  const path = join(folder, RELAYS)
  const text = readStateFile(path, 'private', 'W-STATE')
  if (text === null) return { last: null, pins: {} }
  try {
    return v.parse(relays, JSON.parse(text))
  } catch (thrown) {
    throw new WarrenError('W-STATE', `${path} is damaged; remove it, and use an invite again`, { cause: thrown })
  }
}
