// The relay's certificate: self-signed, because agents know the relay by the hash of its public key (the pin in the
// invite) and by nothing else. The key is the identity; the certificate around it can be made again.
import { createHash, createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { WarrenError } from '../errors.ts'
import { readStateFile, writeStateFile } from './file.ts'

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const NAME = 'warren-relay'
/** RFC 5280's "no well-defined end": a pin does not become wrong by age, and expiry would only break every agent. */
const NEVER = new Date('9999-12-31T23:59:59Z')
/** Agents do not check dates either, but other tools do, on machines whose clocks are behind. */
const DAY = 86_400_000

export type Certificate = {
  readonly keyPem: string
  readonly certPem: string
  /** `certificateKeyHash` of it. */
  readonly pin: Buffer
}

/** A certificate for a new P-256 key, or for the one given. */
export async function makeCertificate(existingKeyPem?: string): Promise<{ keyPem: string; certPem: string }> {
  const keys = existingKeyPem === undefined ? await newKeys() : await keysOf(existingKeyPem)
  // Loaded when it is needed, once in a relay's life: it takes 11 MB. It needs reflect-metadata before it.
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${NAME}`,
    keys,
    signingAlgorithm: ALGORITHM,
    notBefore: new Date(Date.now() - DAY),
    notAfter: NEVER,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: NAME }]),
    ],
  })
  const keyPem = existingKeyPem ?? pem('PRIVATE KEY', await crypto.subtle.exportKey('pkcs8', keys.privateKey))
  return { keyPem, certPem: `${certificate.toString('pem')}\n` }
}

/** The pin: SHA-256 of the certificate's SubjectPublicKeyInfo in DER. */
export function certificateKeyHash(certPem: string): Buffer {
  const info = new X509Certificate(certPem).publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(info).digest()
}

/**
 * The relay's identity in `folder`: relay.key (0600) and relay.crt, made on the first start. A missing certificate is
 * made again for the key; a missing key is an error, because a new one would be another relay to every agent.
 */
export async function loadOrCreateCertificate(folder: string): Promise<Certificate> {
  const keyPath = join(folder, 'relay.key')
  const certPath = join(folder, 'relay.crt')
  let keyPem = readStateFile(keyPath, 'private', 'W-KEY-FILE')
  let certPem = readStateFile(certPath, 'public', 'W-KEY-FILE')
  if (keyPem === null) {
    if (certPem !== null) {
      throw new WarrenError(
        'W-KEY-FILE',
        `${keyPath} is missing, and ${certPath} is there: restore the key from a backup`,
      )
    }
    const made = await makeCertificate()
    // The key first: of a crash between the two it is the half from which the other can be made.
    if (!writeStateFile(keyPath, made.keyPem, 0o600, 'keep', 'W-KEY-FILE')) return loadOrCreateCertificate(folder)
    keyPem = made.keyPem
    certPem = made.certPem
    writeStateFile(certPath, certPem, 0o644, 'replace', 'W-KEY-FILE')
  } else if (certPem === null) {
    certPem = (await makeFor(keyPem, keyPath)).certPem
    writeStateFile(certPath, certPem, 0o644, 'replace', 'W-KEY-FILE')
  }
  return { keyPem, certPem, pin: pinOf(keyPem, keyPath, certPem, certPath) }
}

async function makeFor(keyPem: string, keyPath: string): Promise<{ certPem: string }> {
  try {
    return await makeCertificate(keyPem)
  } catch (thrown) {
    throw new WarrenError('W-KEY-FILE', `${keyPath} is not a P-256 key in PKCS#8`, { cause: thrown })
  }
}

function pinOf(keyPem: string, keyPath: string, certPem: string, certPath: string): Buffer {
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(certPem)
  } catch (thrown) {
    throw new WarrenError('W-KEY-FILE', `${certPath} is not a certificate (remove it: it is made again for the key)`, {
      cause: thrown,
    })
  }
  let same: boolean
  try {
    same = certificate.checkPrivateKey(createPrivateKey(keyPem))
  } catch (thrown) {
    throw new WarrenError('W-KEY-FILE', `${keyPath} is not a private key`, { cause: thrown })
  }
  if (!same) {
    throw new WarrenError(
      'W-KEY-FILE',
      `${certPath} is not the certificate of ${keyPath} (remove it: it is made again)`,
    )
  }
  return certificateKeyHash(certPem)
}

async function newKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
}

async function keysOf(keyPem: string): Promise<CryptoKeyPair> {
  const privateKey = createPrivateKey(keyPem)
  const pkcs8 = privateKey.export({ type: 'pkcs8', format: 'der' })
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' })
  return {
    privateKey: await crypto.subtle.importKey('pkcs8', pkcs8, ALGORITHM, true, ['sign']),
    publicKey: await crypto.subtle.importKey('spki', spki, ALGORITHM, true, ['verify']),
  }
}

function pem(label: string, der: ArrayBuffer): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
