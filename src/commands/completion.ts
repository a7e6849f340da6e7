// `warren completion`: a script that teaches a shell warren's commands and flags, made from the command tree itself. It
// needs nothing but the shell: no process a key press, and none of the packages that completions often take for granted.
import type { ArgsDef } from 'citty'
import { WarrenError } from '../errors.ts'
import { type Command, type Group, type Leaf, leaf } from './command.ts'
import { stdout } from './streams.ts'

/** What may follow a flag, or stand as an argument. */
type Value =
  | { readonly kind: 'none' }
  | { readonly kind: 'text' }
  | { readonly kind: 'file' }
  | { readonly kind: 'folder' }
  | { readonly kind: 'choice'; readonly words: readonly string[] }

type Flag = { readonly name: string; readonly about: string; readonly value: Value }

const HELP: Flag = { name: 'help', about: 'Show flags and examples', value: { kind: 'none' } }

/** Every command of a tree, with the words that lead to it. */
type Place = { readonly words: readonly string[]; readonly command: Command }

export function completionFor(root: () => Group): Leaf {
  return leaf({
    name: 'completion',
    description: 'Print a completion script for bash, zsh or fish',
    args: {
      shell: { type: 'positional', required: true, valueHint: 'bash|zsh|fish', description: 'The shell' },
    },
    examples: [
      ['source <(warren completion bash)', 'In ~/.bashrc.'],
      ['source <(warren completion zsh)', 'In ~/.zshrc, behind compinit.'],
      ['warren completion fish > ~/.config/fish/completions/warren.fish', 'Once.'],
    ],
    run: args => stdout.write(completionScript(args.shell, root())),
  })
}

export function completionScript(shell: string, root: Group): string {
  const places = placesOf(root, [])
  switch (shell) {
    case 'bash':
      return bash(places)
    case 'zsh':
      return zsh(places)
    case 'fish':
      return fish(places)
    default:
      throw new WarrenError('W-USAGE', `there is no completion for '${shell}'; there is one for bash, zsh and fish`)
  }
}

function placesOf(command: Command, words: readonly string[]): Place[] {
  const below = command.kind === 'group' ? [...command.commands.values()] : []
  return [{ words, command }, ...below.flatMap(one => placesOf(one, [...words, one.name]))]
}

function flagsOf(command: Leaf): Flag[] {
  const flags = Object.entries(command.args).filter(([, definition]) => definition.type !== 'positional')
  return [...flags.map(([name, definition]) => ({ name, about: brief(definition), value: valueFor(definition) })), HELP]
}

function positionalOf(command: Leaf): Value {
  const first = Object.values(command.args).find(definition => definition.type === 'positional')
  return first === undefined ? { kind: 'none' } : valueFor(first)
}

function valueFor(definition: ArgsDef[string]): Value {
  if (definition.type === 'boolean') return { kind: 'none' }
  if (definition.type === 'enum') return { kind: 'choice', words: definition.options ?? [] }
  const words = definition.valueHint?.split('|') ?? []
  if (words.includes('FILE')) return { kind: 'file' }
  if (words.includes('DIR')) return { kind: 'folder' }
  return words.length > 1 ? { kind: 'choice', words } : { kind: 'text' }
}

/** A description without its hint of what holds when the flag is left out. */
function brief(definition: ArgsDef[string]): string {
  return definition.description?.split(' [')[0] ?? ''
}

