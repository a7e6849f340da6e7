// Builds the one file that users get: dist/warren, with its checksum beside it. `--target linux-arm64` builds for another
// platform, to dist/warren-linux-arm64; it needs Bun's runtime for that platform, which Bun downloads once.
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ending, requireTarget, TARGETS } from './targets.ts'

const root = dirname(import.meta.dir)

const { values } = parseArgs({ options: { target: { type: 'string' }, outfile: { type: 'string' } } })
const { target } = values
if (target !== undefined) requireTarget(target)

// Bun adds .exe by itself where it is missing, and then the checksum would look for another file.
const end = ending(target)
const named = values.outfile ?? join(root, 'dist', target === undefined ? 'warren' : `warren-${target}`)
const outfile = resolve(named.endsWith(end) ? named : named + end)
mkdirSync(dirname(outfile), { recursive: true })
rmSync(outfile, { force: true })
rmSync(`${outfile}.sha256`, { force: true })

// From the project's own folder: paths in the binary are then relative to it, and say nothing of this machine.
const build = Bun.spawnSync(
  [
    process.execPath,
    'build',
    'src/cli.ts',
    '--compile',
    '--minify',
    // A compiled binary would otherwise run what a bunfig.toml in the user's folder names, and read its .env.
    '--no-compile-autoload-dotenv',
    '--no-compile-autoload-bunfig',
    ...(target === undefined ? [] : [`--target=${TARGETS[target]?.bun}`]),
    `--outfile=${outfile}`,
  ],
  { cwd: root, stdout: 'inherit', stderr: 'inherit' },
)
if (build.exitCode !== 0) process.exit(build.exitCode || 1)

const bytes = readFileSync(outfile)
// Not the folder alone: Bun's runtime has many short paths of its own, like /app.
if (['src', 'node_modules'].some(part => bytes.includes(join(root, part, '/')))) {
  console.error(`${outfile} holds the path of the folder it was built in, ${root}`)
  rmSync(outfile)
  process.exit(1)
}
const sum = createHash('sha256').update(bytes).digest('hex')
writeFileSync(`${outfile}.sha256`, `${sum}  ${basename(outfile)}\n`)
console.log(`${outfile}: ${(bytes.length / 1e6).toFixed(1)} MB, sha256 ${sum}`)
