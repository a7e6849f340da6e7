// Ed25519 keys: who an agent or a connector is. Files are in OpenSSH's format, so that ssh-keygen reads and makes them;
// verification is the strict one, and keys of small order or of a second spelling are nobody's.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  randomBytes,
  sign,
  verify as verifyByRuntime,
} from 'node:crypto'
import * as ed25519 from '@noble/ed25519'
import { WarrenError } from '../errors.ts'
import { readStateFile, writeStateFile } from './file.ts'

export interface KeyPair {
  readonly publicKey: Uint8Array
  sign(message: Uint8Array): Uint8Array
}

const ALGORITHM = 'ssh-ed25519'
const MAGIC = 'openssh-key-v1\0'
const BEGIN = '-----BEGIN OPENSSH PRIVATE KEY-----'
const END = '-----END OPENSSH PRIVATE KEY-----'
/** Where ssh-keygen breaks the lines. */
const COLUMNS = 70
/** What the private part is padded to without a cipher. */
const BLOCK = 8

/** What stands before an Ed25519 seed in PKCS #8, and before a public key in SubjectPublicKeyInfo (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')
const KEY_BYTES = 32

/**
 * The key is a private field: it shows in no log, no JSON and no inspection. Whatever needs the secret is done by the
 * runtime's own code, in constant time, and without the tables that an agent would otherwise compute at its start.
 */
class SeedKeyPair implements KeyPair {
  readonly publicKey: Uint8Array
  readonly #key: KeyObject

