// The operator's side of a relay: asks the one that runs on this machine, or its state, and reads the answer. The relay
// that answers may be of another version than this command, so its answer is checked.
import * as v from 'valibot'
import { askedFolder } from '../config/state.ts'
import { asWarrenError, ERRORS, WarrenError } from '../errors.ts'
import type { Request } from '../relay/control.ts'

const moment = v.number()

export const invited = v.object({ invite: v.string(), expiresAt: moment })
export const keyRow = v.object({
  name: v.string(),
  fingerprint: v.string(),
  role: v.string(),
  status: v.picklist(['allowed', 'revoked']),
  addedAt: moment,
  seenAt: v.nullable(moment),
  sessions: v.number(),
})
export const namedKey = v.object({ name: v.string(), fingerprint: v.string() })
export const leaseRow = v.object({
  port: v.number(),
  fingerprint: v.string(),
  name: v.string(),
  service: v.string(),
  state: v.picklist(['live', 'away']),
  since: moment,
  restsUntil: v.nullable(moment),
})

/** The answer to a request; a refusal is thrown. */
export async function askRelay<T>(
  state: string | undefined,
  request: Request,
  schema: v.GenericSchema<unknown, T>,
): Promise<T> {
  const { ask } = await import('../relay/control.ts')
  const answer = await ask(askedFolder(state), request)
  if ('code' in answer) {
    throw answer.code in ERRORS ? new WarrenError(answer.code, answer.message) : asWarrenError(answer.message)
  }
  const read = v.safeParse(schema, answer.ok)
  if (!read.success) {
    throw new WarrenError('W-VERSION', 'the running relay answers in a way that this version of warren does not know')
  }
  return read.output
}
