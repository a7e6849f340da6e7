// The help of a command: what it does, how it is written, its flags, and examples that can be typed as they stand.
import type { ArgsDef } from 'citty'
import { type Command, named } from './command.ts'

type Row = readonly [left: string, right: string]

/** No command of the tree has them: the dispatcher takes them by itself, of the program alone. */
const PROGRAM_FLAGS: readonly Row[] = [
  ['-h, --help', 'This page'],
  ['-V, --version', 'The version'],
]

export function helpText(path: readonly Command[], width: number, color: boolean): string {
  const command = path.at(-1)
  if (command === undefined) return ''
  const head = (text: string) => (color ? `\x1b[1m${text}\x1b[0m` : text)
  const sections: string[] = [wrap(`${command.description}.`, 0, width)]

  if (command.kind === 'group') {
    sections.push(`${head('Usage')}\n  ${named(path)} COMMAND`)
    const rows = [...command.commands.values()].map(one => [one.name, one.description] as const)
    sections.push(`${head('Commands')}\n${table(rows, width)}`)
    if (path.length === 1) sections.push(`${head('Flags')}\n${table(PROGRAM_FLAGS, width)}`)
  } else {
    const positionals = Object.entries(command.args).filter(([, definition]) => definition.type === 'positional')
    const flags = Object.entries(command.args).filter(([, definition]) => definition.type !== 'positional')
    const words = positionals.map(([name, definition], index) => {
      const word = `${definition.valueHint ?? name}${command.repeats && index === positionals.length - 1 ? '...' : ''}`
      return definition.required === false ? `[${word}]` : word
    })
    sections.push(`${head('Usage')}\n  ${[named(path), ...words, ...(flags.length > 0 ? ['[FLAGS]'] : [])].join(' ')}`)
    if (positionals.length > 0) sections.push(`${head('Arguments')}\n${table(positionals.map(argumentRow), width)}`)
    if (flags.length > 0) sections.push(`${head('Flags')}\n${table(flags.map(flagRow), width)}`)
  }
  const examples = command.examples.map(([line, does]) => `  ${line}\n${wrap(does, 6, width)}`)
  sections.push(`${head('Examples')}\n${examples.join('\n')}`)
  if (command.kind === 'group')
    sections.push(wrap(`\`${named(path)} COMMAND -h\` shows the flags and examples of a command.`, 0, width))
  return sections.join('\n\n')
}

function argumentRow([name, definition]: [string, ArgsDef[string]]): Row {
  return [definition.valueHint ?? name, definition.description ?? '']
}

function flagRow([name, definition]: [string, ArgsDef[string]]): Row {
  const value = definition.type === 'boolean' ? '' : ` ${definition.valueHint ?? name.toUpperCase()}`
  const usual = definition.default === undefined || definition.default === false ? '' : ` [${definition.default}]`
  return [`--${name}${value}`, `${definition.description ?? ''}${usual}`]
}

function table(rows: readonly Row[], width: number): string {
  const column = Math.min(28, Math.max(...rows.map(([left]) => left.length)) + 4)
  return rows
    .map(([left, right]) => {
      const lead = `  ${left}`
      const text = wrap(right, column, width)
      // A left side that is too long for the column has a line of its own.
      return lead.length + 2 > column ? `${lead}\n${text}` : lead.padEnd(column) + text.slice(column)
    })
    .join('\n')
}

/** Words in lines of at most `width` columns, each indented. */
function wrap(text: string, indent: number, width: number): string {
  const most = Math.max(30, Math.min(width, 100)) - indent
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > most) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].map(one => ' '.repeat(indent) + one).join('\n')
}
