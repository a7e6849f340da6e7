// A peer that is not Bun: plain Node sockets, told what to do by one JSON line each and telling what it sees in the same
// way. The tests take its word for what a FIN or an RST looked like from outside.
import { writeFileSync } from 'node:fs'
import net from 'node:net'
import { createInterface } from 'node:readline'
import tls from 'node:tls'

/** id -> { socket: what is spoken through, raw: what is under it } */
const peers = new Map()

function tell(id, event, more = {}) {
  process.stdout.write(`${JSON.stringify({ id, event, ...more })}\n`)
}

function adopt(id, socket, raw, reading) {
  peers.set(id, { socket, raw })
  socket.on('end', () => tell(id, 'end'))
  socket.on('error', error => tell(id, 'error', { code: error.code ?? String(error) }))
  socket.on('close', () => tell(id, 'close'))
  socket.on('session', () => tell(id, 'ticket'))
  if (reading) read(id, socket)
}

function read(id, socket) {
  if (socket.listenerCount('data') === 0) socket.on('data', buf => tell(id, 'data', { n: buf.length }))
  socket.resume()
}

const ACTIONS = {
  connect({ id, port, host, path, reading }) {
    const socket = new net.Socket({ allowHalfOpen: true })
    if (!reading) socket.pause()
    adopt(id, socket, socket, reading)
    socket.connect(path ? { path } : { port, host }, () => tell(id, 'open'))
  },
  tls({ id, port, host, alpn, maxVersion, reading }) {
    const raw = net.connect({ port, host, allowHalfOpen: true })
    const options = { socket: raw, rejectUnauthorized: false, allowHalfOpen: true, maxVersion }
    if (alpn) options.ALPNProtocols = [alpn]
    const socket = tls.connect(options, () => tell(id, 'open', { alpn: socket.alpnProtocol, v: socket.getProtocol() }))
    adopt(id, socket, raw, reading)
  },
  listen({ id }) {
    const server = net.createServer({ allowHalfOpen: true }, socket => {
      adopt(id, socket, socket, true)
      tell(id, 'open')
    })
    server.listen(0, '127.0.0.1', () => tell(id, 'listening', { port: server.address().port }))
  },
  send({ id, n, text }) {
    peers.get(id).socket.write(text === undefined ? Buffer.alloc(n, 1) : text, () => tell(id, 'sent'))
  },
  /** Bytes below TLS: a record that cannot be decrypted. */
  garbage({ id }) {
    peers.get(id).raw.write(Buffer.from([23, 3, 3, 0, 20, ...Buffer.alloc(20)]))
  },
  read({ id }) {
    read(id, peers.get(id).socket)
  },
  fin({ id, mark }) {
    peers.get(id).socket.end(() => done(id, 'fin', mark))
  },
  reset({ id, mark }) {
    const { raw } = peers.get(id)
    // A unix socket has no RST; closing it is the most that a peer can do.
    if (raw.remotePort === undefined) raw.destroy()
    else raw.resetAndDestroy()
    done(id, 'reset', mark)
  },
  /** close(2): what was not read by then makes the kernel send RST. */
  destroy({ id, mark }) {
    peers.get(id).raw.destroy()
    setImmediate(done, id, 'destroyed', mark)
  },
}

/** A file, for a test that holds its own event loop still and so cannot be told. */
function done(id, what, mark) {
  if (mark !== undefined) writeFileSync(mark, '')
  tell(id, what)
}

createInterface({ input: process.stdin }).on('line', line => {
  const order = JSON.parse(line)
  ACTIONS[order.do](order)
})
