import { describe, expect, test } from 'bun:test'
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import {
  createKey,
  fingerprint,
  formatPublicKeyLine,
  isCanonicalKey,
  loadKey,
  loadOrCreateKey,
  parsePublicKeyLine,
  verify,
} from '../../src/identity/index.ts'
import { temporaryFolder } from '../folder.ts'
import vectors from '../vectors/keys.json'
import * as ed25519 from './ed25519.ts'

const folder = temporaryFolder()
const sshKeygen = Bun.which('ssh-keygen')
const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))
const text = (value: string) => new Uint8Array(Buffer.from(value))
let files = 0

function fresh(): string {
  return join(folder, `key${files++}`)
}

function file(content: string, mode = 0o600): string {
  const path = fresh()
  writeFileSync(path, content, { mode })
  chmodSync(path, mode)
  return path
}

function keygen(...args: string[]): string {
  const run = Bun.spawnSync([sshKeygen ?? 'ssh-keygen', ...args], { stdin: 'ignore' })
  if (run.exitCode !== 0) throw new Error(`ssh-keygen ${args.join(' ')}: ${run.stderr.toString()}`)
  return run.stdout.toString()
}

/** The base64 between the lines of a private key file. */
function unwrap(pem: string): Buffer {
  return Buffer.from(pem.trim().split('\n').slice(1, -1).join(''), 'base64')
}

function wrap(content: Uint8Array): string {
  const lines =
    Buffer.from(content)
      .toString('base64')
      .match(/.{1,70}/g) ?? []
  return ['-----BEGIN OPENSSH PRIVATE KEY-----', ...lines, '-----END OPENSSH PRIVATE KEY-----', ''].join('\n')
}

function refusal(path: string) {
  return expect(() => loadKey(path))
}

