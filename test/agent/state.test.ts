// What an agent remembers: its key, and each relay by the pin of its key.
import { expect, test } from 'bun:test'
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AgentState } from '../../src/agent/state.ts'
import { temporaryFolder } from '../folder.ts'

const PIN = Buffer.alloc(32, 7)

test('a relay that took this agent in is known the next time, IPv6 too', () => {
  const folder = temporaryFolder()
  const state = AgentState.open(folder)
  expect(() => state.relay(null)).toThrow('this machine has no relay yet')
  expect(() => state.relay('relay.example.com')).toThrow('this machine has never met the relay relay.example.com:7000')
  state.remember('relay.example.com', 7000, PIN)
  state.remember('2001:db8::1', 7001, Buffer.alloc(32, 8))
  const again = AgentState.open(folder)
  expect(again.relay(null)).toEqual({ host: '2001:db8::1', port: 7001, pin: Buffer.alloc(32, 8), token: null })
  expect(again.relay('relay.example.com')).toEqual({ host: 'relay.example.com', port: 7000, pin: PIN, token: null })
  expect(() => again.relay('[2001:db8::1]:7000')).toThrow('never met')
})

test('two processes that meet a relay each both remember theirs', () => {
  const folder = temporaryFolder()
  const [one, two] = [AgentState.open(folder), AgentState.open(folder)]
  one.remember('one.example.com', 7000, PIN)
  two.remember('two.example.com', 7000, PIN)
  one.remember('three.example.com', 7000, PIN)
  const again = AgentState.open(folder)
  for (const host of ['one', 'two', 'three']) expect(again.relay(`${host}.example.com`).pin).toEqual(PIN)
  expect(again.relay(null).host).toBe('three.example.com')
  // As invites have it, hosts are in small letters.
  expect(again.relay('One.Example.COM').host).toBe('one.example.com')
})

test('the key is made once, and is private', () => {
  const folder = temporaryFolder()
  const key = AgentState.open(folder).key('test')
  expect(Buffer.from(AgentState.open(folder).key('test').publicKey).equals(Buffer.from(key.publicKey))).toBe(true)
  expect(statSync(join(folder, 'agent.key')).mode & 0o777).toBe(0o600)
  expect(statSync(join(folder, 'agent.key.pub')).isFile()).toBe(true)
})

test('a damaged or public file is an error that names it, and is left as it is', () => {
  const folder = temporaryFolder()
  AgentState.open(folder).remember('relay.example.com', 7000, PIN)
  const path = join(folder, 'relays.json')
  const good = readFileSync(path, 'utf8')
  for (const text of ['', '{', '{}', '{"last":null,"pins":{"a:1":"short"}}', good.slice(0, -5)]) {
    writeFileSync(path, text)
    expect(() => AgentState.open(folder)).toThrow('relays.json')
    expect(readFileSync(path, 'utf8')).toBe(text)
  }
  writeFileSync(path, good)
  chmodSync(path, 0o644)
  expect(() => AgentState.open(folder)).toThrow('0600')
})
