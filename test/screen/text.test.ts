// The small pieces that lines are made of: amounts, cuts, styles, tables, ready client lines, JSON.
import { describe, expect, test } from 'bun:test'
import { cut } from '../../src/screen/format.ts'
import { clientLine, formatBytes, formatRate, formatSpan, jsonLine, table } from '../../src/screen/index.ts'
import { paint } from '../../src/screen/paint.ts'

describe('amounts', () => {
  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [1234, '1.2 kB'],
    [9_949, '9.9 kB'],
    [9_950, '10 kB'],
    [999_499, '999 kB'],
    [999_500, '1.0 MB'],
    [34_000_000, '34 MB'],
    [1e18, '1000 PB'],
  ])('%d bytes', (count, text) => expect(formatBytes(count)).toBe(text))

  test('a rate', () => expect(formatRate(1_250_000)).toBe('1.3 MB/s'))

  test.each([
    [0.42, '0.4 ms'],
    [12.3, '12 ms'],
    [999, '999 ms'],
    [1500, '1.5 s'],
    [42_000, '42 s'],
    [119_000, '119 s'],
    [180_000, '3 min'],
    [7_200_000, '2 h'],
    [7 * 86_400_000, '7 d'],
  ])('%d ms', (ms, text) => expect(formatSpan(ms)).toBe(text))
})

describe('a cut', () => {
  test.each([
    ['longer', 5, 'long…'],
    ['short', 5, 'shor…'],
    ['世界世界', 7, '世界世…'],
    ['世界世界', 6, '世界…'],
    ['👩‍👩‍👧 family', 4, '👩‍👩‍👧 …'],
    ['x', 1, '…'],
    ['x', 0, ''],
  ])('%s to %d columns', (text, width, expected) => {
    expect(cut(text, width)).toBe(expected)
    expect(Bun.stringWidth(cut(text, width))).toBeLessThanOrEqual(width)
  })
})

describe('a painted line', () => {
  const pieces = [
    ['bold', 'one'],
    ['plain', ' two '],
    ['red', 'three'],
  ] as const

  test('styles only with colour', () => {
    expect(paint(pieces, 80, false)).toBe('one two three')
    expect(paint(pieces, 80, true)).toBe('\x1b[1mone\x1b[0m two \x1b[31mthree\x1b[0m')
  })

  test('cut in a piece, and nothing behind it', () => {
    expect(paint(pieces, 10, true)).toBe('\x1b[1mone\x1b[0m two \x1b[31mt…\x1b[0m')
    expect(paint(pieces, 3, false)).toBe('on…')
    expect(paint(pieces, 13, false)).toBe('one two three')
  })

  test('what comes from outside cannot style or move anything', () => {
    expect(paint([['plain', 'a\x1b[2Jb\u202ec\n']], 80, true)).toBe('a\\x1b[2Jb\\u{202e}c\\n')
  })
})

test('a table', () => {
  expect(
    table(
      ['NAME', 'PORT'],
      [
        ['db', '5432'],
        ['世界', '1'],
        ['a\nb', '22'],
      ],
    ).split('\n'),
  ).toEqual(['NAME   PORT', 'db     5432', '世界   1', 'a\\nb   22'])
})

describe('a ready client line', () => {
  test.each([
    ['localhost:5432', 'relay.example.com:20001', 'psql -h relay.example.com -p 20001'],
    ['localhost:6379', 'relay.example.com:20001', 'redis-cli -h relay.example.com -p 20001'],
    ['localhost:3306', 'relay.example.com:20001', 'mysql -h relay.example.com -P 20001'],
    ['localhost:3306', 'localhost:20001', 'mysql -h 127.0.0.1 -P 20001'],
    ['localhost:22', 'relay.example.com:20001', 'ssh -p 20001 relay.example.com'],
    ['localhost:27017', 'relay.example.com:20001', 'mongosh "mongodb://relay.example.com:20001"'],
    ['localhost:80', 'relay.example.com:20001', 'http://relay.example.com:20001/'],
    ['localhost:443', 'relay.example.com:20001', 'https://relay.example.com:20001/'],
    ['localhost:3000', '[2001:db8::1]:20001', 'http://[2001:db8::1]:20001/'],
    ['[::1]:5432', '[2001:db8::1]:20001', 'psql -h 2001:db8::1 -p 20001'],
    ['unix:/var/run/postgresql/.s.PGSQL.5432', 'r:1', 'psql -h r -p 1'],
    ['unix:/run/mysqld/mysqld.sock', 'r:1', 'mysql -h r -P 1'],
    ['unix:/run/redis/redis-server.sock', 'r:1', 'redis-cli -h r -p 1'],
  ])('%s at %s', (local, address, line) => expect(clientLine({ name: 'x', local, address })).toBe(line))

  test('a name says it as well', () => {
    expect(clientLine({ name: 'ssh', local: 'localhost:2200', address: 'r:1' })).toBe('ssh -p 1 r')
    expect(clientLine({ name: 'Postgres', local: 'db:15432', address: 'r:1' })).toBe('psql -h r -p 1')
    expect(clientLine({ name: 'web', local: 'unix:/run/app.sock', address: 'r:1' })).toBe('http://r:1/')
  })

  test.each([
    ['localhost:12345', 'relay.example.com:20001'],
    ['unix:/run/other.sock', 'relay.example.com:20001'],
    ['localhost:22', 'relay.example.com'],
    ['localhost:22', ''],
  ])('none for %s at %p', (local, address) => expect(clientLine({ name: 'x', local, address })).toBeNull())

  // The address is the relay's word, and the line is made to be pasted into a shell.
  test.each([
    '-oProxyCommand=x:1',
    '$(reboot):1',
    '`x`:1',
    'a;b:1',
    'a b:1',
    "a'b:1",
    'a\nb:1',
    '[::1$(x)]:1',
    'a|b:1',
  ])('none for a relay that says %p', address =>
    expect(clientLine({ name: 'ssh', local: 'localhost:22', address })).toBeNull(),
  )
})

test('a JSON line is the same value, and nothing that a terminal obeys', () => {
  const value = { event: 'stream', visitor: 'a\n\x1b[2J\x9b\u202e\u2028\u{e0041}\ud800', tunnel: 'Grüße 世界' }
  const line = jsonLine(value)
  expect(JSON.parse(line)).toEqual(value)
  expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u)
  expect(line).toContain('Grüße 世界')
})
