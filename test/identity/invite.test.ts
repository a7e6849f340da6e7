import { describe, expect, test } from 'bun:test'
import { WarrenError } from '../../src/errors.ts'
import { formatInvite, hashToken, looksLikeInvite, newToken, parseInvite } from '../../src/identity/index.ts'
import vectors from '../vectors/invite.json'

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))
const invites = vectors.invites.map(({ line, tokenHash, ...rest }) => ({
  line,
  tokenHash: bytes(tokenHash),
  invite: { ...rest, pin: bytes(rest.pin), token: bytes(rest.token) },
}))
const LINE = invites[0]?.line ?? ''
const SECRET = LINE.slice(LINE.indexOf('#') + 1)

function refused(line: string, says: string): void {
  let message = ''
  try {
    parseInvite(line)
  } catch (thrown) {
    expect(thrown).toMatchObject({ code: 'W-INVITE-FORM' })
    message = (thrown as Error).message
  }
  expect(message).toContain(says)
  expect(message).not.toContain(SECRET.slice(0, 12))
}

/** The line with other bytes behind the '#', and a check that fits them. */
function resealed(address: string, secret: Uint8Array): string {
  const hash = new Bun.CryptoHasher('sha256').update('warren-invite-v1\0').update(address).update('\0').update(secret)
  const all = Buffer.concat([secret, hash.digest().subarray(0, 5)])
  return `warren://${address}/#${all.toString('base64url')}`
}

