// The completion scripts, in the shells that this machine has.
import { describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { dispatch, group, leaf } from '../../src/commands/command.ts'
import { completionFor, completionScript } from '../../src/commands/completion.ts'
import { temporaryFolder } from '../folder.ts'

const folder = temporaryFolder()
writeFileSync(join(folder, 'a file'), '')

const run = (): void => {}
const send = leaf({
  name: 'send',
  description: "Send what's there",
  args: {
    what: { type: 'positional', required: true, valueHint: 'WHAT', description: 'What' },
    from: { type: 'string', valueHint: 'FILE', description: 'From [a: file]' },
    into: { type: 'string', valueHint: 'DIR', description: 'Into a folder [here]' },
    level: { type: 'enum', options: ['low', 'high'], description: 'How much' },
    loud: { type: 'boolean', description: 'Loudly' },
  },
  examples: [],
  run,
})
const read = leaf({
  name: 'read',
  description: 'Read it',
  args: {
    what: { type: 'positional', required: true, valueHint: 'WORD|FILE', description: 'A word, or a file' },
    loud: { type: 'boolean', description: 'Loudly' },
  },
  examples: [],
  run,
})
const add = leaf({ name: 'add', description: 'Add one', args: {}, examples: [], run })
const drop = leaf({ name: 'drop', description: 'Drop one', args: {}, examples: [], run })
const list = group({ name: 'list', description: 'Lists', commands: [add, drop], examples: [] })
const root = group({
  name: 'warren',
  description: 'x',
  commands: [send, read, list, completionFor(() => root)],
  examples: [],
})

function output(command: string[], input: string): string {
  const { stdout, stderr, exitCode } = Bun.spawnSync(command, { cwd: folder, stdin: Buffer.from(input) })
  if (exitCode !== 0 || stderr.length > 0) throw new Error(`${command[0]}: ${stderr}`)
  return stdout.toString()
}

/** What is offered behind the words of a line, the last of which is being typed. */
const CASES: [line: string[], offers: string[]][] = [
  [[''], ['completion', 'list', 'read', 'send']],
  [['s'], ['send']],
  [
    ['list', ''],
    ['add', 'drop'],
  ],
  [['list', 'a'], ['add']],
  [
    ['send', '--l'],
    ['--level', '--loud'],
  ],
  [
    ['send', 'x', '--level', ''],
    ['high', 'low'],
  ],
  [['send', '--from', 'a'], ['a file']],
  [['read', 'a'], ['a file']],
  [['read', '--l'], ['--loud']],
  [['send', 'a'], []],
  [
    ['completion', ''],
    ['bash', 'fish', 'zsh'],
  ],
]

/** Help is always offered as well, and not what a shell adds to a word. */
function words(lines: string): string[] {
  return lines
    .split('\n')
    .map(line => line.split('\t')[0] ?? '')
    .filter(word => word !== '' && word !== '--help')
    .sort()
}

const bash = (line: string[]): string[] => {
  const script = completionScript('bash', root)
  // Sourced twice, as a shell does whose start file is read again.
  const ask = `${script}\n${script}\nCOMP_WORDS=(warren ${line.map(word => `'${word}'`).join(' ')})
COMP_CWORD=${line.length}\n_warren\nprintf '%s\\n' "\${COMPREPLY[@]}"`
  return words(output(['bash', '--norc', '-s'], ask))
}

const fish = (line: string[]): string[] => {
  const script = completionScript('fish', root)
  return words(output(['fish', '-N'], `${script}\ncomplete -C 'warren ${line.join(' ')}'`)).map(word =>
    word.replace(/\\(.)/g, '$1'),
  )
}

/** Those that are here; what is not is said. */
const here = ['bash', 'fish', 'zsh'].filter(shell => {
  if (Bun.which(shell) !== null) return true
  console.log(`NOT RUN: completion in ${shell}, which is not installed; npm run setup:system installs it`)
  return false
})

for (const [shell, offers] of Object.entries({ bash, fish })) {
  if (!here.includes(shell)) continue
  describe(shell, () => {
    test.each(CASES)('%j', (line, expected) => expect(offers(line)).toEqual(expected))
  })
}

describe('any shell', () => {
  test.each(['bash', 'zsh', 'fish'])('%s: a script for it', shell => {
    expect(completionScript(shell, root)).toContain('warren')
  })

  test.each(here)('%s: its own parser takes the script', shell => {
    output([shell, '-n'], completionScript(shell, root))
  })

  test('zsh: an argument that may be a file', () => {
    expect(completionScript('zsh', root)).toContain("'*:argument:_files'")
  })

  test('another one is refused by name', () => {
    expect(() => completionScript('tcsh', root)).toThrow("there is no completion for 'tcsh'")
  })

  test('its command takes the shell as an argument', () => {
    expect(dispatch(root, ['completion', 'bash'])).toMatchObject({ kind: 'run', rest: ['bash'] })
  })
})
