// Run as a process of its own: a listener with a backlog of one connection that accepts nothing, because its process stands
// still, until a line on its standard input tells it to go on. On loopback that is what a black hole looks like. What it
// then accepts and loses it prints.
import { dlopen } from 'bun:ffi'
import { readSync } from 'node:fs'

const path = process.argv[2]
const host = process.argv[3] ?? '127.0.0.1'
const c = dlopen('libc.so.6', { listen: { args: ['i32', 'i32'], returns: 'i32' } }).symbols
const socket = {
  open: () => console.log('open'),
  data() {},
  close: (_: unknown, error?: Error) => console.log(error === undefined ? 'close' : 'reset'),
}
const listener =
  path === undefined || path === ''
    ? Bun.listen({ hostname: host, port: 0, socket })
    : Bun.listen({ unix: path, socket })
if (!('fd' in listener) || typeof listener.fd !== 'number' || c.listen(listener.fd, 0) !== 0)
  throw new Error('no backlog')
console.log('port' in listener ? listener.port : 0)
readSync(0, Buffer.alloc(1))
c.listen(listener.fd, 128)