  constructor(seed: Uint8Array) {
    this.#key = createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' })
    const spki = createPublicKey(this.#key).export({ format: 'der', type: 'spki' })
    this.publicKey = new Uint8Array(spki.subarray(-KEY_BYTES))
  }

  sign(message: Uint8Array): Uint8Array {
    return new Uint8Array(sign(null, message, this.#key))
  }
}

/** Whether a signature is good: canonical S, R and key, no key of small order. False, never a throw, for any bytes. */
export function verify(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  if (signature.length !== 64 || !isCanonicalKey(publicKey)) return false
  // The runtime takes any spelling of a key, and keys of small order; S and R it checks itself.
  const key = createPublicKey({ key: Buffer.concat([SPKI, publicKey]), format: 'der', type: 'spki' })
  return verifyByRuntime(null, message, key, signature)
}

/** Whether these bytes are the one spelling of a point on the curve that can be somebody's key. */
export function isCanonicalKey(publicKey: Uint8Array): boolean {
  if (publicKey.length !== KEY_BYTES) return false
  try {
    return !ed25519.Point.fromBytes(publicKey, false).isSmallOrder()
  } catch {
    return false
  }
}

/** As `ssh-keygen -l` prints it. */
export function fingerprint(publicKey: Uint8Array): string {
  return `SHA256:${createHash('sha256').update(publicBlob(publicKey)).digest('base64').replace(/=+$/, '')}`
}

/** A line as in a .pub file or authorized_keys, without a final newline. */
export function formatPublicKeyLine(publicKey: Uint8Array, comment: string): string {
  return `${ALGORITHM} ${publicBlob(publicKey).toString('base64')} ${oneLine(comment)}`.trimEnd()
}

/** Whether a text means to be such a line, and not a name, which has no blank. */
export function looksLikeKeyLine(text: string): boolean {
  return /^ssh-\S+\s/.test(text)
}

/** Reads such a line; options before the algorithm, other algorithms and keys that nobody can have are refused. */
export function parsePublicKeyLine(line: string): { publicKey: Uint8Array; comment: string } {
  const text = line.trim()
  if (/[\r\n]/.test(text)) throw new WarrenError('W-USAGE', 'that is more than one line; a public key is one')
  const match = /^(\S+)[ \t]+(\S+)(?:[ \t]+(.*))?$/.exec(text)
  if (match?.[1] !== ALGORITHM || match[2] === undefined) {
    throw new WarrenError('W-USAGE', `a public key is a line '${ALGORITHM} AAAA… comment', as a .pub file has it`)
  }
  const blob = Buffer.from(match[2], 'base64')
  const publicKey = new Uint8Array(blob.subarray(-32))
  if (blob.toString('base64') !== match[2] || !blob.equals(publicBlob(publicKey))) {
    throw new WarrenError('W-USAGE', 'the public key is damaged: copy the whole line of the .pub file')
  }
  if (!isCanonicalKey(publicKey)) throw new WarrenError('W-USAGE', 'the public key is not one that anybody can have')
  return { publicKey, comment: match[3]?.trim() ?? '' }
}

/** The key of a file; null when there is no such file. Others' eyes, a passphrase or another format: W-KEY-FILE. */
export function loadKey(path: string): KeyPair | null {
  const text = readStateFile(path, 'private', 'W-KEY-FILE')
  return text === null ? null : parsePrivateKey(text, path)
}

/** A new key in `path`, and its public line in `path`.pub. A key that is there already is never written over. */
export function createKey(path: string, comment: string): KeyPair {
  const key = writeKey(path, comment)
  if (key === null) throw new WarrenError('W-KEY-FILE', `there is a key in ${path} already`)
  return key
}

/** The key of a file, made when it is not there; two processes that start at once get the same one. */
export function loadOrCreateKey(path: string, comment: string): KeyPair {
  const key = loadKey(path) ?? writeKey(path, comment) ?? loadKey(path)
  if (key === null) throw new WarrenError('W-KEY-FILE', `${path} was removed while it was made`)
  return key
}

function writeKey(path: string, comment: string): KeyPair | null {
  const seed = new Uint8Array(randomBytes(32))
  const key = new SeedKeyPair(seed)
  if (!writeStateFile(path, formatPrivateKey(seed, key.publicKey, comment), 0o600, 'keep', 'W-KEY-FILE')) return null
  writeStateFile(`${path}.pub`, `${formatPublicKeyLine(key.publicKey, comment)}\n`, 0o644, 'replace', 'W-KEY-FILE')
  return key
}

function publicBlob(publicKey: Uint8Array): Buffer {
  return Buffer.concat([sshString(ALGORITHM), sshString(publicKey)])
}

/** A comment ends at its line's end: what would begin another line, or steer a terminal, is left out. */
function oneLine(comment: string): string {
  return comment.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '')
}

function sshString(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([u32(bytes.length), bytes])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

// PROTOCOL.key of OpenSSH: magic, cipher, kdf, its options, count, public blob, private part. The two equal check
// numbers tell a wrong passphrase from a right one; without a passphrase they only have to be equal.
function formatPrivateKey(seed: Uint8Array, publicKey: Uint8Array, comment: string): string {
  const check = randomBytes(4)
  const parts = [
    check,
    check,
    publicBlob(publicKey),
    sshString(Buffer.concat([seed, publicKey])),
    sshString(oneLine(comment)),
  ]
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const padding = Buffer.from(Array.from({ length: (BLOCK - (length % BLOCK)) % BLOCK }, (_, i) => i + 1))
  const file = Buffer.concat([
    Buffer.from(MAGIC),
    sshString('none'),
    sshString('none'),
    sshString(''),
    u32(1),
    sshString(publicBlob(publicKey)),
    sshString(Buffer.concat([...parts, padding])),
  ])
  const lines = file.toString('base64').match(new RegExp(`.{1,${COLUMNS}}`, 'g')) ?? []
  return `${[BEGIN, ...lines, END].join('\n')}\n`
}

function parsePrivateKey(text: string, path: string): KeyPair {
  const lines = text.trim().split(/\r?\n/)
  if (lines[0] !== BEGIN || lines.at(-1) !== END) {
    throw new WarrenError('W-KEY-FILE', `${path} is not a whole OpenSSH private key`)
  }
  const encoded = lines.slice(1, -1).join('')
  const bytes = Buffer.from(encoded, 'base64')
  const damaged = () => new WarrenError('W-KEY-FILE', `${path} is damaged: it is not a whole OpenSSH private key`)
  if (bytes.toString('base64') !== encoded) throw damaged()

  const file = new Reader(bytes, damaged)
  if (file.take(MAGIC.length).toString('latin1') !== MAGIC) throw damaged()
  if (file.string().toString() !== 'none' || file.string().toString() !== 'none') {
    throw new WarrenError('W-KEY-FILE', `${path} has a passphrase; warren cannot ask for one`)
  }
  if (file.string().length !== 0 || file.u32() !== 1) throw damaged()
  const outer = file.string()
  const algorithm = new Reader(outer, damaged).string().toString('latin1')
  if (algorithm !== ALGORITHM) {
    throw new WarrenError('W-KEY-FILE', `${path} is not an Ed25519 key (make one with \`ssh-keygen -t ed25519 -N ''\`)`)
  }

  const secret = new Reader(file.string(), damaged)
  file.finish()
  const check = secret.u32()
  if (secret.u32() !== check || secret.string().toString('latin1') !== ALGORITHM) throw damaged()
  const inner = secret.string()
  const pair = secret.string()
  secret.string()
  const padding = secret.rest()
  if (padding.length >= BLOCK || padding.some((byte, i) => byte !== i + 1) || pair.length !== 64) throw damaged()

  const key = new SeedKeyPair(new Uint8Array(pair.subarray(0, 32)))
  // A public half that is not this seed's would sign with one key in the name of another.
  const same = inner.equals(key.publicKey) && pair.subarray(32).equals(key.publicKey) && outer.equals(publicBlob(inner))
  if (!same) throw damaged()
  return key
}

/** Walks SSH's length-prefixed fields; any step beyond the end is the caller's error. */
class Reader {
  #at = 0

  constructor(
    private readonly bytes: Buffer,
    private readonly damaged: () => WarrenError,
  ) {}

  take(length: number): Buffer {
    if (length > this.bytes.length - this.#at) throw this.damaged()
    this.#at += length
    return this.bytes.subarray(this.#at - length, this.#at)
  }

  u32(): number {
    return this.take(4).readUInt32BE()
  }

  string(): Buffer {
    return this.take(this.u32())
  }

  rest(): Buffer {
    return this.take(this.bytes.length - this.#at)
  }

  finish(): void {
    if (this.#at !== this.bytes.length) throw this.damaged()
  }
}