function subcommands(command: Group): string[] {
  return [...command.commands.keys()]
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function bash(places: readonly Place[]): string {
  const steps = places.filter(({ words }) => words.length > 0).map(({ words }) => quote(words.join('/')))
  const values: string[] = []
  const offers: string[] = []
  for (const { words, command } of places) {
    const path = words.join('/')
    if (command.kind === 'group') {
      offers.push(`    ${quote(path)}) offers=${quote([...subcommands(command), '--help'].join(' '))} ;;`)
      continue
    }
    for (const flag of flagsOf(command)) {
      if (flag.value.kind !== 'none') values.push(`    ${quote(`${path} --${flag.name}`)}) ${bashValue(flag.value)} ;;`)
    }
    const positional = positionalOf(command)
    const names = flagsOf(command).map(flag => `--${flag.name}`)
    const all = [...(positional.kind === 'choice' ? positional.words : []), ...names].join(' ')
    const files = positional.kind === 'file' ? ' files=1' : ''
    offers.push(`    ${quote(path)}) offers=${quote(all)}${files} ;;`)
  }
  // bash takes '=' for a word of its own.
  return `# bash completion for warren

_warren() {
  local IFS=$'\\n' current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]} path= offers= files= at
  if [[ $current == '=' ]]; then
    current=
  elif [[ $before == '=' ]]; then
    before=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((at = 1; at < COMP_CWORD; at++)); do
    case "\${path:+$path/}\${COMP_WORDS[at]}" in
    ${steps.join(' | ')}) path="\${path:+$path/}\${COMP_WORDS[at]}" ;;
    esac
  done
  COMPREPLY=()
  case "$path $before" in
${values.join('\n')}
  esac
  case "$path" in
${offers.join('\n')}
  esac
  COMPREPLY=($(compgen -W "\${offers// /$'\\n'}" -- "$current"))
  if [[ -n $files && $current != -* ]]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY+=($(compgen -f -- "$current"))
  fi
}

complete -F _warren warren
`
}

function bashValue(value: Value): string {
  switch (value.kind) {
    case 'file':
      return 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")); return'
    case 'folder':
      return 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$current")); return'
    case 'choice':
      return `COMPREPLY=($(compgen -W $'${value.words.join('\\n')}' -- "$current")); return`
    default:
      return 'return'
  }
}

function zsh(places: readonly Place[]): string {
  const functions = places.map(({ words, command }) => {
    const name = ['_warren', ...words].join('_')
    const body = command.kind === 'group' ? zshGroup(name, command) : zshLeaf(command)
    return `${name}() {\n${body}\n}`
  })
  return `#compdef warren
# zsh completion for warren

${functions.join('\n\n')}

if [[ $funcstack[1] == _warren ]]; then
  _warren "$@"
else
  compdef _warren warren
fi
`
}

function zshGroup(name: string, command: Group): string {
  const commands = [...command.commands.values()].map(one => `    ${quote(`${one.name}:${one.description}`)}`)
  const cases = subcommands(command).map(one => `    ${one}) ${name}_${one} ;;`)
  return `  local line state
  local -a commands=(
${commands.join('\n')}
  )
  _arguments -C '(-h --help)'{-h,--help}'[${HELP.about}]' '1: :->command' '*:: :->rest'
  case $state in
  command) _describe -t commands command commands ;;
  rest)
    case $line[1] in
${cases.join('\n')}
    esac
    ;;
  esac`
}

function zshLeaf(command: Leaf): string {
  const flags = flagsOf(command).map(({ name, about, value }) => {
    const safe = about.replace(/[[\]:\\]/g, '\\$&')
    return quote(`--${name}${value.kind === 'none' ? '' : '='}[${safe}]${zshValue(name, value)}`)
  })
  const positional = positionalOf(command)
  const argument = positional.kind === 'none' ? [] : [quote(`*${zshValue('argument', positional)}`)]
  return `  _arguments -s ${[...flags, ...argument].join(' \\\n    ')}`
}

function zshValue(name: string, value: Value): string {
  switch (value.kind) {
    case 'none':
      return ''
    case 'text':
      return `:${name}: `
    case 'file':
      return `:${name}:_files`
    case 'folder':
      return `:${name}:_files -/`
    case 'choice':
      return `:${name}:(${value.words.join(' ')})`
  }
}

function fish(places: readonly Place[]): string {
  const lines: string[] = []
  for (const { words, command } of places) {
    const here = words.map(word => `__fish_seen_subcommand_from ${word}`)
    if (command.kind === 'group') {
      const names = subcommands(command).join(' ')
      const when = quote([...here, `not __fish_seen_subcommand_from ${names}`].join('; and '))
      for (const one of command.commands.values()) {
        lines.push(`complete -c warren -n ${when} -a ${one.name} -d ${quote(one.description)}`)
      }
      continue
    }
    const when = quote(here.join('; and '))
    const positional = positionalOf(command)
    if (positional.kind === 'choice')
      lines.push(`complete -c warren -n ${when} -a ${quote(positional.words.join(' '))}`)
    if (positional.kind === 'file') lines.push(`complete -c warren -n ${when} -F`)
    for (const { name, about, value } of flagsOf(command)) {
      lines.push(`complete -c warren -n ${when} -l ${name}${fishValue(value)} -d ${quote(about)}`)
    }
  }
  return `# fish completion for warren
complete -c warren -f
${lines.join('\n')}
`
}

function fishValue(value: Value): string {
  switch (value.kind) {
    case 'none':
      return ''
    case 'text':
      return ' -x'
    case 'file':
      return ' -r -F'
    case 'folder':
      return " -x -a '(__fish_complete_directories)'"
    case 'choice':
      return ` -x -a ${quote(value.words.join(' '))}`
  }
}
