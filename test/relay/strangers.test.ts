// Limits and penalties for those who have not proven a key.
import { expect, test } from 'bun:test'
import { network, STRANGERS, Strangers } from '../../src/relay/strangers.ts'

test('an address has a limit of its own, and leaving makes room', () => {
  const strangers = new Strangers(() => 0)
  for (let i = 0; i < STRANGERS.mostPerAddress; i++) expect(strangers.enter('192.0.2.1')).toBe(true)
  expect(strangers.enter('192.0.2.1')).toBe(false)
  expect(strangers.enter('192.0.2.2')).toBe(true)
  strangers.leave('192.0.2.1')
  expect(strangers.enter('192.0.2.1')).toBe(true)
  expect(strangers.total).toBe(STRANGERS.mostPerAddress + 1)
})

test('all addresses together have a limit', () => {
  const strangers = new Strangers(() => 0)
  for (let i = 0; i < STRANGERS.most; i++) expect(strangers.enter(`10.0.${i >> 8}.${i & 255}`)).toBe(true)
  expect(strangers.enter('10.1.0.1')).toBe(false)
  strangers.leave('10.0.0.0')
  expect(strangers.enter('10.1.0.1')).toBe(true)
})

test('penalties add up, bite from 15 s on, end at 10 minutes, and pass', () => {
  let now = 0
  const strangers = new Strangers(() => now)
  const admits = () => {
    const yes = strangers.enter('192.0.2.1')
    if (yes) strangers.leave('192.0.2.1')
    return yes
  }
  strangers.punish('192.0.2.1', 'refused')
  strangers.punish('192.0.2.1', 'refused')
  expect(admits()).toBe(true)
  strangers.punish('192.0.2.1', 'refused')
  expect(admits()).toBe(false)
  now += 1
  expect(admits()).toBe(true)
  for (let i = 0; i < 1_000; i++) strangers.punish('192.0.2.1', 'refused')
  expect(admits()).toBe(false)
  now += STRANGERS.longest - STRANGERS.least
  expect(admits()).toBe(false)
  now += 1
  expect(admits()).toBe(true)
  expect(strangers.enter('192.0.2.2')).toBe(true)
})

test('a flood of addresses does not grow the memory of penalties, nor free one that is being punished', () => {
  const strangers = new Strangers(() => 0)
  for (let i = 0; i < STRANGERS.remembered; i++) strangers.punish(`a${i}`, 'silent')
  for (let i = 0; i < 3; i++) strangers.punish('192.0.2.1', 'refused')
  for (let i = 0; i < 10_000; i++) strangers.punish(`b${i}`, 'silent')
  expect(strangers.enter('192.0.2.1')).toBe(false)
  expect(strangers.remembered).toBeLessThanOrEqual(STRANGERS.remembered)
})

test('an IPv6 host is its /64', () => {
  expect(network('2001:db8::1')).toBe(network('2001:db8:0:0:ffff::2'))
  expect(network('2001:db8:0:1::1')).not.toBe(network('2001:db8::1'))
  expect(network('::1')).toBe('0:0:0:0::/64')
  expect(network('fe80::1%eth0')).toBe(network('fe80::2'))
  expect(network('192.0.2.1')).toBe('192.0.2.1')
})

test('a key that is proven wipes the penalty of its address, and of no other', () => {
  const strangers = new Strangers(() => 0)
  for (const host of ['2001:db8::1', '192.0.2.1']) for (let i = 0; i < 10; i++) strangers.punish(host, 'refused')
  strangers.forgive('2001:db8::ffff')
  expect(strangers.enter('2001:db8::1')).toBe(true)
  expect(strangers.enter('192.0.2.1')).toBe(false)
  expect(strangers.remembered).toBe(1)
})
