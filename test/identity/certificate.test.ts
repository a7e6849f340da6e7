import { describe, expect, test } from 'bun:test'
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect, createServer, type DetailedPeerCertificate, TLSSocket } from 'node:tls'
import { certificateKeyHash, loadOrCreateCertificate, makeCertificate } from '../../src/identity/index.ts'
import { temporaryFolder } from '../folder.ts'

const root = temporaryFolder()
let folders = 0

function fresh(): string {
  const folder = join(root, `state${folders++}`)
  mkdirSync(folder)
  return folder
}

async function refusal(folder: string) {
  return loadOrCreateCertificate(folder).then(
    () => null,
    (thrown: unknown) => thrown,
  )
}

describe('the relay’s certificate', () => {
  test('is self-signed, P-256, for the name warren-relay, and does not end', async () => {
    const { keyPem, certPem } = await makeCertificate()
    const certificate = new X509Certificate(certPem)
    expect(certificate.verify(certificate.publicKey)).toBe(true)
    expect(certificate.checkPrivateKey(createPrivateKey(keyPem))).toBe(true)
    expect(certificate.publicKey.asymmetricKeyDetails).toMatchObject({ namedCurve: 'prime256v1' })
    expect(certificate.subjectAltName).toBe('DNS:warren-relay')
    expect(certificate.checkHost('warren-relay')).toBe('warren-relay')
    expect(certificate.ca).toBe(false)
    expect(new Date(certificate.validFrom).getTime()).toBeLessThan(Date.now())
    expect(new Date(certificate.validTo).getUTCFullYear()).toBe(9999)
    const other = await makeCertificate()
    expect(certificateKeyHash(other.certPem)).not.toEqual(certificateKeyHash(certPem))
  })

  test('the pin is the hash of the public key alone: another certificate of the same key has it too', async () => {
    const one = await makeCertificate()
    const two = await makeCertificate(one.keyPem)
    expect(two.certPem).not.toBe(one.certPem)
    const info = createPublicKey(createPrivateKey(one.keyPem)).export({ type: 'spki', format: 'der' })
    const hash = createHash('sha256').update(info).digest()
    expect(certificateKeyHash(one.certPem)).toEqual(hash)
    expect(certificateKeyHash(two.certPem)).toEqual(hash)
    // The bytes as they stand in the certificate, not a second encoding of them.
    expect(new X509Certificate(one.certPem).raw.includes(info)).toBe(true)
  })

  test('a TLS 1.3 client sees a certificate with that pin', async () => {
    const { keyPem, certPem } = await makeCertificate()
    const server = createServer({ key: keyPem, cert: certPem, minVersion: 'TLSv1.3' }, socket => socket.destroy())
    await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const peer = await new Promise<DetailedPeerCertificate>((done, fail) => {
      const client = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
        expect(client).toBeInstanceOf(TLSSocket)
        expect(client.getProtocol()).toBe('TLSv1.3')
        done(client.getPeerCertificate(true))
        client.destroy()
      })
      client.on('error', fail)
    })
    server.close()
    const pem = `-----BEGIN CERTIFICATE-----\n${peer.raw.toString('base64')}\n-----END CERTIFICATE-----\n`
    expect(certificateKeyHash(pem)).toEqual(certificateKeyHash(certPem))
  })
})

describe('its files', () => {
  test('are made once, the key for its owner only', async () => {
    const folder = fresh()
    const made = await loadOrCreateCertificate(folder)
    expect(readdirSync(folder).sort()).toEqual(['relay.crt', 'relay.key'])
    expect(statSync(join(folder, 'relay.key')).mode & 0o777).toBe(0o600)
    expect(readFileSync(join(folder, 'relay.key'), 'utf8')).toBe(made.keyPem)
    expect(readFileSync(join(folder, 'relay.crt'), 'utf8')).toBe(made.certPem)
    expect(made.pin).toEqual(certificateKeyHash(made.certPem))
    expect(await loadOrCreateCertificate(folder)).toEqual(made)
  })

  test('two that start at once have the same identity', async () => {
    const folder = fresh()
    const all = await Promise.all(Array.from({ length: 5 }, () => loadOrCreateCertificate(folder)))
    for (const each of all) expect(each.pin).toEqual((await loadOrCreateCertificate(folder)).pin)
  })

  test('a lost certificate is made again for the key, with the same pin', async () => {
    const folder = fresh()
    const { pin } = await loadOrCreateCertificate(folder)
    rmSync(join(folder, 'relay.crt'))
    expect((await loadOrCreateCertificate(folder)).pin).toEqual(pin)
  })

  test('a lost key is an error: a new one would be another relay', async () => {
    const folder = fresh()
    await loadOrCreateCertificate(folder)
    rmSync(join(folder, 'relay.key'))
    expect(await refusal(folder)).toMatchObject({ code: 'W-KEY-FILE', message: expect.stringContaining('relay.key') })
    expect(readdirSync(folder)).toEqual(['relay.crt'])
  })

  test('a key that others may read is refused', async () => {
    const folder = fresh()
    await loadOrCreateCertificate(folder)
    chmodSync(join(folder, 'relay.key'), 0o640)
    expect(await refusal(folder)).toMatchObject({ code: 'W-KEY-FILE', message: expect.stringContaining('0640') })
  })

  test("another key's certificate, and what is neither, are refused by name", async () => {
    const [folder, other] = [fresh(), fresh()]
    await loadOrCreateCertificate(folder)
    await loadOrCreateCertificate(other)
    copyFileSync(join(other, 'relay.crt'), join(folder, 'relay.crt'))
    expect(await refusal(folder)).toMatchObject({ code: 'W-KEY-FILE', message: expect.stringContaining('relay.crt') })
    writeFileSync(join(folder, 'relay.crt'), 'nonsense')
    expect(await refusal(folder)).toMatchObject({ code: 'W-KEY-FILE', message: expect.stringContaining('relay.crt') })
    for (const key of [
      '',
      'nonsense',
      generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }),
    ]) {
      writeFileSync(join(folder, 'relay.key'), key)
      for (const certificate of [true, false]) {
        if (!certificate) rmSync(join(folder, 'relay.crt'))
        else copyFileSync(join(other, 'relay.crt'), join(folder, 'relay.crt'))
        expect(await refusal(folder)).toMatchObject({ code: 'W-KEY-FILE' })
      }
    }
  })
})
