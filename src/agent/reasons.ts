// What the relay or the link said, as codes and sentences that a person can act on.
import { type Code, ERRORS, WarrenError } from '../errors.ts'
import { type Over, SESSION_CODE, VERSION } from '../frame/index.ts'
import type { Break } from '../link/index.ts'
import type { Refusal } from './greeting.ts'

/** What a refusal of INIT or RESUME means to a person. */
export function refusalError(address: string, { code, text }: Refusal): WarrenError {
  switch (code) {
    case SESSION_CODE.REFUSED:
      return new WarrenError('W-REFUSED', `${address} does not allow this machine's key`)
    case SESSION_CODE.SPENT:
      return new WarrenError('W-INVITE-SPENT', `${address} says that the invite is spent`)
    case SESSION_CODE.EXPIRED:
      return new WarrenError('W-INVITE-EXPIRED', `${address} says that the invite has expired`)
    case SESSION_CODE.VERSION:
      return new WarrenError('W-VERSION', `${address} speaks another version of the protocol than ${VERSION} (${text})`)
    case SESSION_CODE.BUSY:
      return new WarrenError('W-RELAY-BUSY', `${address} takes no more sessions for now (${text})`)
    case SESSION_CODE.REPLACED:
      return new WarrenError('W-REPLACED', `${address}: another process of this key took over`)
    default:
      return new WarrenError('W-PROTOCOL', `${address} refused with the unknown code ${code}`)
  }
}

/** How a link broke, as a person is told. */
export const BREAKS: Record<Break, string> = {
  fin: 'the relay closed the connection',
  reset: 'the connection broke',
  silence: 'the link fell silent',
}

/** Why a session ended, that nobody here wanted to end. */
export function codeOf(how: Over): Code {
  if (how.by === 'lost' || how.by === 'silence') return 'W-RELAY-LOST'
  if (how.by === 'peer') {
    switch (how.code) {
      case SESSION_CODE.REVOKED:
        return 'W-KEY-REVOKED'
      case SESSION_CODE.SHUTDOWN:
        return 'W-RELAY-GOODBYE'
      case SESSION_CODE.REPLACED:
        return 'W-REPLACED'
      case SESSION_CODE.BUSY:
        return 'W-RELAY-BUSY'
    }
  }
  return 'W-PROTOCOL'
}

/** A relay names a code of errors.ts; one that this version does not know is told as it is. */
export function tunnelError(answer: { refused: string; why: string }): WarrenError {
  const code = answer.refused in ERRORS ? (answer.refused as Code) : 'W-REFUSED'
  return new WarrenError(code, answer.why)
}
