// A certificate for contenders that bring none of their own.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { output } from '../processes.ts'

/** A self-signed certificate with its key, as separate files, as one, and as PKCS #12. */
export async function certificate(folder: string): Promise<{ pair: string; cert: string; pkcs12: string }> {
  const [key, cert, pair, pkcs12] = ['key.pem', 'cert.pem', 'pair.pem', 'pair.p12'].map(name => join(folder, name))
  const here = { host: '', prefix: [] }
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '30']
  await output(here, ['openssl', 'req', '-x509', ...curve, ...name, '-keyout', key!, '-out', cert!])
  writeFileSync(pair!, readFileSync(key!, 'utf8') + readFileSync(cert!, 'utf8'), { mode: 0o600 })
  const password = ['-passout', 'pass:bench']
  await output(here, ['openssl', 'pkcs12', '-export', '-in', cert!, '-inkey', key!, '-out', pkcs12!, ...password])
  return { pair: pair!, cert: cert!, pkcs12: pkcs12! }
}
