// The line that a visitor can run as it stands, by what is known to listen on a local port. The public host comes from the
// relay, and the line is made to be pasted into a shell: what is not plainly an address gives none.
import { formatHostPort, type Local, parseHostPort, parseLocal } from '../config/index.ts'

type Client = (host: string, port: number, address: string) => string

const postgres: Client = (host, port) => `psql -h ${host} -p ${port}`
// The mysql client takes the name localhost to mean its unix socket, whatever the port.
const mysql: Client = (host, port) => `mysql -h ${host === 'localhost' ? '127.0.0.1' : host} -P ${port}`
const redis: Client = (host, port) => `redis-cli -h ${host} -p ${port}`
const http: Client = (_host, _port, address) => `http://${address}/`
const https: Client = (_host, _port, address) => `https://${address}/`
const ssh: Client = (host, port) => `ssh -p ${port} ${host}`
const mongo: Client = (_host, _port, address) => `mongosh "mongodb://${address}"`
const mail: Client = (host, port) => `nc ${host} ${port}`

const CLIENTS: ReadonlyMap<number, Client> = new Map<number, Client>([
  [22, ssh],
  [25, mail],
  [80, http],
  [443, https],
  [587, mail],
  [1433, (host, port) => `sqlcmd -S ${host},${port}`],
  [1883, (host, port) => `mosquitto_sub -h ${host} -p ${port} -t '#'`],
  [3000, http],
  [3306, mysql],
  [3389, (_host, _port, address) => `mstsc /v:${address}`],
  [4000, http],
  [4222, (_host, _port, address) => `nats sub -s nats://${address} '>'`],
  [4321, http],
  [5000, http],
  [5173, http],
  [5432, postgres],
  [5672, (_host, _port, address) => `amqp://${address}`],
  [5900, (_host, _port, address) => `vnc://${address}`],
  [6379, redis],
  [8000, http],
  [8080, http],
  [8443, https],
  [8888, http],
  [9042, (host, port) => `cqlsh ${host} ${port}`],
  [9092, (_host, _port, address) => `kcat -L -b ${address}`],
  [11211, (host, port) => `nc ${host} ${port}`],
  [27017, mongo],
])

/** A name that is given to a tunnel says what it is, wherever it listens: `web=127.0.0.1:9999`. */
const NAMES: ReadonlyMap<string, Client> = new Map<string, Client>([
  ['http', http],
  ['https', https],
  ['mongo', mongo],
  ['mongodb', mongo],
  ['mysql', mysql],
  ['pg', postgres],
  ['postgres', postgres],
  ['postgresql', postgres],
  ['redis', redis],
  ['ssh', ssh],
  ['web', http],
])

/** A socket file names its service too: `.s.PGSQL.5432`, `mysqld.sock`, `redis.sock`. */
const SOCKETS: readonly (readonly [RegExp, Client])[] = [
  [/\/\.s\.PGSQL\.[0-9]+$/, postgres],
  [/\/(mysqld?|mariadbd?)[^/]*\.sock$/, mysql],
  [/\/(redis|valkey)[^/]*\.sock$/, redis],
]

/** `psql -h relay.example.com -p 20001` for a tunnel, or null where nothing tells what the service is. */
export function clientLine(tunnel: { name: string; local: string; address: string }): string | null {
  try {
    const { host, port } = parseHostPort(tunnel.address)
    const client = NAMES.get(tunnel.name.toLowerCase()) ?? byPlace(parseLocal(tunnel.local))
    return client?.(host, port, formatHostPort(host, port)) ?? null
  } catch {
    // Not an address that this side can read, so not one to be pasted into a shell either.
    return null
  }
}

function byPlace(local: Local): Client | undefined {
  if (local.kind === 'tcp') return CLIENTS.get(local.port)
  return SOCKETS.find(([pattern]) => pattern.test(local.path))?.[1]
}