describe('invites', () => {
  test('are those of the vectors, both ways', () => {
    for (const { line, invite, tokenHash } of invites) {
      expect(formatInvite(invite)).toBe(line)
      expect(parseInvite(line)).toEqual(invite)
      expect(hashToken(invite.token)).toEqual(tokenHash)
    }
  })

  test('one for several uses can be told apart', () => {
    const invite = invites[0]?.invite
    if (invite === undefined) throw new Error('no vector')
    for (const shared of [true, false]) expect(parseInvite(formatInvite({ ...invite, shared })).shared).toBe(shared)
  })

  test('white space around it and capital letters in the host do no harm', () => {
    expect(parseInvite(` \t${LINE}\r\n`)).toEqual(parseInvite(LINE))
    expect(parseInvite(LINE.replace('warren://relay', 'WARREN://Relay'))).toEqual(parseInvite(LINE))
    const invite = parseInvite(LINE)
    expect(formatInvite({ ...invite, host: 'Relay.Example.COM' })).toBe(LINE)
    expect(parseInvite(formatInvite({ ...invite, host: '2001:DB8::A' })).host).toBe('2001:db8::a')
    expect(parseInvite(formatInvite({ ...invite, host: '[::1]' })).host).toBe('::1')
  })

  test('any other character anywhere is noticed', () => {
    for (const { line } of invites) {
      for (let at = 0; at < line.length; at++) {
        for (const other of ['x', 'Q', '7', '-', '_', '/', ':', '#', '.', '=', ' ', '%', '\u0000', 'é']) {
          const changed = line.slice(0, at) + other + line.slice(at + 1)
          if (changed.toLowerCase().trim() === line.toLowerCase() && at < line.indexOf('#')) continue
          if (changed === line) continue
          expect(() => parseInvite(changed)).toThrow(expect.objectContaining({ code: 'W-INVITE-FORM' }))
        }
      }
    }
  })

  test('any part of it is noticed, and anything put in', () => {
    for (const { line } of invites) {
      for (let at = 0; at < line.length; at++) {
        expect(() => parseInvite(line.slice(0, at))).toThrow(expect.objectContaining({ code: 'W-INVITE-FORM' }))
        const without = line.slice(0, at) + line.slice(at + 1)
        expect(() => parseInvite(without)).toThrow(expect.objectContaining({ code: 'W-INVITE-FORM' }))
        const doubled = line.slice(0, at) + line.charAt(at) + line.slice(at)
        expect(() => parseInvite(doubled)).toThrow(expect.objectContaining({ code: 'W-INVITE-FORM' }))
      }
    }
  })

  test('the error says what is wrong, and never the secret', () => {
    refused('relay.example.com:7000', 'begin with warren://')
    refused('', 'begin with warren://')
    refused('warren://relay.example.com:7000/', 'shell')
    refused('warren://relay.example.com:7000/#', 'shell')
    refused(LINE.replace('/#', '#'), "'/'")
    refused(LINE.replace(':7000', ''), 'HOST:PORT')
    refused(LINE.replace(':7000', ':70000'), 'HOST:PORT')
    refused(LINE.replace(':7000', ':0'), 'HOST:PORT')
    refused(LINE.replace(':7000', ':07000'), 'HOST:PORT')
    refused(LINE.replace('relay.example.com', '2001:db8::1'), 'brackets')
    refused(LINE.replace('relay.example.com', '[2001:db8::g]'), 'brackets')
    refused(LINE.replace('relay.example.com', '[::ffff::1]'), 'brackets')
    refused(LINE.replace('relay.example.com', '[relay]'), 'brackets')
    refused(LINE.replace('relay.example.com', 'me@relay'), 'HOST:PORT')
    refused(LINE.replace('relay.example.com', ''), 'HOST:PORT')
    refused(LINE.slice(0, -1), 'there are 71')
    refused(`${LINE}a`, 'there are 73')
    refused(`${LINE.slice(0, -1)}=`, 'character')
    refused(LINE.replace('7000', '7001'), 'check')
    refused(LINE.replace('relay.', 'relax.'), 'check')
  })

  test('kinds that a newer version may make are refused, not taken for known ones', () => {
    const secret = Buffer.from(SECRET, 'base64url').subarray(0, 49)
    expect(resealed('relay.example.com:7000', secret)).toBe(LINE)
    for (const flags of [2, 3, 4, 0x80, 0xff]) {
      refused(resealed('relay.example.com:7000', Buffer.concat([Buffer.of(flags), secret.subarray(1)])), 'version')
    }
  })

  test('only a warren:// line means to be one', () => {
    expect(looksLikeInvite(LINE)).toBe(true)
    expect(looksLikeInvite(' Warren://cut')).toBe(true)
    for (const text of ['relay.example.com:7000', '[::1]:7000', 'https://relay/#x', 'warren', '']) {
      expect(looksLikeInvite(text)).toBe(false)
    }
  })

  test('an address that cannot be read back is not put into one', () => {
    const invite = parseInvite(LINE)
    for (const host of ['', 'a b', 'a/b', 'a#b', 'user@host', 'fe80::1%eth0', 'päivä.example', '-a', 'x'.repeat(255)]) {
      expect(() => formatInvite({ ...invite, host })).toThrow(expect.objectContaining({ code: 'W-ADDRESS' }))
    }
    for (const port of [0, -1, 65_536, 1.5, Number.NaN]) {
      expect(() => formatInvite({ ...invite, port })).toThrow(expect.objectContaining({ code: 'W-ADDRESS' }))
    }
    for (const wrong of [{ pin: new Uint8Array(31) }, { token: new Uint8Array(17) }]) {
      expect(() => formatInvite({ ...invite, ...wrong })).toThrow(expect.objectContaining({ code: 'W-INTERNAL' }))
    }
  })
})

describe('tokens', () => {
  test('are 128 random bits, and their hash is not theirs', () => {
    const tokens = Array.from({ length: 1_000 }, newToken)
    expect(tokens.every(token => token.length === 16)).toBe(true)
    expect(new Set(tokens.map(token => token.toHex())).size).toBe(1_000)
    const bits = tokens.reduce(
      (sum, token) => sum + token.reduce((all, byte) => all + byte.toString(2).replaceAll('0', '').length, 0),
      0,
    )
    expect(Math.abs(bits / tokens.length - 64)).toBeLessThan(2)
    expect(hashToken(tokens[0] ?? newToken())).toHaveLength(32)
  })
})

describe('an error', () => {
  const said = (text: string) => new WarrenError('W-STATE', text).message

  test('repeats no token, wherever it stood', () => {
    for (const text of [LINE, SECRET, `/state/${SECRET}`, `'${LINE}' twice: ${SECRET}x`])
      expect(said(text)).not.toContain(SECRET.slice(8, 24))
  })

  test('repeats a folder whose name is a hash', () => {
    const folder = `/var/lib/volumes/${'0123456789abcdef'.repeat(4)}/_data`
    expect(said(`cannot keep its state in ${folder}`)).toEndWith(folder)
    expect(said(`${'0123456789abcdef'.repeat(4)}Z`)).toBe('…')
  })
})
