// What a command of warren is: a citty command that also carries examples, is reached by a strict dispatcher, and whose
// flags are checked before it runs (citty alone lets unknown ones through).
import { parseArgs } from 'node:util'
import { type ArgsDef, type CommandDef, defineCommand, type ParsedArgs } from 'citty'
import { WarrenError } from '../errors.ts'

/** A line to type, and what it does. */
export type Example = readonly [line: string, does: string]

type About = {
  readonly name: string
  /** One line, for the list of commands. */
  readonly description: string
  readonly examples: readonly Example[]
}

export type Leaf = About & {
  readonly kind: 'leaf'
  readonly args: ArgsDef
  /** May its last positional be given several times? */
  readonly repeats: boolean
  readonly citty: CommandDef
}

export type Group = About & {
  readonly kind: 'group'
  readonly commands: ReadonlyMap<string, Leaf | Group>
  readonly citty: CommandDef
}

export type Command = Leaf | Group

type LeafOptions<T extends ArgsDef> = About & {
  readonly args: T
  readonly repeats?: boolean
  readonly run: (args: ParsedArgs<T>) => Promise<void> | void
}

export function leaf<const T extends ArgsDef>(options: LeafOptions<T>): Leaf {
  const { name, description, examples, args, repeats = false, run } = options
  const citty: CommandDef = defineCommand({
    meta: { name, description },
    args: args as ArgsDef,
    // citty parsed them by these very definitions.
    run: context => run(context.args as ParsedArgs<T>),
  })
  return { kind: 'leaf', name, description, examples, args, repeats, citty }
}

export function group(options: About & { readonly commands: readonly Command[] }): Group {
  const { name, description, examples, commands } = options
  const citty = defineCommand({
    meta: { name, description },
    subCommands: Object.fromEntries(commands.map(command => [command.name, command.citty])),
  })
  return { kind: 'group', name, description, examples, commands: new Map(commands.map(one => [one.name, one])), citty }
}

export type Dispatch =
  | { readonly kind: 'help'; readonly path: readonly Command[]; readonly asked: boolean }
  | { readonly kind: 'version' }
  | { readonly kind: 'run'; readonly command: Leaf; readonly rest: string[] }

/** Finds the command that is meant, and checks its flags. Throws W-USAGE for what no command understands. */
export function dispatch(root: Group, args: readonly string[]): Dispatch {
  const path: Command[] = [root]
  let rest = args
  let command: Command = root
  let asked = false
  if (rest[0] === 'help') {
    asked = true
    rest = rest.slice(1)
  }
  while (command.kind === 'group') {
    const [word, ...more] = rest
    if (word === undefined) return { kind: 'help', path, asked }
    if (isHelp(word)) return { kind: 'help', path, asked: true }
    if (command === root && (word === '--version' || word === '-V' || word === '-v')) return { kind: 'version' }
    const next: Command | undefined = command.commands.get(word)
    if (next === undefined) throw unknownWord(path, word, [...command.commands.keys()])
    path.push(next)
    command = next
    rest = more
  }
  const end = rest.indexOf('--')
  if (asked || rest.slice(0, end === -1 ? rest.length : end).some(isHelp)) return { kind: 'help', path, asked: true }
  checkArguments(command, rest, named(path))
  return { kind: 'run', command, rest: [...rest] }
}

/** `warren keys list` */
export function named(path: readonly Command[]): string {
  return path.map(command => command.name).join(' ')
}

function isHelp(word: string): boolean {
  return word === '-h' || word === '--help'
}

function unknownWord(path: readonly Command[], word: string, known: string[]): WarrenError {
  const what = word.startsWith('-') ? 'flag' : 'command'
  const near = what === 'command' ? nearest(word, known) : null
  const hint = near === null ? `; \`${named(path)} -h\` lists what there is` : `; did you mean '${near}'?`
  return new WarrenError('W-USAGE', `${named(path)} has no ${what} '${word}'${hint}`)
}

function checkArguments(command: Leaf, args: readonly string[], name: string): void {
  const flags = new Map<string, ArgsDef[string]>()
  const options: Record<string, { type: 'string' | 'boolean' }> = {}
  const positionals: [name: string, required: boolean][] = []
  for (const [flag, definition] of Object.entries(command.args)) {
    if (definition.type === 'positional') {
      positionals.push([definition.valueHint ?? flag, definition.required !== false])
    } else {
      flags.set(flag, definition)
      options[flag] = { type: definition.type === 'boolean' ? 'boolean' : 'string' }
    }
  }
  const usage = (what: string) => new WarrenError('W-USAGE', `${name}: ${what}`)
  const { tokens } = parseArgs({ args: [...args], options, strict: false, allowPositionals: true, tokens: true })
  const seen = new Set<string>()
  let given = 0
  for (const token of tokens) {
    if (token.kind === 'positional') {
      given++
      if (given > positionals.length && !command.repeats) throw usage(`'${token.value}' is one argument too many`)
    }
    if (token.kind !== 'option') continue
    const definition = token.rawName.startsWith('--') ? flags.get(token.name) : undefined
    if (definition === undefined) {
      const near = nearest(token.name, [...flags.keys()])
      throw usage(`there is no flag ${token.rawName}${near === null ? '' : `; did you mean --${near}?`}`)
    }
    if (seen.has(token.name)) throw usage(`${token.rawName} is given twice`)
    seen.add(token.name)
    if (definition.type === 'boolean') {
      if (token.value !== undefined) throw usage(`${token.rawName} takes no value`)
      continue
    }
    if (token.value === undefined || token.value === '') throw usage(`${token.rawName} needs a value`)
    if (!token.inlineValue && token.value.length > 1 && token.value.startsWith('-')) {
      throw usage(`${token.rawName} needs a value; if '${token.value}' is meant, write ${token.rawName}=${token.value}`)
    }
    if (definition.type === 'enum' && !definition.options?.includes(token.value)) {
      throw usage(`${token.rawName}: '${token.value}' is not one of ${definition.options?.join(', ')}`)
    }
  }
  const missing = positionals[given]
  if (missing?.[1]) throw usage(`${missing[0]} is missing`)
}

/** The known word that `word` is likely a slip of: at most two letters wrong, or the start of just one. */
function nearest(word: string, known: readonly string[]): string | null {
  const started = known.filter(one => word.length > 1 && one.startsWith(word))
  if (started.length === 1) return started[0] ?? null
  const near = known.filter(one => distance(word, one) <= (word.length > 3 ? 2 : 1))
  return near[0] ?? null
}

/** How many letters to put in, take out or change, or neighbours to swap: what a hurried hand does most. */
function distance(a: string, b: string): number {
  let before: number[] = []
  let row = [...Array(b.length + 1).keys()]
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      const steps = [(row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + same]
      if (swapped) steps.push((before[j - 2] ?? 0) + 1)
      next.push(Math.min(...steps))
    }
    before = row
    row = next
  }
  return row[b.length] ?? 0
}
