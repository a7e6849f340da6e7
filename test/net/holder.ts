// Run as a process of its own: listens at the unix socket that it is given, and says whether it could.
import { asWarrenError } from '../../src/errors.ts'
import { listen } from '../../src/net/index.ts'

try {
  listen({ path: process.argv[2] ?? '' }, () => ({ onData: () => true, onDrain() {}, onEnd() {}, onClose() {} }))
  console.log('listening')
} catch (thrown) {
  console.log(asWarrenError(thrown).code)
}
