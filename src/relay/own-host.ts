// What others reach this machine by, when nobody said.
import { networkInterfaces } from 'node:os'
import { WarrenError } from '../errors.ts'

/** The host that others most likely reach this machine by: the listening one, or its first address. */
export function ownHost(listenHost: string): string {
  if (listenHost !== '::' && listenHost !== '0.0.0.0') return listenHost
  const addresses = Object.values(networkInterfaces()).flatMap(list => list ?? [])
  const outward = addresses.filter(a => !a.internal && !a.address.startsWith('fe80'))
  const found = outward.find(a => a.family === 'IPv4') ?? outward[0]
  if (found !== undefined) return found.address
  if (addresses.length > 0) return '127.0.0.1'
  throw new WarrenError('W-USAGE', 'this machine has no address: say what it is reached by with --public-host')
}
