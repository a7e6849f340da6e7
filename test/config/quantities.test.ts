import { describe, expect, test } from 'bun:test'
import { formatDuration, parseCount, parseDuration, parsePort, parsePorts } from '../../src/config/index.ts'
import { WarrenError } from '../../src/errors.ts'

function messageOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof WarrenError) return `${error.code} ${error.message}`
    throw error
  }
  return 'no error'
}

describe('a duration', () => {
  test.each([
    ['0', 0],
    ['500ms', 500],
    ['30s', 30_000],
    ['10m', 600_000],
    ['1h30m', 5_400_000],
    ['7d', 604_800_000],
  ])('%s', (text, ms) => {
    expect(parseDuration(text, '--ttl')).toBe(ms)
    expect(parseDuration(formatDuration(ms), '--ttl')).toBe(ms)
  })

  test.each(['', '5', 's', '-5s', '5 s', '5sec', '5s!', '1.5h', 'ms5', '0x5s', '25d', '9999999999s'])(
    'not %p',
    text => {
      expect(messageOf(() => parseDuration(text, '--ttl'))).toStartWith('W-USAGE --ttl: ')
    },
  )

  test('a number alone is told what it lacks', () => {
    expect(messageOf(() => parseDuration('10', '--ttl'))).toContain('10s or 10m')
  })

  test('bounds', () => {
    expect(messageOf(() => parseDuration('999ms', '--dead-after', 1000))).toBe(
      'W-USAGE --dead-after: 999ms is too short, at least 1s',
    )
    expect(messageOf(() => parseDuration('2h', '--dead-after', 0, 3_600_000))).toBe(
      'W-USAGE --dead-after: 2h is too long, at most 1h',
    )
  })
})

test('a range of ports', () => {
  expect(parsePorts('20000-29999', '--ports')).toEqual({ from: 20000, to: 29999 })
  expect(parsePorts('22', '--ports')).toEqual({ from: 22, to: 22 })
  expect(messageOf(() => parsePorts('2-1', '--ports'))).toBe('W-USAGE --ports: 2-1 runs backwards, write 1-2')
  for (const text of ['', '-', '1-', '-1', '0-5', '1-65536', '1-2-3', 'a-b', '1 - 2']) {
    expect(messageOf(() => parsePorts(text, '--ports'))).toStartWith('W-USAGE --ports: ')
  }
})

test('a port and a count name their flag when they are wrong', () => {
  expect(parsePort('22', '--port')).toBe(22)
  expect(messageOf(() => parsePort('0', '--port'))).toStartWith('W-USAGE --port: ')
  expect(parseCount('3', '--uses', 1, 5)).toBe(3)
  for (const text of ['0', '6', '', '-1', '1.0', 'x']) {
    expect(messageOf(() => parseCount(text, '--uses', 1, 5))).toBe(
      `W-USAGE --uses: '${text}' is not a number from 1 to 5`,
    )
  }
})
