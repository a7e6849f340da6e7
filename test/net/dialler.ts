// Run as a process of its own, to be killed: dials, and holds its event loop up before it could learn of the connection.
import { dial } from '../../src/net/index.ts'

dial({ host: '127.0.0.1', port: Number(process.argv[2]) }, 5_000, () => {})
console.log('dialled')
for (;;);
