// The constants of docs/protocol.md: frame types, fixed layouts, codes, and every limit of the wire, all in this file.

/** ALPN protocol name; both ends check it. */
export const ALPN = 'warren/1'
/** The version inside INIT and ACK. */
export const VERSION = 1

/** Frame types: the second byte of every body. */
export const INIT = 0
export const ACK = 1
export const DATA_INIT = 2
export const DATA = 3
export const CREDIT = 4
export const FIN = 5
export const RESET = 6
export const PING = 7
export const PONG = 8
export const GOAWAY = 9
export const BIND = 10
export const BOUND = 11
export const UNBIND = 12
export const RECEIPT = 13
export const RESUME = 14
export const RESUMED = 15

/** Sizes in bytes of the frames with one fixed layout, length prefix included; DATA's is its header. */
export const SIZE = { DATA: 16, CREDIT: 16, FIN: 11, RECEIPT: 16, PING: 12 } as const

/** Bytes of the length prefix. */
export const PREFIX = 4

export const LIMIT = {
  /** Payload of one DATA frame. */
  payload: 262_144,
  /** Body of any other frame. */
  control: 65_536,
  /** Body of INIT: what a stranger may send. */
  stranger: 4_096,
  /** Nesting of a control frame's values. */
  depth: 4,
  /** A key of a map, in bytes of UTF-8. */
  key: 64,
  /** What a control frame may take in memory when it is unpacked: so many times its bytes ... */
  unpackedFactor: 4,
  /** ... and so many bytes more: 64 KiB, less a margin for what the estimate leaves out. */
  unpackedFree: 61_440,
  /** Text in RESET and GOAWAY, in bytes of UTF-8. */
  text: 256,
  /** Streams open at once in one session; one more is answered with BUSY. */
  streams: 32_768,
  /** Credit a side may hold on one stream. */
  credit: 16 * 1024 * 1024,
  /** Stream ids; a session that used them up ends, and another begins. */
  streamId: 0xffff_ffff,
  /** Positions: a session ends before it has carried more. */
  position: Number.MAX_SAFE_INTEGER,
  /** Tunnels of one session. */
  tunnels: 256,
} as const

/** RESET codes on a stream: why a stream ended that did not end by FIN. */
export const RESET_CODE = {
  /** The service's or the visitor's connection was reset, or its carrier is gone. */
  ABORTED: 0,
  /** The local service refused the connection. */
  REFUSED: 1,
  /** Dialling the local service took too long. */
  TIMEOUT: 2,
  /** No route, no such host, no such socket. */
  UNREACHABLE: 3,
  /** The agent is out of descriptors. */
  LOCAL_LIMIT: 4,
  /** The tunnel id is not one of this session. */
  NO_TUNNEL: 5,
  DENIED: 6,
  /** Over a limit of streams or of buffered bytes. */
  BUSY: 7,
  PROTOCOL: 8,
} as const
export type ResetCode = (typeof RESET_CODE)[keyof typeof RESET_CODE]

/** Codes of RESET on stream 0 and of GOAWAY: why a session is refused or over. */
export const SESSION_CODE = {
  /** The same answer to everything that is not to be told apart. */
  REFUSED: 0,
  SPENT: 1,
  EXPIRED: 2,
  VERSION: 3,
  PROTOCOL: 4,
  REPLACED: 5,
  REVOKED: 6,
  /** The process ends; GOAWAY says so before. */
  SHUTDOWN: 7,
  BUSY: 8,
  /** RESUME: the session is not known, or its hold has passed. */
  UNKNOWN: 9,
  /** RESUME: the position is outside the ring. */
  RANGE: 10,
  /** Silent for longer than the limit; said for the log, it rarely arrives. */
  DEAD: 11,
} as const
export type SessionCode = (typeof SESSION_CODE)[keyof typeof SESSION_CODE]

/** Defaults of a session. Times in ms, sizes in bytes. */
export const TUNING = {
  /** Credit of a new stream, each way, before it is known to need more. */
  firstCredit: 65_536,
  /** Near by, its window grows to so much at first, ... */
  unprovenCredit: 524_288,
  /** ... and beyond once so many bytes were taken: more than a system's buffers, left as they are, take for a reader that never reads. */
  proof: 8 * 1024 * 1024,
  /** A block of the send ring: what Bun hands to the kernel in one call. */
  block: 131_072,
  /** A receipt is due after so many bytes. */
  receiptBytes: 131_072,
  /** ... and after so many does not wait for the end of the turn in which they are read. */
  receiptAtOnce: 1_048_576,
  /** ... or so long after the first unreceipted byte. */
  receiptDelay: 25,
  /** ... or, once so many are not receipted, ... */
  receiptSoonBytes: 32_768,
  /** ... so much later: on a slow link the sender would wait long for the first limit. */
  receiptSoon: 4,
  /** The window in flight while no rate is known. */
  window: 262_144,
  /** The window's upper bound. */
  windowMax: 16 * 1024 * 1024,
  /** A stream whose whole backlog is at most this is small: it goes before bulk. */
  small: 4_096,
  /** What small streams may have in flight above the window. */
  smallRoom: 131_072,
  /** What control frames may have in flight above that. */
  controlRoom: 65_536,
  /** The last part of it, which only RECEIPT, PING and PONG may use: without it two full rings deadlock. */
  receiptRoom: 16_384,
  /** Small streams' share of a turn while bulk waits. */
  smallTurn: 65_536,
  /** Bulk does not send less than this because the window has no room for more. */
  crumb: 8_192,
  quantumMin: 32_768,
  quantumMax: 131_072,
  /** The best rate is the best of so many ms. */
  rateWindow: 10_000,
  /** Silent for so long: dead. */
  deadAfter: 5_000,
} as const
