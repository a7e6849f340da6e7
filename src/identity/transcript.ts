// What a registration signs (docs/protocol.md, Registration): the label keeps INIT and RESUME apart, the role keeps an
// agent's signature from being a connector's, the exporter ties it to this one TLS connection, and the relay's key hash
// to this one relay. So it can be neither replayed nor relayed.
import { WarrenError } from '../errors.ts'

export type Role = 'agent' | 'connector'
export type Label = 'init' | 'resume'

const ROLE: Record<Role, number> = { agent: 1, connector: 2 }
const HASH = 32

/** Bytes that the TLS exporter is asked for. */
export const EXPORTER_LENGTH = 32

/** The label for the TLS exporter, used with an empty context. */
export function exporterLabel(label: Label): string {
  return `EXPORTER-warren-${label}-v1`
}

/** The bytes to sign. `body` is the raw body as sent or received, never encoded again. */
export function transcript(
  label: Label,
  role: Role,
  exporter: Uint8Array,
  relayKeyHash: Uint8Array,
  body: Uint8Array,
): Uint8Array {
  // Fields of a fixed length need no lengths between them; a wrong one would let two inputs give the same bytes.
  if (exporter.length !== EXPORTER_LENGTH) {
    throw new WarrenError('W-INTERNAL', `the TLS exporter gave ${exporter.length} bytes, not ${EXPORTER_LENGTH}`)
  }
  if (relayKeyHash.length !== HASH) {
    throw new WarrenError('W-INTERNAL', `the hash of the relay's key has ${relayKeyHash.length} bytes, not ${HASH}`)
  }
  const start = Buffer.from(`warren-${label}-v1\0`, 'latin1')
  return new Uint8Array(Buffer.concat([start, Buffer.of(ROLE[role]), exporter, relayKeyHash, body]))
}
