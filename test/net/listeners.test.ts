// The ports that somebody listens at, by the system's tables.
import { expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { listen, listeningPorts } from '../../src/net/index.ts'
import { LINUX } from '../../src/net/libc.ts'
import { temporaryFolder } from '../folder.ts'

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n'
const row = (at: number, port: number, state: string) => {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const line = `${`${at}`.padStart(4)}: 0100007F:${hex} 00000000:0000 ${state} 00000000:00000000 00:00000000`
  return `${line.padEnd(149)}\n`
}

function table(text: string): string {
  const path = join(temporaryFolder(), 'tcp')
  writeFileSync(path, text)
  return path
}

if (!LINUX) console.log('NOT RUN: listeners of this machine, which only Linux tells of')

test.if(LINUX)('a listener is seen at once, of IPv4 or of IPv6, and seen to be gone', () => {
  for (const host of ['127.0.0.1', '::1']) {
    const { port, stop } = bound(host)
    expect(listeningPorts()?.has(port)).toBe(true)
    stop()
    expect(listeningPorts()?.has(port)).toBe(false)
  }
})

function bound(host: string): { port: number; stop: () => void } {
  const listener = listen({ host, port: 0 }, () => ({ onData: () => true, onDrain() {}, onEnd() {}, onClose() {} }))
  return { port: listener.port, stop: () => listener.stop() }
}

test('of a long table all listeners are read, and nothing behind them', () => {
  const listeners = Array.from({ length: 3_000 }, (_, n) => row(n, 20_000 + n, '0A'))
  const path = table(HEAD + listeners.join('') + row(3_000, 5_432, '01') + row(3_001, 80, '0A'))
  const ports = listeningPorts([path])!
  expect(ports.size).toBe(3_000)
  expect([ports.has(20_000), ports.has(22_999), ports.has(5_432), ports.has(80)]).toEqual([true, true, false, false])
})

test('without one table the other counts; without any nobody can be asked', () => {
  const none = join(temporaryFolder(), 'none')
  expect([...listeningPorts([none, table(HEAD + row(0, 80, '0A'))])!]).toEqual([80])
  expect([...listeningPorts([table('')])!]).toEqual([])
  expect(listeningPorts([none, none])).toBeNull()
})
