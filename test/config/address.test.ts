import { describe, expect, test } from 'bun:test'
import {
  formatHostPort,
  formatLocal,
  isHost,
  parseHostPort,
  parseLocal,
  parseTunnel,
  readPort,
} from '../../src/config/index.ts'
import { WarrenError } from '../../src/errors.ts'

function codeOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    return error instanceof WarrenError ? error.code : `not a WarrenError: ${error}`
  }
  return 'no error'
}

describe('a port', () => {
  test.each([
    ['1', 1],
    ['5432', 5432],
    ['65535', 65535],
  ])('%s', (text, port) => expect(readPort(text)).toBe(port))

  test.each(['', '0', '65536', '99999', '100000', '-1', '+1', '1.5', '0x10', '01', ' 1', '1 ', '1e3', '٥'])(
    'not %p',
    text => expect(readPort(text)).toBeNull(),
  )

  test('0 only where it is allowed', () => expect(readPort('0', 0)).toBe(0))
})

describe('a host', () => {
  test.each([
    'localhost',
    'db',
    'a.b-c.example.com',
    'example.com.',
    '_service.local',
    '192.168.1.20',
    '255.255.255.255',
    '::1',
    '::',
    'fe80::1%eth0',
    '2001:db8::1',
    '::ffff:127.0.0.1',
    '3com.example',
  ])('%s', text => expect(isHost(text)).toBe(true))

  test.each([
    '',
    '-h',
    'a b',
    'a;b',
    '$(x)',
    "a'b",
    'a..b',
    '.a',
    'a-',
    '256.1.1.1',
    '1.2.3',
    '01.2.3.4',
    '1234',
    '::g',
    '1:2',
    ':::',
    '::1%',
    '::1%a b',
    '::1%a%b',
    'a/b',
    'a@b',
    'x'.repeat(254),
    'é.example',
  ])('not %p', text => expect(isHost(text)).toBe(false))
})

describe('host and port', () => {
  test.each([
    ['localhost:5432', 'localhost', 5432],
    ['[::1]:5432', '::1', 5432],
    ['[fe80::1%eth0]:80', 'fe80::1%eth0', 80],
    ['10.0.0.1:65535', '10.0.0.1', 65535],
  ])('%s', (text, host, port) => {
    expect(parseHostPort(text)).toEqual({ host, port })
    expect(formatHostPort(host, port)).toBe(text)
  })

  test('the port may be left out where there is a usual one', () => {
    expect(parseHostPort('relay.example.com', 7000)).toEqual({ host: 'relay.example.com', port: 7000 })
    expect(parseHostPort('[::1]', 7000)).toEqual({ host: '::1', port: 7000 })
    expect(parseHostPort('2001:db8::1', 7000)).toEqual({ host: '2001:db8::1', port: 7000 })
  })

  test.each([
    '',
    ':',
    ':5432',
    'a:',
    'a:0',
    'a:65536',
    '[]:1',
    '[::1]',
    '[::1]:',
    '[a]:1',
    '::1:5432',
    '[::1]5432',
    'a:1:2',
  ])('not %p', text => expect(codeOf(() => parseHostPort(text))).toBe('W-ADDRESS'))
})

describe('a local address', () => {
  test.each([
    ['5432', { kind: 'tcp', host: 'localhost', port: 5432 }, 'localhost:5432'],
    ['db:5432', { kind: 'tcp', host: 'db', port: 5432 }, 'db:5432'],
    ['[::1]:5432', { kind: 'tcp', host: '::1', port: 5432 }, '[::1]:5432'],
    ['unix:/run/a b/@x', { kind: 'unix', path: '/run/a b/@x' }, 'unix:/run/a b/@x'],
  ] as const)('%s', (text, local, shown) => {
    expect(parseLocal(text)).toEqual(local)
    expect(formatLocal(local)).toBe(shown)
    expect(parseLocal(shown)).toEqual(local)
  })

  test.each([
    '',
    '0',
    '70000',
    'db',
    'unix:',
    'unix:relative',
    'unix:/',
    'unix:/a/',
    'unix:/a\0b',
    `unix:/${'x'.repeat(103)}`,
  ])('not %p', text => expect(codeOf(() => parseLocal(text))).toBe('W-ADDRESS'))
})

describe('a tunnel', () => {
  const here = (port: number) => ({ kind: 'tcp', host: 'localhost', port }) as const

  test.each([
    ['5432', { name: '5432', local: here(5432), port: null }],
    ['5432@20001', { name: '5432', local: here(5432), port: 20001 }],
    ['ssh=22@2222', { name: 'ssh', local: here(22), port: 2222 }],
    ['db=[::1]:5432@1', { name: 'db', local: { kind: 'tcp', host: '::1', port: 5432 }, port: 1 }],
    [
      'pg=unix:/run/.s.PGSQL.5432@20001',
      { name: 'pg', local: { kind: 'unix', path: '/run/.s.PGSQL.5432' }, port: 20001 },
    ],
    [
      'unix:/run/.s.PGSQL.5432',
      { name: '.s.PGSQL.5432', local: { kind: 'unix', path: '/run/.s.PGSQL.5432' }, port: null },
    ],
    ['unix:/run/a=b', { name: 'a-b', local: { kind: 'unix', path: '/run/a=b' }, port: null }],
    ['unix:/run/a@b', { name: 'a-b', local: { kind: 'unix', path: '/run/a@b' }, port: null }],
  ] as const)('%s', (text, spec) => expect(parseTunnel(text)).toEqual(spec))

  test.each(['', '5432@', '5432@0', '5432@x', '5432@1@2', 'a=b=1', 'x=', '@1'])('not %p', text =>
    expect(codeOf(() => parseTunnel(text))).toBe('W-ADDRESS'),
  )

  // What is told of an address, to write it as host:5432, is no help there.
  test.each(['=5432', 'a b=5432', `${'n'.repeat(64)}=1`])('%p: not a name', text =>
    expect(codeOf(() => parseTunnel(text))).toBe('W-USAGE'),
  )
})
