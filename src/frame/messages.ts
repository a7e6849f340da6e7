// The control messages: their types, the schema that turns a stranger's bytes into one of them, and how they are packed.
// Registration's messages stand alone at the start of a connection; the others travel inside a session.
import { Packr } from 'msgpackr/pack'
import { Unpackr } from 'msgpackr/unpack'
import * as v from 'valibot'
import { frame, Violation } from './codec.ts'
import { guard } from './guard.ts'
import {
  ACK,
  BIND,
  BOUND,
  DATA_INIT,
  GOAWAY,
  INIT,
  LIMIT,
  RESET,
  RESET_CODE,
  RESUME,
  RESUMED,
  SESSION_CODE,
  UNBIND,
  VERSION,
} from './wire.ts'

const packr = new Packr({ useRecords: false, variableMapSize: true, encodeUndefinedAsNil: false })
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, copyBuffers: true })

const u32 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff_ffff))
const streamId = v.pipe(u32, v.minValue(1))
const bin = (length: number) =>
  v.pipe(
    v.custom<Buffer>(x => x instanceof Uint8Array),
    v.check(b => b.length === length),
  )
const text = (bytes: number) =>
  v.pipe(
    v.string(),
    v.check(s => Buffer.byteLength(s) <= bytes),
  )
const credit = v.pipe(u32, v.maxValue(LIMIT.credit))
const port = v.pipe(u32, v.minValue(1), v.maxValue(65_535))
const tunnelId = v.pipe(u32, v.maxValue(0xffff))

/**
 * What an agent asks for: `port` null takes what the pool gives. `name` is the service's, the same at every start.
 * `yields`: only if no other process of this key has it; otherwise it is taken over.
 */
const tunnelAsked = v.strictObject({
  id: tunnelId,
  name: v.pipe(text(64), v.minLength(1)),
  port: v.nullable(port),
  yields: v.optional(v.literal(true)),
})
export type TunnelAsked = v.InferOutput<typeof tunnelAsked>

/** What the relay made of it: a public address, or a refusal with a code of errors.ts. */
const tunnelAnswer = v.union([
  v.strictObject({ id: tunnelId, host: text(255), port, epoch: u32 }),
  v.strictObject({ id: tunnelId, refused: text(32), why: text(LIMIT.text) }),
])
export type TunnelAnswer = v.InferOutput<typeof tunnelAnswer>

/** Outside Linux a machine's name may be longer. */
const NAME_BYTES = 64

const initBody = v.strictObject({
  version: u32,
  role: v.picklist([1, 2]),
  key: bin(32),
  /** Random, one for each process: a restarted agent is told from one that is still running. */
  instance: bin(16),
  name: text(NAME_BYTES),
  credit,
  capabilities: v.pipe(v.array(text(32)), v.maxLength(16)),
  tunnels: v.pipe(v.array(tunnelAsked), v.maxLength(LIMIT.tunnels)),
  token: v.optional(bin(16)),
})
export type InitBody = v.InferOutput<typeof initBody>

const ackBody = v.strictObject({
  version: u32,
  session: bin(16),
  credit,
  capabilities: v.pipe(v.array(text(32)), v.maxLength(16)),
  tunnels: v.pipe(v.array(tunnelAnswer), v.maxLength(LIMIT.tunnels)),
})
export type AckBody = v.InferOutput<typeof ackBody>

/** The numbers of a version that is not ours: all that is read of such an INIT. */
const anyVersion = v.object({ version: u32 })

export type Control =
  | { type: typeof DATA_INIT; stream: number; tunnel: number; visitor: string; edge: string; credit: number }
  | { type: typeof RESET; stream: number; code: number; text: string }
  | { type: typeof GOAWAY; code: number; text: string; last: number }
  | { type: typeof BIND; tunnel: TunnelAsked }
  | { type: typeof BOUND; answer: TunnelAnswer }
  | { type: typeof UNBIND; tunnel: number }

const zero = v.literal(0)
const resetCode = v.pipe(u32, v.maxValue(Math.max(...Object.values(RESET_CODE), ...Object.values(SESSION_CODE))))
const shapes = {
  [DATA_INIT]: v.strictTuple([v.literal(DATA_INIT), streamId, tunnelId, text(64), text(64), credit]),
  [RESET]: v.strictTuple([v.literal(RESET), u32, resetCode, text(LIMIT.text)]),
  [GOAWAY]: v.strictTuple([v.literal(GOAWAY), zero, resetCode, text(LIMIT.text), u32]),
  [BIND]: v.strictTuple([v.literal(BIND), zero, tunnelAsked]),
  [BOUND]: v.strictTuple([v.literal(BOUND), zero, tunnelAnswer]),
  [UNBIND]: v.strictTuple([v.literal(UNBIND), zero, tunnelId]),
}

