// The invite: the one line that lets a new agent join. After the '#', in base64url:
//   flags u8 (1: for several uses) ‖ pin 32 ‖ token 16 ‖ check 5
// 54 bytes make exactly 72 characters, without slack bits that could be spelled two ways. The check covers host and port
// too: an address damaged on the way would otherwise show as a relay that cannot be reached.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { WarrenError } from '../errors.ts'

export type Invite = {
  readonly host: string
  readonly port: number
  /** SHA-256 of the relay certificate's SubjectPublicKeyInfo. */
  readonly pin: Uint8Array
  readonly token: Uint8Array
  /** Good for several uses: worth stealing until it expires, so it has no place on a command line. */
  readonly shared: boolean
}

const SCHEME = 'warren://'
const PIN = 32
const TOKEN = 16
const CHECK = 5
const SECRET = 1 + PIN + TOKEN
const CHARACTERS = ((SECRET + CHECK) / 3) * 4
const SHARED = 1

/** A new one-time token. The relay keeps only `hashToken` of it. */
export function newToken(): Uint8Array {
  return new Uint8Array(randomBytes(TOKEN))
}

/** What the relay stores: 128 random bits need no salt and no slow hash. */
export function hashToken(token: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update('warren-token-v1\0').update(token).digest())
}

/** Whether a text means to be an invite, whole or not; a bare HOST:PORT does not. */
export function looksLikeInvite(text: string): boolean {
  return text.trim().toLowerCase().startsWith(SCHEME)
}

/** Whether an invite can name a relay by this host, with or without brackets. */
export function isInvitable(host: string): boolean {
  return readAddress(addressOf(host, 1)) !== null
}

function addressOf(host: string, port: number): string {
  const name = host.startsWith('[') ? host.slice(1, -1) : host
  return `${name.includes(':') ? `[${name}]` : name}:${port}`.toLowerCase()
}

export function formatInvite(invite: Invite): string {
  const { host, port, pin, token, shared } = invite
  if (pin.length !== PIN || token.length !== TOKEN)
    throw new WarrenError('W-INTERNAL', 'the parts of an invite have wrong lengths')
  const address = addressOf(host, port)
  if (readAddress(address) === null) throw new WarrenError('W-ADDRESS', `an invite cannot name the relay ${address}`)
  const secret = Buffer.concat([Buffer.of(shared ? SHARED : 0), pin, token])
  return `${SCHEME}${address}/#${Buffer.concat([secret, check(address, secret)]).toString('base64url')}`
}

/** Reads an invite, and nothing that only resembles one. Its errors never repeat what is behind the '#'. */
export function parseInvite(text: string): Invite {
  const line = text.trim()
  if (!looksLikeInvite(line)) throw damaged(`it does not begin with ${SCHEME}`)
  const hash = line.indexOf('#')
  if (hash < 0 || hash === line.length - 1) {
    throw damaged("it ends before or at its '#': the shell may have taken the rest for a comment")
  }
  const before = line.slice(SCHEME.length, hash)
  if (!before.endsWith('/')) throw damaged("there is no '/' before its '#'")
  const address = before.slice(0, -1).toLowerCase()
  const where = readAddress(address)
  if (where === null) throw damaged(`${SCHEME} is not followed by HOST:PORT/, with an IPv6 address in brackets`)

  const encoded = line.slice(hash + 1)
  if (!/^[A-Za-z0-9_-]+$/.test(encoded)) throw damaged("there is a character behind its '#' that does not belong there")
  if (encoded.length !== CHARACTERS) {
    throw damaged(`${CHARACTERS} characters should follow its '#', and there are ${encoded.length}`)
  }
  const bytes = Buffer.from(encoded, 'base64url')
  const secret = bytes.subarray(0, SECRET)
  // No secret is guessed here, but comparing in constant time costs nothing and keeps the rule without exceptions.
  if (!timingSafeEqual(bytes.subarray(SECRET), check(address, secret))) {
    throw damaged('its check does not fit: a character of it, or of the host or port, was changed')
  }
  const flags = bytes.readUInt8()
  if ((flags & ~SHARED) !== 0) throw damaged('it is of a kind that this version of warren does not know')
  return {
    ...where,
    pin: new Uint8Array(bytes.subarray(1, 1 + PIN)),
    token: new Uint8Array(bytes.subarray(1 + PIN, SECRET)),
    shared: flags === SHARED,
  }
}

function damaged(what: string): WarrenError {
  return new WarrenError('W-INVITE-FORM', `the invite cannot be read: ${what}`)
}

function check(address: string, secret: Uint8Array): Buffer {
  const hash = createHash('sha256').update('warren-invite-v1\0').update(address).update('\0').update(secret).digest()
  return hash.subarray(0, CHECK)
}

/** host:port, in lower case and with an IPv6 host in brackets, which the result has not. */
function readAddress(address: string): { host: string; port: number } | null {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9.])?)):([1-9]\d{0,4})$/.exec(address)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2]
  if (host === undefined || port > 65_535) return null
  if (match?.[1] !== undefined && !URL.canParse(`http://[${host}]/`)) return null
  return { host, port }
}
