import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { escapeText, type Level, makeLog } from '../../src/telemetry/log.ts'

const NOON = Date.parse('2026-11-20T12:00:00.000Z')
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))

function logged(level: Level | 'silent', act: (log: ReturnType<typeof makeLog>) => void): string[] {
  const lines: string[] = []
  act(
    makeLog(
      level,
      line => lines.push(line),
      () => NOON,
    ),
  )
  return lines
}

describe('a line', () => {
  test('time, level, message, fields', () => {
    const fields = { relay: 'relay.example.com:7000', rtt: 1.5, up: true, name: null }
    expect(logged('debug', log => log.info('session connected', fields))).toEqual([
      '2026-11-20T12:00:00.000Z info session connected relay=relay.example.com:7000 rtt=1.5 up=true name=null',
    ])
  })

  test('a value that could be read as more than one is quoted', () => {
    const fields = { a: 'two words', b: '', c: 'x=y', d: 'say "hi"', e: 'back\\slash' }
    expect(logged('debug', log => log.info('m', fields))).toEqual([
      '2026-11-20T12:00:00.000Z info m a="two words" b="" c="x=y" d="say \\"hi\\"" e="back\\\\slash"',
    ])
  })

  test('a level drops what is below it', () => {
    const all = (log: ReturnType<typeof makeLog>) => {
      log.debug('d')
      log.info('i')
      log.warn('w')
      log.error('e')
    }
    const levels = (level: Level | 'silent') => logged(level, all).map(line => line.split(' ')[1])
    expect(levels('debug')).toEqual(['debug', 'info', 'warn', 'error'])
    expect(levels('info')).toEqual(['info', 'warn', 'error'])
    expect(levels('warn')).toEqual(['warn', 'error'])
    expect(levels('error')).toEqual(['error'])
    expect(levels('silent')).toEqual([])
  })
})

describe('text from outside', () => {
  test.each([
    ['a\nb', 'a\\nb'],
    ['a\r\tb', 'a\\r\\tb'],
    ['\x1b[31mred', '\\x1b[31mred'],
    ['\x9b31m', '\\x9b31m'],
    ['\x7f', '\\x7f'],
    ['a\u202eb', 'a\\u{202e}b'],
    ['\u2066\u2069\u200f', '\\u{2066}\\u{2069}\\u{200f}'],
    ['\u2028', '\\u{2028}'],
    ['\ufeff\u200b', '\\u{feff}\\u{200b}'],
    ['\ud800', '\\u{d800}'],
    ['\u{e0041}', '\\u{e0041}'],
    ['Grüße, 世界 🎉', 'Grüße, 世界 🎉'],
  ])('%j', (text, safe) => expect(escapeText(text)).toBe(safe))

  test('no text makes a second line, a control character or a reordering one', () => {
    console.log(`SEED=${SEED}`)
    const unit = fc.oneof(fc.integer({ min: 0, max: 0x2100 }), fc.integer({ min: 0, max: 0xffff }))
    const text = fc.array(unit, { maxLength: 40 }).map(units => String.fromCharCode(...units))
    fc.assert(
      fc.property(text, text, text, (message, name, value) => {
        const lines = logged('debug', log => log.info(message, { [name]: value }))
        expect(lines).toHaveLength(1)
        expect(lines[0]).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u)
      }),
      { seed: SEED, numRuns: 2000 },
    )
  })
})
