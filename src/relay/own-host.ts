// What others reach this machine by, when nobody said. Behind a cloud provider's NAT the machine itself does not know it,
// and invites that name a private address lead nowhere: so that is told.
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os'
import { WarrenError } from '../errors.ts'
import type { Log } from '../telemetry/log.ts'

type Interfaces = Readonly<Record<string, NetworkInterfaceInfo[] | undefined>>

/** Loopback, link-local, of a private network (RFC 1918, RFC 4193), or of a provider's own NAT (RFC 6598). */
const NOT_PUBLIC =
  /^(127\.|10\.|192\.168\.|169\.254\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|::1$|fe80:|f[cd][0-9a-f]{2}:)/

/** The host that others most likely reach this machine by: the listening one, or its first address. */
export function ownHost(listenHost: string, log: Log, interfaces: Interfaces = networkInterfaces()): string {
  // Who names an address to listen on has chosen who may come.
  if (listenHost !== '::' && listenHost !== '0.0.0.0') return listenHost
  const found = firstAddress(Object.values(interfaces).flatMap(list => list ?? []))
  if (NOT_PUBLIC.test(found))
    log.warn('invites name an address of this machine that may not be reached from elsewhere; give --public-host', {
      address: found,
    })
  return found
}

function firstAddress(addresses: readonly NetworkInterfaceInfo[]): string {
  const outward = addresses.filter(a => !a.internal && !a.address.startsWith('fe80'))
  const found = outward.find(a => a.family === 'IPv4') ?? outward[0]
  if (found !== undefined) return found.address
  if (addresses.length > 0) return '127.0.0.1'
  throw new WarrenError('W-USAGE', 'this machine has no address: say what it is reached by with --public-host')
}
