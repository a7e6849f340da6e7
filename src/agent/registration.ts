// INIT: how an agent begins a session.
import {
  initFrame,
  packInitBody,
  type Registration,
  readRegistration,
  TUNING,
  type TunnelAsked,
  VERSION,
} from '../frame/index.ts'
import { EXPORTER_LENGTH, exporterLabel, type KeyPair, transcript } from '../identity/index.ts'
import type { Connection, Dialing } from '../net/index.ts'
import { greet, type KnownRelay, type OnGreeted } from './greeting.ts'

const ROLE_AGENT = 1
const ANSWER_MS = 10_000

export type Applicant = {
  token: Uint8Array | null
  key: KeyPair
  instance: Uint8Array
  name: string
  capabilities: string[]
  tunnels: TunnelAsked[]
}

export function register(
  relay: KnownRelay,
  who: Applicant,
  done: OnGreeted<Extract<Registration, { ok: true }>>,
): Dialing {
  const frame = (connection: Connection, keyHash: Uint8Array) => init(who, connection, keyHash)
  return greet(relay, { frame, read: readRegistration, answerMs: ANSWER_MS }, done)
}

function init(who: Applicant, connection: Connection, relayKeyHash: Uint8Array): Buffer {
  const body = packInitBody({
    version: VERSION,
    role: ROLE_AGENT,
    key: Buffer.from(who.key.publicKey),
    instance: Buffer.from(who.instance),
    name: who.name,
    credit: TUNING.firstCredit,
    capabilities: who.capabilities,
    tunnels: who.tunnels,
    ...(who.token === null ? {} : { token: Buffer.from(who.token) }),
  })
  const exporter = connection.exporter(exporterLabel('init'), EXPORTER_LENGTH)
  return initFrame(body, who.key.sign(transcript('init', 'agent', exporter, relayKeyHash, body)))
}
