// Run as a process of its own, to be killed: listens, writes as much as a peer that does not read takes, and then, as told,
// guards the connection (`listener`: by its listener; `early`: so, but it was there before the guard), finishes it, or
// neither.
import { readSync, writeSync } from 'node:fs'
import { type Connection, listen } from '../../src/net/index.ts'

const [guard, finish] = process.argv.slice(2)

function start(connection: Connection): void {
  if (guard === 'guard') connection.resetIfKilled()
  const taken = connection.write(Buffer.alloc(1 << 20), 0, 1 << 20)
  if (finish === 'finish') connection.shutdown()
  console.log(taken)
}

const where = { host: '127.0.0.1', port: 0 }
if (guard === 'early') {
  const real = Bun.listen
  // Nothing can come between a listen and its guard by plan, so this stands still there until a peer has connected.
  const standing = (options: Parameters<typeof real>[0]) => {
    const listener = real(options)
    writeSync(1, `${'port' in listener ? listener.port : ''}`)
    readSync(0, Buffer.alloc(1))
    return listener
  }
  Bun.listen = standing as typeof real
}
const listener = listen(guard === 'listener' || guard === 'early' ? { ...where, guarded: true } : where, connection => {
  setImmediate(start, connection)
  return { onData: () => true, onDrain() {}, onEnd() {}, onClose() {} }
})
if (guard !== 'early') console.log(listener.port)