function read<const T extends v.GenericSchema>(schema: T, value: unknown, what: string): v.InferOutput<T> {
  const result = v.safeParse(schema, value, { abortEarly: true })
  if (!result.success) throw new Violation(`${what}: not as specified`)
  return result.output
}

function unpackGuarded(body: Buffer): unknown {
  guard(body)
  try {
    return unpackr.unpack(body)
  } catch {
    throw new Violation('msgpack: not readable')
  }
}

/** The control message in `body`, which may be any bytes at all. Throws a Violation. */
export function readControl(body: Buffer): Control {
  const value = unpackGuarded(body)
  if (!Array.isArray(value)) throw new Violation('frame: not an array')
  switch (value[0]) {
    case DATA_INIT: {
      const [type, stream, tunnel, visitor, edge, first] = read(shapes[DATA_INIT], value, 'DATA_INIT')
      return { type, stream, tunnel, visitor, edge, credit: first }
    }
    case RESET: {
      const [type, stream, code, reason] = read(shapes[RESET], value, 'RESET')
      if (stream !== 0 && code > RESET_CODE.PROTOCOL) throw new Violation('RESET: unknown code')
      return { type, stream, code, text: reason }
    }
    case GOAWAY: {
      const [type, , code, reason, last] = read(shapes[GOAWAY], value, 'GOAWAY')
      return { type, code, text: reason, last }
    }
    case BIND: {
      const [type, , tunnel] = read(shapes[BIND], value, 'BIND')
      return { type, tunnel }
    }
    case BOUND: {
      const [type, , answer] = read(shapes[BOUND], value, 'BOUND')
      return { type, answer }
    }
    case UNBIND: {
      const [type, , tunnel] = read(shapes[UNBIND], value, 'UNBIND')
      return { type, tunnel }
    }
    default:
      throw new Violation('frame: a type that has no place in a session')
  }
}

/** A whole frame, ready for the ring. */
export function controlFrame(m: Control): Buffer {
  switch (m.type) {
    case DATA_INIT:
      return frame(packr.pack([m.type, m.stream, m.tunnel, m.visitor, m.edge, m.credit]))
    case RESET:
      return frame(packr.pack([m.type, m.stream, m.code, clip(m.text)]))
    case GOAWAY:
      return frame(packr.pack([m.type, 0, m.code, clip(m.text), m.last]))
    case BIND:
      return frame(packr.pack([m.type, 0, m.tunnel]))
    case BOUND:
      return frame(packr.pack([m.type, 0, clipped(m.answer)]))
    case UNBIND:
      return frame(packr.pack([m.type, 0, m.tunnel]))
  }
}

/** At most `bytes` of `s`, cut between characters. Half a surrogate pair would not be UTF-8 to the peer. */
function clip(s: string, bytes: number = LIMIT.text): string {
  const whole = s.toWellFormed()
  if (Buffer.byteLength(whole) <= bytes) return whole
  let cut = whole.slice(0, bytes)
  while (Buffer.byteLength(cut) > bytes || !cut.isWellFormed()) cut = cut.slice(0, -1)
  return cut
}

function clipped(answer: TunnelAnswer): TunnelAnswer {
  return 'why' in answer ? { ...answer, why: clip(answer.why) } : answer
}

/** The bytes that an agent signs and sends as INIT's body. */
export function packInitBody(body: InitBody): Buffer {
  return Buffer.from(packr.pack({ ...body, name: clip(body.name, NAME_BYTES) }))
}

export function initFrame(body: Uint8Array, signature: Uint8Array): Buffer {
  return frame(packr.pack([INIT, 0, body, signature]))
}

export function ackFrame(body: AckBody): Buffer {
  return frame(packr.pack([ACK, 0, { ...body, tunnels: body.tunnels.map(clipped) }]))
}

/** RESET on stream 0, as the only answer to a registration. */
export function refusalFrame(code: number, reason: string): Buffer {
  return controlFrame({ type: RESET, stream: 0, code, text: reason })
}

