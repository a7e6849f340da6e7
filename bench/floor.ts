// What Bun's sockets cost without warren: a connection in, a connection out for each, and every byte from the one to the
// other. Two of these with TLS between them are the least that a tunnel on Bun can take.
//   bun bench/floor.ts HOST PORT TO_HOST TO_PORT [in|out PAIR]      TLS on the connections in, or on those out
import { readFileSync } from 'node:fs'

/** One end of a joined pair; without a socket while it is not there yet. */
type Side = { socket: Socket | null; ended: boolean; waiting: Buffer[] }
type Socket = Bun.Socket<{ here: Side; there: Side }>

const [host, port, toHost, toPort, tls, pair] = process.argv.slice(2)
const WORTH_FREEING = 16_384

function free(chunk: Buffer): void {
  const whole = chunk.buffer
  if (chunk.length >= WORTH_FREEING && whole.byteLength === chunk.length && whole instanceof ArrayBuffer)
    whole.transfer(0)
}

/** Writes what waits for `here`; the other side is read from again once nothing does. */
function flush(here: Side, there: Side): void {
  const { socket, waiting } = here
  if (socket === null) return
  for (let chunk = waiting[0]; chunk !== undefined; chunk = waiting[0]) {
    const taken = Math.max(0, socket.write(chunk, 0, chunk.length))
    if (taken < chunk.length) {
      waiting[0] = chunk.subarray(taken)
      return
    }
    waiting.shift()
  }
  if (there.ended) socket.shutdown()
  else there.socket?.resume()
}

const handlers: Bun.SocketHandler<{ here: Side; there: Side }> = {
  binaryType: 'buffer',
  data(socket, chunk) {
    const { socket: to, waiting } = socket.data.there
    const taken = to !== null && waiting.length === 0 ? Math.max(0, to.write(chunk, 0, chunk.length)) : 0
    if (taken === chunk.length) return free(chunk)
    waiting.push(chunk.subarray(taken))
    socket.pause()
  },
  drain(socket) {
    flush(socket.data.here, socket.data.there)
  },
  end(socket) {
    const { here, there } = socket.data
    here.ended = true
    flush(there, here)
  },
  close(socket) {
    const { here, there } = socket.data
    // Also one that sent its FIN and then went: what waits for it, or is still to come, has nowhere to go.
    if (!here.ended || !there.ended || here.waiting.length > 0) there.socket?.terminate()
  },
  error() {},
}

function start(socket: Socket): void {
  const { here, there } = socket.data
  here.socket = socket
  flush(here, there)
}

const starting = (secure: boolean) => (secure ? { handshake: start } : { open: start })

Bun.listen<{ here: Side; there: Side }>({
  hostname: host!,
  port: Number(port),
  allowHalfOpen: true,
  ...(tls === 'in' ? { tls: { cert: readFileSync(pair!, 'utf8'), key: readFileSync(pair!, 'utf8') } } : {}),
  socket: {
    ...handlers,
    open(socket) {
      const here: Side = { socket, ended: false, waiting: [] }
      const there: Side = { socket: null, ended: false, waiting: [] }
      socket.data = { here, there }
      const where = { hostname: toHost!, port: Number(toPort), allowHalfOpen: true, data: { here: there, there: here } }
      const secure = tls === 'out' ? { tls: { rejectUnauthorized: false } } : {}
      Bun.connect({ ...where, ...secure, socket: { ...handlers, ...starting(tls === 'out') } }).catch(() =>
        socket.terminate(),
      )
    },
  },
})
