// Run as a process of its own with few descriptors: dials when none is left, and again when there are.
import { closeSync, openSync } from 'node:fs'
import { descriptors, dial, type Target } from '../../src/net/index.ts'

function failure(target: Target): Promise<string> {
  return new Promise(resolve => dial(target, 1_000, result => void resolve('fail' in result ? result.fail : 'none')))
}

const tcp = { host: '127.0.0.1', port: 1 }
await failure(tcp)
const taken: number[] = []
try {
  for (;;) taken.push(openSync('/dev/null', 'r'))
} catch {
  // All of them.
}
const first = await failure(tcp)
const second = await failure({ path: '/nonexistent/x.sock' })
for (const fd of taken) closeSync(fd)
console.log(`tcp ${first}, unix ${second}, later ${await failure(tcp)}, limit ${descriptors.limit()}`)
