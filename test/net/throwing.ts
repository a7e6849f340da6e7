// Run as a process of its own: two deadlines fall due in one sweep, and the first one's owner throws. Prints what happens.
import { deadlines } from '../../src/net/deadlines.ts'

process.on('uncaughtException', error => console.log(error.message))
const thrower = {
  due: 0,
  expire(): number {
    deadlines.clear(thrower)
    throw new Error('thrown')
  },
}
const other = {
  due: 0,
  expire(): number {
    console.log('met')
    return 0
  },
}
deadlines.set(thrower, 10)
deadlines.set(other, 10)
