// Run as a process of its own, to be killed: listens, writes as much as a peer that does not read takes, and then, as told,
// guards the connection (`listener`: by its listener), finishes it, or neither.
import { type Connection, listen } from '../../src/net/index.ts'

const [guard, finish] = process.argv.slice(2)

function start(connection: Connection): void {
  if (guard === 'guard') connection.resetIfKilled()
  const taken = connection.write(Buffer.alloc(1 << 20), 0, 1 << 20)
  if (finish === 'finish') connection.shutdown()
  console.log(taken)
}

const where = { host: '127.0.0.1', port: 0 }
const listener = listen(guard === 'listener' ? { ...where, guarded: true } : where, connection => {
  setImmediate(start, connection)
  return { onData: () => true, onDrain() {}, onEnd() {}, onClose() {} }
})
console.log(listener.port)