describe('key files', () => {
  test('reads what ssh-keygen wrote, with its public line and fingerprint', () => {
    for (const vector of vectors.keys) {
      const key = loadKey(file(vector.privateKey))
      if (key === null) throw new Error('not read')
      expect(fingerprint(key.publicKey)).toBe(vector.fingerprint)
      expect(formatPublicKeyLine(key.publicKey, vector.comment)).toBe(vector.publicLine.trim())
      const line = parsePublicKeyLine(vector.publicLine)
      expect(line).toEqual({ publicKey: key.publicKey, comment: vector.comment })
      const message = text('signed')
      expect(verify(key.sign(message), message, line.publicKey)).toBe(true)
    }
  })

  test('writes what it reads: a private file, and its public line beside it', () => {
    for (const comment of ['', 'a', 'ab', 'abc', 'abcd', 'abcde', 'abcdef', 'abcdefg', 'päivä ✓ db1@example']) {
      const path = fresh()
      const key = createKey(path, comment)
      expect(statSync(path).mode & 0o777).toBe(0o600)
      expect(loadKey(path)?.publicKey).toEqual(key.publicKey)
      expect(parsePublicKeyLine(readFileSync(`${path}.pub`, 'utf8'))).toEqual({ publicKey: key.publicKey, comment })
      const lines = readFileSync(path, 'utf8').split('\n')
      expect(lines.every(line => line.length <= 70)).toBe(true)
    }
    expect(readdirSync(folder).filter(name => name.startsWith('.'))).toEqual([])
  })

  // Where OpenSSH is not installed, the vectors above, which it made, stand for it.
  if (sshKeygen !== null) {
    test('ssh-keygen reads its files, and it those of ssh-keygen', () => {
      for (const comment of ['', 'db1@example', 'päivä ✓']) {
        const ours = fresh()
        const key = createKey(ours, comment)
        expect(keygen('-y', '-f', ours).trim()).toBe(formatPublicKeyLine(key.publicKey, comment))
        for (const path of [ours, `${ours}.pub`]) {
          expect(keygen('-l', '-f', path).split(' ')[1]).toBe(fingerprint(key.publicKey))
        }
        const theirs = fresh()
        keygen('-q', '-t', 'ed25519', '-N', '', '-C', comment, '-f', theirs)
        const line = parsePublicKeyLine(readFileSync(`${theirs}.pub`, 'utf8'))
        expect(loadKey(theirs)?.publicKey).toEqual(line.publicKey)
        expect(line.comment).toBe(comment)
      }
    })

    test('ssh-keygen verifies a signature of a key file, in its own format, over the same key', () => {
      const path = fresh()
      createKey(path, 'signer')
      const message = file('a message')
      keygen('-q', '-Y', 'sign', '-n', 'file', '-f', path, message)
      const signers = file(`signer ${readFileSync(`${path}.pub`, 'utf8')}`)
      const check = ['-Y', 'verify', '-f', signers, '-I', 'signer', '-n', 'file', '-s', `${message}.sig`]
      const run = Bun.spawnSync([sshKeygen, ...check], { stdin: Bun.file(message) })
      expect(run.exitCode).toBe(0)
    })
  }

  test('no file is null, and never an error', () => {
    expect(loadKey(join(folder, 'nothing'))).toBeNull()
  })

  test('a file that others may use is refused, whatever is in it', () => {
    const [vector] = vectors.keys
    for (const mode of [0o640, 0o604, 0o660, 0o602, 0o644, 0o610, 0o601, 0o700]) {
      const path = file(vector?.privateKey ?? '', mode)
      refusal(path).toThrow(expect.objectContaining({ code: 'W-KEY-FILE', message: expect.stringContaining('mode') }))
    }
    expect(loadKey(file(vector?.privateKey ?? '', 0o400))).not.toBeNull()
  })

  if (process.geteuid?.() === 0) {
    test("another user's file is refused", () => {
      const path = file(vectors.keys[0]?.privateKey ?? '')
      Bun.spawnSync(['chown', '12345', path])
      refusal(path).toThrow(expect.objectContaining({ code: 'W-KEY-FILE', message: expect.stringContaining('12345') }))
    })
  }

  test('other kinds of keys are refused by what they are', () => {
    for (const { what, privateKey } of vectors.refused) {
      const says = what === 'a passphrase' ? 'passphrase' : 'Ed25519'
      const path = file(privateKey)
      refusal(path).toThrow(expect.objectContaining({ code: 'W-KEY-FILE', message: expect.stringContaining(says) }))
    }
    for (const content of ['', 'nonsense', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n']) {
      refusal(file(content)).toThrow(expect.objectContaining({ code: 'W-KEY-FILE' }))
    }
    refusal(folder).toThrow(expect.objectContaining({ code: 'W-KEY-FILE' }))
  })

  test('every truncation and every longer file is refused as damaged', () => {
    const whole = unwrap(vectors.keys[2]?.privateKey ?? '')
    for (let length = 0; length < whole.length; length++) {
      refusal(file(wrap(whole.subarray(0, length)))).toThrow(expect.objectContaining({ code: 'W-KEY-FILE' }))
    }
    refusal(file(wrap(Buffer.concat([whole, Buffer.of(0)])))).toThrow(expect.objectContaining({ code: 'W-KEY-FILE' }))
  })

  test('a flipped bit is refused, except where it only changes the comment', () => {
    const vector = vectors.keys[2]
    const whole = unwrap(vector?.privateKey ?? '')
    const comment = whole.indexOf(vector?.comment ?? '')
    for (let at = 0; at < whole.length; at++) {
      if (at >= comment && at < comment + (vector?.comment.length ?? 0)) continue
      const flipped = Buffer.from(whole)
      flipped[at] = (flipped[at] ?? 0) ^ 0x10
      refusal(file(wrap(flipped))).toThrow(expect.objectContaining({ code: 'W-KEY-FILE' }))
    }
  })

  test('padding of more than a block, and characters that are not base64, are refused', () => {
    const vector = vectors.keys[2]
    const whole = unwrap(vector?.privateKey ?? '')
    const padded = Buffer.concat([whole, Buffer.from(Array.from({ length: 8 }, (_, n) => (whole.at(-1) ?? 0) + n + 1))])
    const secret = whole.indexOf(Buffer.from('ssh-ed25519'), whole.indexOf(Buffer.from('ssh-ed25519')) + 1) - 16
    padded.writeUInt32BE(whole.readUInt32BE(secret) + 8, secret)
    refusal(file(wrap(padded))).toThrow(expect.objectContaining({ code: 'W-KEY-FILE' }))
    const lines = vector?.privateKey.split('\n') ?? []
    for (const odd of ['*', ' ', '=', '\u0000']) {
      const damaged = lines.map((line, n) => (n === 1 ? `${line.slice(0, 9)}${odd}${line.slice(9)}` : line)).join('\n')
      refusal(file(damaged)).toThrow(expect.objectContaining({ code: 'W-KEY-FILE' }))
    }
  })

  test('a public half that is not of the private one is refused', () => {
    const whole = unwrap(vectors.keys[1]?.privateKey ?? '')
    const other = parsePublicKeyLine(vectors.keys[2]?.publicLine ?? '').publicKey
    const mine = parsePublicKeyLine(vectors.keys[1]?.publicLine ?? '').publicKey
    const swapped = Buffer.from(whole)
    for (let at = swapped.indexOf(mine); at >= 0; at = swapped.indexOf(mine)) swapped.set(other, at)
    refusal(file(wrap(swapped))).toThrow(expect.objectContaining({ code: 'W-KEY-FILE' }))
  })

  test('a key is never written over, and two that start at once have the same one', async () => {
    const path = fresh()
    const key = createKey(path, 'first')
    expect(() => createKey(path, 'second')).toThrow(expect.objectContaining({ code: 'W-KEY-FILE' }))
    expect(loadKey(path)?.publicKey).toEqual(key.publicKey)
    expect(loadOrCreateKey(path, 'third').publicKey).toEqual(key.publicKey)

    const shared = fresh()
    const program = `import { fingerprint, loadOrCreateKey } from '${import.meta.dir}/../../src/identity/index.ts'
      console.log(fingerprint(loadOrCreateKey('${shared}', 'x').publicKey))`
    const runs = Array.from({ length: 8 }, () => Bun.spawn([process.execPath, '-e', program], { stdout: 'pipe' }))
    const prints = await Promise.all(runs.map(run => new Response(run.stdout).text()))
    expect(new Set(prints).size).toBe(1)
    expect(prints[0]).toStartWith('SHA256:')
  })

  test('a folder that cannot be written is an error that names the file and leaves nothing behind', () => {
    const path = join(folder, 'missing', 'key')
    expect(() => createKey(path, '')).toThrow(
      expect.objectContaining({ code: 'W-KEY-FILE', message: expect.stringContaining(path) }),
    )
    expect(existsSync(join(folder, 'missing'))).toBe(false)
  })

  test('the private half shows in no inspection, JSON or error', () => {
    const path = fresh()
    const key = createKey(path, '')
    const whole = unwrap(readFileSync(path, 'utf8'))
    const seed = whole.subarray(whole.lastIndexOf(key.publicKey) - 32, whole.lastIndexOf(key.publicKey))
    expect(Buffer.from(ed25519.getPublicKey(new Uint8Array(seed))).equals(key.publicKey)).toBe(true)
    const shown = `${inspect(key, { depth: 9, showHidden: true })} ${Bun.inspect(key)} ${JSON.stringify(key)}`
    expect(Object.keys(key)).toEqual(['publicKey'])
    for (const part of [
      seed.toString('hex').slice(0, 16),
      seed.toString('base64').slice(0, 8),
      seed.join(',').slice(0, 9),
    ]) {
      expect(shown.replace(/[\s"]/g, '')).not.toContain(part)
    }
  })
})

describe('public lines', () => {
  const line = vectors.keys[2]?.publicLine.trim() ?? ''

  test('options, other algorithms, several lines and damage are refused', () => {
    const [algorithm, blob = ''] = line.split(' ')
    const wrong = [
      '',
      algorithm ?? '',
      `restrict ${line}`,
      `${line}\n${line}`,
      `ssh-rsa ${blob} x`,
      vectors.refused[1]?.publicLine ?? '',
      `${algorithm} ${blob.slice(0, -1)}`,
      `${algorithm} ${blob}=`,
      `${algorithm} ${blob}AAAA`,
      `${algorithm} ${blob.slice(0, 10)}*${blob.slice(11)}`,
      `${algorithm} AAAA x`,
    ]
    for (const each of wrong) {
      expect(() => parsePublicKeyLine(each)).toThrow(expect.objectContaining({ code: 'W-USAGE' }))
    }
    expect(parsePublicKeyLine(`  ${line}\r\n`).comment).toBe('db1@example')
  })

  test('keys that nobody can have are refused', () => {
    for (const hex of [...vectors.smallOrder, ...vectors.secondSpelling]) {
      const crafted = formatPublicKeyLine(bytes(hex), 'x')
      expect(() => parsePublicKeyLine(crafted)).toThrow(expect.objectContaining({ code: 'W-USAGE' }))
    }
  })

  test('a comment cannot begin another line or steer a terminal', () => {
    const key = parsePublicKeyLine(line).publicKey
    const comment = 'a\nssh-ed25519 AAAA\r\u001b[2J\u0085\u202eb\u2028c'
    const written = formatPublicKeyLine(key, comment)
    expect(written).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
    const path = fresh()
    createKey(path, comment)
    expect(readFileSync(`${path}.pub`, 'utf8').trimEnd()).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
    expect(readFileSync(path, 'latin1').length).toBeGreaterThan(0)
  })
})

describe('signatures', () => {
  const { n } = ed25519.Point.CURVE()
  const little = (value: bigint) => Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse()
  const number = (value: Uint8Array) => BigInt(`0x${Buffer.from(value).reverse().toString('hex')}`)

  test('those of RFC 8032 are good, and no other bit pattern near them', () => {
    for (const vector of vectors.signatures) {
      const [signature, message, publicKey] = [bytes(vector.signature), bytes(vector.message), bytes(vector.publicKey)]
      expect(verify(signature, message, publicKey)).toBe(true)
      expect(isCanonicalKey(publicKey)).toBe(true)
      for (let at = 0; at < 64; at++) {
        const changed = Uint8Array.from(signature)
        changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
        expect(verify(changed, message, publicKey)).toBe(false)
      }
      expect(verify(signature, new Uint8Array([...message, 0]), publicKey)).toBe(false)
    }
  })

  test('are the bytes that another implementation makes, and each takes the other’s', () => {
    for (let i = 0; i < 20; i++) {
      const path = fresh()
      const ours = createKey(path, '')
      // The seed is behind the last public key and the length of both halves (PROTOCOL.key).
      const whole = unwrap(readFileSync(path, 'utf8'))
      const at = whole.lastIndexOf(ours.publicKey) - 32
      const seed = new Uint8Array(whole.subarray(at, at + 32))
      const message = new Uint8Array(i * 7).fill(i)
      const theirs = ed25519.sign(message, seed)
      expect(ours.sign(message)).toEqual(theirs)
      expect(verify(theirs, message, ed25519.getPublicKey(seed))).toBe(true)
      expect(ed25519.verify(ours.sign(message), message, ours.publicKey, { zip215: false })).toBe(true)
    }
  })

  test('S + L is refused: a signature has one spelling', () => {
    for (const vector of vectors.signatures) {
      const signature = bytes(vector.signature)
      const s = number(signature.subarray(32))
      for (let value = s + n; value < 2n ** 256n; value += n) {
        const other = new Uint8Array([...signature.subarray(0, 32), ...little(value)])
        expect(verify(other, bytes(vector.message), bytes(vector.publicKey))).toBe(false)
      }
    }
  })

  test('keys of small order verify nothing, although the lax rule takes them', () => {
    const zero = new Uint8Array(32)
    let lax = 0
    for (const hex of vectors.smallOrder) {
      const publicKey = bytes(hex)
      expect(isCanonicalKey(publicKey)).toBe(false)
      for (const r of vectors.smallOrder) {
        const signature = new Uint8Array([...bytes(r), ...zero])
        for (const message of [text(''), text('any'), text('other')]) {
          if (ed25519.verify(signature, message, publicKey, { zip215: true })) lax++
          expect(verify(signature, message, publicKey)).toBe(false)
        }
      }
    }
    expect(lax).toBeGreaterThan(0)
  })

  test('second spellings of a key are nobody’s, whatever point they are', () => {
    expect(vectors.secondSpelling).toHaveLength(40)
    for (const hex of vectors.secondSpelling) {
      expect(isCanonicalKey(bytes(hex))).toBe(false)
      expect(verify(new Uint8Array([...bytes(hex), ...new Uint8Array(32)]), text('any'), bytes(hex))).toBe(false)
    }
  })

  test('a second spelling of R is refused', () => {
    // R = the identity: S = k·a signs, for a key whose secret scalar a is known. y = 1 can also be written as p + 1.
    const { scalar, pointBytes } = ed25519.utils.getExtendedPublicKey(bytes(vectors.signatures[0]?.seed ?? ''))
    const message = text('a message')
    const signed = (r: string) => {
      const k = number(ed25519.hash(new Uint8Array([...bytes(r), ...pointBytes, ...message]))) % n
      return new Uint8Array([...bytes(r), ...little((k * scalar) % n)])
    }
    const canonical = '0100000000000000000000000000000000000000000000000000000000000000'
    const second = 'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'
    expect(verify(signed(canonical), message, pointBytes)).toBe(true)
    expect(ed25519.verify(signed(second), message, pointBytes, { zip215: true })).toBe(true)
    expect(verify(signed(second), message, pointBytes)).toBe(false)
  })

  test('points off the curve and wrong lengths are false, never a throw', () => {
    const good = vectors.signatures[0]
    const publicKey = bytes(good?.publicKey ?? '')
    const signature = bytes(good?.signature ?? '')
    expect(isCanonicalKey(Uint8Array.from([2, ...new Uint8Array(31)]))).toBe(false)
    for (const length of [0, 1, 31, 33, 64]) {
      expect(isCanonicalKey(new Uint8Array(length))).toBe(false)
      expect(verify(signature, text(''), new Uint8Array(length))).toBe(false)
    }
    for (const length of [0, 32, 63, 65, 128]) expect(verify(new Uint8Array(length), text(''), publicKey)).toBe(false)
    expect(verify(signature, text(''), Uint8Array.from([2, ...new Uint8Array(31)]))).toBe(false)
  })

  test('Buffers are taken as well, with an offset into their memory', () => {
    const vector = vectors.signatures[2]
    const all = Buffer.from(`ff${vector?.signature}${vector?.message}${vector?.publicKey}`, 'hex')
    expect(verify(all.subarray(1, 65), all.subarray(65, 67), all.subarray(67))).toBe(true)
  })
})
