// The ports of this machine that somebody listens at, by the system's own tables: a look that costs no connection, and that
// no service notices. On Linux; elsewhere nobody can be asked.
import { closeSync, openSync, readSync } from 'node:fs'

const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'] as const
/** `  12: 0100007F:1538 00000000:0000 0A …`: the port, in hex, and the state. */
const ROW = /^ *\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) /
const LISTEN = '0A'
const CHUNK = Buffer.allocUnsafeSlow(64 * 1024)

/** TCP ports with a listener, at whatever address; null where the system does not tell. */
export function listeningPorts(tables: readonly string[] = TABLES): ReadonlySet<number> | null {
  const ports = new Set<number>()
  let told = false
  for (const table of tables) told = readTable(table, ports) || told
  return told ? ports : null
}

/** False: there is no such table, as without IPv6. */
function readTable(path: string, ports: Set<number>): boolean {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch {
    return false
  }
  try {
    let rest = ''
    for (let read = 1; read > 0; ) {
      read = readSync(fd, CHUNK)
      const lines = (rest + CHUNK.toString('latin1', 0, read)).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const [, port, state] = ROW.exec(line) ?? []
        // The listeners come first; behind them there may be any number of connections.
        if (state !== undefined && state !== LISTEN) return true
        if (port !== undefined) ports.add(Number.parseInt(port, 16))
      }
    }
    return true
  } catch {
    return false
  } finally {
    closeSync(fd)
  }
}
