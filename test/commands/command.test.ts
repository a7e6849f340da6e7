// The dispatcher: which command is meant, and that nothing it does not understand is let through.
import { describe, expect, test } from 'bun:test'
import { dispatch, group, leaf, named } from '../../src/commands/command.ts'
import { helpText } from '../../src/commands/help.ts'
import { WarrenError } from '../../src/errors.ts'

const give = leaf({
  name: 'give',
  description: 'Give things away',
  args: {
    thing: { type: 'positional', required: true, valueHint: 'THING', description: 'What to give' },
    to: { type: 'string', valueHint: 'NAME', description: 'To whom' },
    count: { type: 'string', valueHint: 'N', default: '1', description: 'How many' },
    wrapped: { type: 'boolean', description: 'In paper' },
    speed: { type: 'enum', options: ['slow', 'fast'], description: 'How fast' },
  },
  repeats: true,
  examples: [['giver give cake --to anna', 'A cake.']],
  run: () => {},
})
const list = leaf({
  name: 'list',
  description: 'List',
  args: {},
  examples: [['giver box list', 'All.']],
  run: () => {},
})
const box = group({ name: 'box', description: 'Boxes', commands: [list], examples: [['giver box list', 'All.']] })
const root = group({ name: 'giver', description: 'Gives', commands: [give, box], examples: [['giver -h', 'Help.']] })

function messageOf(...args: string[]): string {
  try {
    dispatch(root, args)
  } catch (error) {
    if (error instanceof WarrenError) return `${error.code} ${error.message}`
    throw error
  }
  return 'no error'
}

describe('a command is found', () => {
  test.each([
    ['give cake', 'give', ['cake']],
    ['give cake tea --to anna --wrapped', 'give', ['cake', 'tea', '--to', 'anna', '--wrapped']],
    ['give cake --to=-anna --speed fast', 'give', ['cake', '--to=-anna', '--speed', 'fast']],
    ['give cake --to -', 'give', ['cake', '--to', '-']],
    ['give -- --to', 'give', ['--', '--to']],
    ['box list', 'list', []],
  ])('%s', (line, name, rest) => {
    expect(dispatch(root, line.split(' '))).toMatchObject({ kind: 'run', command: { name }, rest })
  })

  test.each(['--version', '-V', '-v'])('%s', flag => expect(dispatch(root, [flag]).kind).toBe('version'))
})

describe('help', () => {
  test.each([
    ['', 'giver', false],
    ['-h', 'giver', true],
    ['--help', 'giver', true],
    ['help', 'giver', true],
    ['box', 'giver box', false],
    ['box -h', 'giver box', true],
    ['give -h', 'giver give', true],
    ['give cake --nonsense --help', 'giver give', true],
    ['help box list', 'giver box list', true],
  ])('giver %s', (line, path, asked) => {
    const found = dispatch(root, line === '' ? [] : line.split(' '))
    expect(found.kind === 'help' && { path: named(found.path), asked: found.asked }).toEqual({ path, asked })
  })

  test('behind -- it is an argument', () => expect(dispatch(root, ['give', '--', '-h']).kind).toBe('run'))

  test('the page of a command', () => {
    expect(helpText([root, give], 80, false)).toBe(`Give things away.

Usage
  giver give THING... [FLAGS]

Arguments
  THING  What to give

Flags
  --to NAME      To whom
  --count N      How many [1]
  --wrapped      In paper
  --speed SPEED  How fast

Examples
  giver give cake --to anna
      A cake.`)
  })

  test('the page of the program has its own flags, the version among them; that of a group has none', () => {
    expect(helpText([root], 80, false)).toContain(`
Flags
  -h, --help     This page
  -V, --version  The version
`)
    expect(helpText([root, box], 80, false)).not.toContain('--version')
  })

  test('no line is wider than a narrow terminal, but examples stay whole', () => {
    for (const path of [[root], [root, give], [root, box]]) {
      const lines = helpText(path, 40, false).split('\n')
      expect(lines.filter(line => line.length > 40 && !line.startsWith('  giver'))).toEqual([])
    }
  })
})

describe('what is not understood is refused', () => {
  test.each([
    ['giv', "giver has no command 'giv'; did you mean 'give'?"],
    ['gvie', "giver has no command 'gvie'; did you mean 'give'?"],
    ['bxo', "giver has no command 'bxo'; did you mean 'box'?"],
    ['xbo', "giver has no command 'xbo'; `giver -h` lists what there is"],
    ['zebra', "giver has no command 'zebra'; `giver -h` lists what there is"],
    ['--json', "giver has no flag '--json'; `giver -h` lists what there is"],
    ['box lst', "giver box has no command 'lst'; did you mean 'list'?"],
    ['give', 'giver give: THING is missing'],
    ['give cake --too x', 'giver give: there is no flag --too; did you mean --to?'],
    ['give cake --zebra', 'giver give: there is no flag --zebra'],
    ['give cake --no-wrapped', 'giver give: there is no flag --no-wrapped'],
    ['give cake -t anna', 'giver give: there is no flag -t; did you mean --to?'],
    ['give cake --to', 'giver give: --to needs a value'],
    ['give cake --to=', 'giver give: --to needs a value'],
    ['give cake --to --wrapped', "giver give: --to needs a value; if '--wrapped' is meant, write --to=--wrapped"],
    ['give cake --to a --to b', 'giver give: --to is given twice'],
    ['give cake --wrapped=no', 'giver give: --wrapped takes no value'],
    ['give cake --speed medium', "giver give: --speed: 'medium' is not one of slow, fast"],
    ['box list all', "giver box list: 'all' is one argument too many"],
    ['constructor', "giver has no command 'constructor'; `giver -h` lists what there is"],
    ['give cake --constructor', 'giver give: there is no flag --constructor'],
    ['give cake --__proto__ x', 'giver give: there is no flag --__proto__'],
  ])('giver %s', (line, message) => expect(messageOf(...line.split(' '))).toBe(`W-USAGE ${message}`))
})
