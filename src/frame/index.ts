// The door of the wire: sans-I/O, bytes in, events out. docs/protocol.md is its specification.
export { FirstFrame, Violation } from './codec.ts'
export { MEMORY_LIMITS, Memory, type MemoryLimits } from './memory.ts'
export {
  type AckBody,
  ackFrame,
  type Init,
  type InitBody,
  initFrame,
  packInitBody,
  packResumeBody,
  type Registration,
  type Resume,
  type Resumption,
  readFirst,
  readInit,
  readRegistration,
  readResumption,
  refusalFrame,
  resumedFrame,
  resumeFrame,
  type TunnelAnswer,
  type TunnelAsked,
} from './messages.ts'
export type { Pieces } from './pieces.ts'
export type { Write } from './ring.ts'
export { type Over, Session, type SessionEvents, type SessionOptions } from './session.ts'
export { type Sink, Stream } from './stream.ts'
export type { Opening } from './turns.ts'
export {
  ALPN,
  BIND,
  BOUND,
  LIMIT,
  RESET_CODE,
  type ResetCode,
  SESSION_CODE,
  type SessionCode,
  TUNING,
  UNBIND,
  VERSION,
} from './wire.ts'
