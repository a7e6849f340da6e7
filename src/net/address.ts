// Hosts as text: what the system says of a socket, as a person would write it.

/** An IPv4 address that came in over an IPv6 socket is shown as IPv4. */
export function plainHost(address: string | undefined): string {
  if (address === undefined) return ''
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/** RFC 6761: this name is the loopback of both families, whatever the machine's files and name servers say. */
export function isLocalhost(host: string): boolean {
  return host.toLowerCase() === 'localhost'
}

/** Whether a plain host is this machine itself. */
export function isLoopback(host: string): boolean {
  return host.startsWith('127.') || host === '::1'
}
