// Addresses as a person writes them: `5432`, `host:5432`, `[::1]:5432`, `unix:/path`, and with a name and a public port
// around it `ssh=22@20022`. Read strictly: a mistyped address must not become another one.
import { WarrenError } from '../errors.ts'

export type Local = { kind: 'tcp'; host: string; port: number } | { kind: 'unix'; path: string }
export type HostPort = { host: string; port: number }

/** One tunnel as asked for on the command line; `port`: the public one, null for whichever the relay gives. */
export type TunnelSpec = { name: string; local: Local; port: number | null }

/** Where a relay listens for agents, unless it is told otherwise. */
export const CONTROL_PORT = 7000
/** A service on this machine may listen on either family, so a bare port means both. */
const THIS_MACHINE = 'localhost'
/** sockaddr_un.sun_path has 108 bytes on Linux and 104 on macOS, the last one for the NUL. */
const LONGEST_PATH = 103
const NAME = /^[A-Za-z0-9._-]{1,63}$/

/** A port, 1 to 65535, in plain decimal digits, or null. 0 (whichever is free) only where `least` is 0. */
export function readPort(text: string, least: 0 | 1 = 1): number | null {
  if (!/^(0|[1-9][0-9]{0,4})$/.test(text)) return null
  const port = Number(text)
  return port >= least && port <= 65535 ? port : null
}

/** A host name, an IPv4 address, or an IPv6 address (without brackets, with or without a zone). */
export function isHost(text: string): boolean {
  if (text.length > 253) return false
  if (text.includes(':')) {
    const [address = '', zone, ...more] = text.split('%')
    if (more.length > 0 || (zone !== undefined && !/^[A-Za-z0-9._-]{1,32}$/.test(zone))) return false
    return /^[0-9A-Fa-f:.]+$/.test(address) && URL.canParse(`http://[${address}]/`)
  }
  const labels = text.replace(/\.$/, '').split('.')
  if (/^[0-9]+$/.test(labels.at(-1) ?? '')) return isIPv4(text)
  return labels.every(label => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label))
}

function isIPv4(text: string): boolean {
  const parts = text.split('.')
  return parts.length === 4 && parts.every(part => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255)
}

/** `host:port` or `[v6]:port`; with `defaultPort` the port may be left out, and a host alone may be a bare IPv6 address. */
export function parseHostPort(text: string, defaultPort?: number, least: 0 | 1 = 1): HostPort {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(text)
  const colon = text.lastIndexOf(':')
  const bare = bracketed === null && (colon === -1 || text.indexOf(':') !== colon)
  const host = bracketed?.[1] ?? (bare ? text : text.slice(0, colon))
  const digits = bracketed ? bracketed[2] : bare ? undefined : text.slice(colon + 1)

  if (bracketed && !host.includes(':')) throw wrong(text, 'only an IPv6 address goes in brackets')
  if (bare && host.includes(':') && (defaultPort === undefined || !isHost(host))) {
    throw wrong(text, 'write an IPv6 address with a port as [::1]:5432')
  }
  if (!isHost(host)) throw wrong(text, host === '' ? 'there is no host in it' : `'${host}' is not a host`)
  if (digits === undefined) {
    if (defaultPort === undefined) throw wrong(text, 'there is no port in it')
    return { host, port: defaultPort }
  }
  const port = readPort(digits, least)
  if (port === null) throw wrong(text, `'${digits}' is not a port, a number from ${least} to 65535`)
  return { host, port }
}

export function formatHostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Where a service listens: `5432`, `host:5432`, `[::1]:5432` or `unix:/path`. */
export function parseLocal(text: string): Local {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length)
    if (!path.startsWith('/')) throw wrong(text, 'the path of a unix socket starts with /')
    if (path.endsWith('/') || path.includes('\0')) throw wrong(text, 'that is not the path of a socket')
    if (Buffer.byteLength(path) > LONGEST_PATH) throw wrong(text, `a socket's path has at most ${LONGEST_PATH} bytes`)
    return { kind: 'unix', path }
  }
  const port = readPort(text)
  if (port !== null) return { kind: 'tcp', host: THIS_MACHINE, port }
  if (/^[0-9]+$/.test(text)) throw wrong(text, 'a port is a number from 1 to 65535')
  return { kind: 'tcp', ...parseHostPort(text) }
}

export function formatLocal(local: Local): string {
  return local.kind === 'unix' ? `unix:${local.path}` : formatHostPort(local.host, local.port)
}

/** `[NAME=]LOCAL[@PORT]`. Without a name, the tunnel is named after the local port, or after the file of a socket. */
export function parseTunnel(text: string): TunnelSpec {
  if (/^(warren|https?|tcp):\/\//i.test(text)) throw wrong(text, aboutScheme(text))
  const [, given, rest = ''] = /^(?:([^=:/[\]]*)=)?(.*)$/s.exec(text) ?? []
  // A path may hold an @ of its own, so behind a path only digits are a port.
  const suffix = rest.startsWith('unix:') ? /^(.*?)(?:@([0-9]+))?$/s : /^(.*?)(?:@([^@]*))?$/s
  const [, address = '', digits] = suffix.exec(rest) ?? []

  const local = parseLocal(address)
  const port = digits === undefined ? null : readPort(digits)
  if (digits !== undefined && port === null) {
    throw wrong(text, `'${digits}' after the @ is not a public port, a number from 1 to 65535`)
  }
  return { name: given === undefined ? defaultName(local) : parseName(given), local, port }
}

export function parseName(text: string): string {
  if (!NAME.test(text)) {
    throw new WarrenError('W-USAGE', `'${text}' is not a name: 1 to 63 letters, digits, dots, dashes and underscores`)
  }
  return text
}

function defaultName(local: Local): string {
  if (local.kind === 'tcp') return String(local.port)
  const file = local.path.slice(local.path.lastIndexOf('/') + 1)
  return file.replace(/[^A-Za-z0-9._-]/g, '-').slice(0, 63)
}

function aboutScheme(text: string): string {
  return text.toLowerCase().startsWith('warren:')
    ? 'an invite goes behind --relay, and the service before it'
    : 'leave out what is before the host, and a path behind the port'
}

function wrong(text: string, why: string): WarrenError {
  return new WarrenError('W-ADDRESS', `'${text}' is not an address: ${why}`)
}