// Resume: a session goes on over another connection.

/** A position, which msgpackr must not see as a number: 8 bytes, big-endian. */
const position = v.pipe(
  bin(8),
  v.transform(b => Buffer.from(b).readUInt32BE(0) * 0x1_0000_0000 + Buffer.from(b).readUInt32BE(4)),
  v.maxValue(LIMIT.position),
)

function packPosition(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32BE(Math.floor(value / 0x1_0000_0000), 0)
  bytes.writeUInt32BE(value >>> 0, 4)
  return bytes
}

const resumeBody = v.strictObject({ session: bin(16), attempt: v.pipe(u32, v.minValue(1)), position })
export type ResumeBody = v.InferOutput<typeof resumeBody>

/** The bytes that an agent signs and sends as RESUME's body. */
export function packResumeBody(body: ResumeBody): Buffer {
  return Buffer.from(packr.pack({ ...body, position: packPosition(body.position) }))
}

export function resumeFrame(body: Uint8Array, signature: Uint8Array): Buffer {
  return frame(packr.pack([RESUME, 0, body, signature]))
}

export function resumedFrame(at: number): Buffer {
  return frame(packr.pack([RESUMED, 0, packPosition(at)]))
}

export type Resume = { body: ResumeBody; signed: Buffer; signature: Buffer }

export type Init = { body: InitBody; signed: Buffer; signature: Buffer }

const signature = bin(64)
const anyBin = v.custom<Buffer>(x => x instanceof Uint8Array)
const initShape = v.strictTuple([v.literal(INIT), zero, anyBin, signature])

const resumeShape = v.strictTuple([v.literal(RESUME), zero, anyBin, signature])

/** What a connection to the relay begins with: INIT or RESUME. Throws a Violation. */
export function readFirst(body: Buffer): { init: Init } | { resume: Resume } {
  const value = unpackGuarded(body)
  if (!Array.isArray(value) || value[0] !== RESUME) return { init: readInit(body) }
  const [, , signed, sig] = read(resumeShape, value, 'RESUME')
  const resumed = read(resumeBody, unpackGuarded(Buffer.from(signed)), 'RESUME')
  return { resume: { body: resumed, signed: Buffer.from(signed), signature: Buffer.from(sig) } }
}

/** The INIT in `body`; `signed` are the bytes that the signature covers, as received. Throws a Violation. */
export function readInit(body: Buffer): Init {
  const [, , signed, sig] = read(initShape, unpackGuarded(body), 'INIT')
  const value = unpackGuarded(Buffer.from(signed))
  // Another version may have other fields: it is told so rather than called malformed.
  const { version } = read(anyVersion, value, 'INIT')
  if (version !== VERSION) throw new Violation(`version ${version}`, SESSION_CODE.VERSION)
  return { body: read(initBody, value, 'INIT'), signed: Buffer.from(signed), signature: Buffer.from(sig) }
}

const refusalShape = shapes[RESET]
const ackShape = v.strictTuple([v.literal(ACK), zero, ackBody])

export type Registration = { ok: true; ack: AckBody } | { ok: false; code: number; text: string }

/** What the relay answered to INIT. Throws a Violation. */
export function readRegistration(body: Buffer): Registration {
  const value = unpackGuarded(body)
  if (Array.isArray(value) && value[0] === RESET) {
    const [, stream, code, reason] = read(refusalShape, value, 'RESET')
    if (stream !== 0) throw new Violation('RESET: not of the session')
    return { ok: false, code, text: reason }
  }
  const [, , ack] = read(ackShape, value, 'ACK')
  if (ack.version !== VERSION) throw new Violation(`version ${ack.version}`, SESSION_CODE.VERSION)
  return { ok: true, ack }
}

const resumedShape = v.strictTuple([v.literal(RESUMED), zero, position])

export type Resumption = { ok: true; position: number } | { ok: false; code: number; text: string }

/** What the relay answered to RESUME. Throws a Violation. */
export function readResumption(body: Buffer): Resumption {
  const value = unpackGuarded(body)
  if (Array.isArray(value) && value[0] === RESET) {
    const [, stream, code, reason] = read(refusalShape, value, 'RESET')
    if (stream !== 0) throw new Violation('RESET: not of the session')
    return { ok: false, code, text: reason }
  }
  const [, , at] = read(resumedShape, value, 'RESUMED')
  return { ok: true, position: at }
}
