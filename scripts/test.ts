// `npm test`: everything that needs only Node and npm, against the compiled binary. `npm run test:programs`: what needs
// programs of the operating system, and root. Each says at its end what it did not run, and closes with one line:
// N passed, N failed.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

const ROOT = dirname(import.meta.dir)
/** Folders of tests that npm alone cannot run. */
const PROGRAMS = ['programs', 'wan']
/** What a test says when it did less than it would elsewhere. */
const NOT_RUN = /^NOT RUN.*/gm
/** Lines of one failure that are told again. */
const MOST_TOLD = 60

const programs = process.argv[2] === 'programs'
const only = process.argv.slice(programs ? 3 : 2)

process.chdir(ROOT)
process.exit(await main())

async function main(): Promise<number> {
  const build = Bun.spawn([process.execPath, 'scripts/build.ts'], { stdout: 'inherit', stderr: 'inherit' })
  if ((await build.exited) !== 0) return close(0, 1)

  const work = mkdtempSync(join(tmpdir(), 'warren-test-'))
  const report = join(work, 'junit.xml')
  const paths = only.length > 0 ? only : folders()
  const run = Bun.spawn([process.execPath, 'test', '--reporter=junit', `--reporter-outfile=${report}`, ...paths], {
    stdout: 'pipe',
    stderr: 'pipe',
    env: { ...process.env, WARREN: join('dist', process.platform === 'win32' ? 'warren.exe' : 'warren') },
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => run.kill(signal))
  const [out, err, status] = await Promise.all([
    copy(run.stdout, process.stdout),
    copy(run.stderr, process.stderr),
    run.exited,
  ])
  const { passed, failed } = counts(report, status)
  rmSync(work, { recursive: true })

  for (const said of failures(err)) console.log(`\nfailed:\n${said}`)
  console.log('')
  for (const line of new Set([...(out.match(NOT_RUN) ?? []), ...(err.match(NOT_RUN) ?? [])])) console.log(line)
  if (!programs && only.length === 0) {
    console.log(
      'Not run here: the tests with real programs (psql, pgbench, redis, ssh, iperf3, nginx, curl, nc) and over a',
    )
    console.log('long, lossy link. They need Debian and root: npm run setup:system, then npm run test:programs.')
    console.log('Not run here: the long proofs (10,000 scripts, 20 crashes each): npm run prove.')
  }
  return close(passed, failed)
}

function folders(): string[] {
  const all = readdirSync(join(ROOT, 'test'), { withFileTypes: true })
  const found = all.filter(entry => entry.isDirectory() && PROGRAMS.includes(entry.name) === programs)
  return found.map(folder => `./test/${folder.name}/`).sort()
}

/** Shows it as it comes, and keeps it. */
async function copy(from: ReadableStream<Uint8Array>, to: NodeJS.WriteStream): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of from) {
    to.write(chunk)
    text += decoder.decode(chunk, { stream: true })
  }
  return text
}

/** What stands before each `(fail)`: at the end it is found without a search through all that passed. */
function failures(text: string): string[] {
  const all = text.split(/^\d+ tests? failed:$/m)[0]!.split('\n')
  const found: string[] = []
  const tell = (begin: number, end: number) => found.push(all.slice(begin, end).join('\n').trim())
  let from = 0
  for (const [i, line] of all.entries()) {
    if (line.startsWith('(fail)')) tell(Math.max(from, i - MOST_TOLD), i + 1)
    // A file that cannot be run has no test that fails.
    if (line.startsWith('# Unhandled error')) tell(i, i + MOST_TOLD)
    if (/^\((pass|fail|skip|todo)\)/.test(line)) from = i + 1
  }
  return found
}

/** From the report; a run that died before it wrote one has failed. */
function counts(report: string, status: number): { passed: number; failed: number } {
  const head = existsSync(report) ? (/<testsuites[^>]*>/.exec(readFileSync(report, 'utf8'))?.[0] ?? '') : ''
  const number = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(head)?.[1] ?? 0)
  const skipped = number('skipped')
  const failed = number('failures') + skipped
  const passed = number('tests') - failed
  // An error outside of every test counts too, and so does a run without a test.
  return { passed, failed: failed === 0 && (status !== 0 || passed === 0) ? 1 : failed }
}

function close(passed: number, failed: number): number {
  console.log(`${passed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}
