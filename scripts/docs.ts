// Makes docs/errors.md from src/errors.ts; with --check it only says whether that file is as it would be made.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ERRORS, EXIT, type Retry } from '../src/errors.ts'

const EXIT_MEANING: Record<keyof typeof EXIT, string> = {
  ok: 'It ended as it was asked to: the command is done, or a signal drained a relay or an agent.',
  failed: 'Something failed that none of the others names.',
  usage: 'The command line, an address, an invite or the environment is not right.',
  network: 'The relay cannot be reached, or the session with it broke. No command ends by it: an agent tries again.',
  trust: 'The relay is not the one that is known, or not known at all.',
  refused: 'The relay refused this key or this invite.',
  address: 'The public address is not to be had.',
  state: 'The state folder or a key file is not usable.',
  version: 'The two ends do not speak the same protocol.',
}

const RETRIES: Record<Retry, string> = {
  forever: 'tries again for ever',
  ends: 'ends',
  '-': 'not met by an agent',
}

const entries = Object.entries(ERRORS)

function errorsPage(): string {
  const statuses = Object.entries(EXIT).map(([name, status]) => {
    const codes = entries
      .filter(([, entry]) => entry.exit === status && status !== EXIT.ok)
      .map(([code]) => `\`${code}\``)
    return `| ${status} | ${EXIT_MEANING[name as keyof typeof EXIT]} | ${codes.join(', ')} |`
  })
  const agents = entries
    .filter(([, entry]) => entry.agent !== '-')
    .map(([code, entry]) => `| [\`${code}\`](#${code.toLowerCase()}) | ${RETRIES[entry.agent]} | ${entry.means} |`)
  const sections = entries.map(
    ([code, entry]) =>
      `### ${code}\n\n${entry.means}\n\n_What to do:_ ${entry.todo}\n\nAgent: ${RETRIES[entry.agent]}. Exit status: ${entry.exit}.\n`,
  )
  return `<!-- Made from src/errors.ts by \`bun run docs\`. Do not edit. -->

# Errors

Every error of warren has a code. A command prints it as \`warren: W-CODE what happened\`, and what to do on the next
line, both on standard error; \`--json\` events and log lines carry the same codes.

## Exit statuses

| status | what it means | codes |
|---|---|---|
${statuses.join('\n')}

A first SIGTERM or Ctrl-C drains: no new streams, and open ones get the time of \`--drain\` (30 s; 5 s of \`warren try\`). A
second one ends at once. Both exit with 0.

## What an agent retries

Once it runs, an agent tries again by itself after whatever may pass, with pauses of 0.1 s doubling to 10 s (2 s
after a goodbye of the relay), each drawn at random below that; and it ends where trying again cannot help, with the exit
status of the error.

| code | the agent | because |
|---|---|---|
${agents.join('\n')}

\`W-LOCAL-DOWN\` is a warning: the session and the tunnel stay, visitors are reset, and the service is tried again every
two seconds.

## All errors

${sections.join('\n')}`
}

const root = dirname(import.meta.dir)
const path = join(root, 'docs', 'errors.md')
const page = await formatted(errorsPage())
if (process.argv.includes('--check')) {
  if (!existsSync(path) || readFileSync(path, 'utf8') !== page) {
    console.error('docs/errors.md is not what src/errors.ts makes of it: run `npm run docs`')
    process.exit(1)
  }
} else {
  writeFileSync(path, page)
}

/** As `npm run check` wants every document. */
async function formatted(text: string): Promise<string> {
  const biome = Bun.spawn([join(root, 'node_modules/.bin/biome'), 'format', '--stdin-file-path=docs/errors.md'], {
    cwd: root,
    stdin: new Blob([text]),
    stderr: 'inherit',
  })
  const out = await new Response(biome.stdout).text()
  if ((await biome.exited) !== 0) process.exit(1)
  return out
}
