// What the machine says of itself that puts a run's figures off.
import { expect, test } from 'bun:test'
import { pressured } from '../../bench/machine.ts'

const NETSTAT = (names: string, values: string) =>
  `TcpExt: SyncookiesSent ${names}\nTcpExt: 7 ${values}\nIpExt: InNoRoutes TCPMemoryPressuresChrono\nIpExt: 5 6\n`

test('how long the system was short of memory for TCP', () => {
  const netstat = NETSTAT('TCPMemoryPressures TCPMemoryPressuresChrono TCPZeroWindowDrop', '2 365344 4')
  expect(pressured(netstat)).toBe(365_344)
})

test('never, where it does not say', () => {
  expect(pressured(NETSTAT('TCPMemoryPressures', '2'))).toBe(0)
  expect(pressured('')).toBe(0)
})
