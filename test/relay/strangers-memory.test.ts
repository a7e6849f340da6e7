// What a thousand strangers cost the relay while they keep it waiting: measured on a relay of its own process.
import { afterAll, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from '../folder.ts'
import { RawClient } from './running.ts'

const STRANGERS = 1_000
/** What one may retain, in bytes. */
const MOST = 32 * 1024

const state = join(temporaryFolder(), 'relay')
const relay = Bun.spawn(
  [process.execPath, 'src/cli.ts', 'relay', '--listen', '127.0.0.1:0', '--state', state, '--json'],
  { stdout: 'pipe', stderr: 'ignore' },
)
afterAll(() => relay.kill('SIGKILL'))

/** Bytes of memory that the relay has to itself. */
function memory(): number {
  const rollup = readFileSync(`/proc/${relay.pid}/smaps_rollup`, 'utf8')
  const [, private_ = ''] = /^Private_Dirty:\s+(\d+) kB/m.exec(rollup) ?? []
  return Number(private_) * 1024
}

async function controlPort(): Promise<number> {
  for await (const chunk of relay.stdout) {
    const [, port] = /"control":"[^"]*:(\d+)"/.exec(Buffer.from(chunk).toString()) ?? []
    if (port !== undefined) return Number(port)
  }
  throw new Error('the relay did not start')
}

/** Strangers that have sent all of an INIT but its last byte. */
async function crowd(port: number): Promise<RawClient[]> {
  const clients = await Promise.all(
    Array.from({ length: STRANGERS }, (_, i) => RawClient.connect(port, `127.1.${i >> 7}.${(i & 127) + 1}`)),
  )
  const almost = Buffer.concat([Buffer.from('00001000', 'hex'), Buffer.alloc(4095, 0x91)])
  for (const client of clients) client.socket.write(almost)
  return clients
}

const LINUX = process.platform === 'linux'
if (!LINUX) console.log('NOT RUN: what a stranger costs in memory, as only Linux says it')

if (LINUX)
  test('1,000 strangers retain at most 32 KiB each', async () => {
    const port = await controlPort()
    const before = memory()
    const clients = await crowd(port)
    // The most that it ever has, until it has cut off the last of them after its 5 s.
    let most = 0
    const sampler = setInterval(() => {
      most = Math.max(most, memory())
    }, 20)
    await Promise.all(clients.map(c => new Promise(end => c.socket.once('close', end))))
    clearInterval(sampler)
    const each = Math.round((most - before) / STRANGERS)
    console.log(`${each} bytes a stranger (from ${before} to ${most})`)
    expect(each).toBeGreaterThan(0)
    expect(each).toBeLessThan(MOST)
  }, 30_000)
