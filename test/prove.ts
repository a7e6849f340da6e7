// `bun run prove`: the long forms of the proofs, and the page that says what they found.
//
//   bun run prove [--seed S] [--only NAME] [--write]
//
// --write puts the results into docs/proof.md. The program under test is dist/warren, built first. What needs root or a
// program that is not here counts as failed: a proof that was not made proves nothing.
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { proofs as frameProofs } from './frame/proofs.ts'
import type { Outcome, Proof } from './proof.ts'
import { proofs as wanProofs } from './wan/proofs.ts'

const ROOT = dirname(import.meta.dir)
process.chdir(ROOT)
process.env['WARREN'] = join('dist', 'warren')

const { values } = parseArgs({
  options: { seed: { type: 'string' }, only: { type: 'string' }, write: { type: 'boolean', default: false } },
})
const now = new Date()
const seed = Number(values.seed ?? Math.floor(now.getTime() / 1000) % 1_000_000)

const oracle = (via: string, scripts: number): Proof => ({
  name: `oracle-${via}`,
  what: `${scripts.toLocaleString('en')} random scripts, ${VIA[via]}`,
  run: async () => {
    const args = ['test/oracle/main.ts', '--via', via, '--scripts', String(scripts), '--seed', String(seed)]
    const { status, out } = await bun(args)
    return {
      good: status === 0,
      what: /^oracle: \d+ scripts via .*: (.*), [\d.]+ s$/m.exec(out)?.[1] ?? 'it broke off',
    }
  },
})

const VIA: Record<string, string> = {
  direct: 'loopback against loopback: the oracle itself',
  tunnel: 'through a tunnel against loopback',
  chain3: 'through three chained tunnels against loopback',
  wan: 'through a tunnel with 1 % loss and 40 ms round trip against loopback',
}

const crash = (who: 'relay' | 'agent'): Proof => ({
  name: `crash-${who}`,
  what: `kill -9 of the ${who} under load, 20 times at random moments`,
  run: async () => {
    const { crashes } = await import('./e2e/crash.ts')
    const { stats, backAfterMs } = await crashes(who, 20, seed)
    const worst = Math.max(...backAfterMs)
    const told = `${stats.complete} connections complete, ${stats.reset} reset, ${stats.wrong.length} ended wrongly`
    const wrong = stats.wrong.length > 0 ? ` (${[...new Set(stats.wrong)].slice(0, 3).join('; ')})` : ''
    return {
      good: stats.wrong.length === 0 && stats.reset > 0,
      what: `${told}${wrong}; the same port every time, bytes flow again after ${worst} ms at most; no descriptor leaked`,
    }
  },
})

const suite = (name: string, what: string, ...paths: string[]): Proof => ({
  name,
  what,
  run: async () => {
    const { status, out } = await bun(['scripts/test.ts', ...paths])
    const told = out.split('\n').filter(line => /^(iperf3|rates|\d+ (idle|connected))/.test(line))
    const count = /^\d+ passed, \d+ failed$/m.exec(out)?.[0] ?? 'it broke off'
    return { good: status === 0, what: [count, ...told].join('; ') }
  },
})

const PROOFS: Proof[] = [
  ...frameProofs(seed),
  oracle('direct', 10_000),
  oracle('tunnel', 10_000),
  oracle('chain3', 2000),
  oracle('wan', 2000),
  crash('relay'),
  crash('agent'),
  {
    name: 'never-reads',
    what: 'three visitors that never read: the rate of four others, of their rate alone, median of 15 rounds, at least 0.9',
    run: async () => {
      const { median, ratesBesideStuck } = await import('./e2e/stuck.ts')
      const ratios = await ratesBesideStuck(15)
      const [low, middle, high] = [ratios[0] ?? 0, median(ratios), ratios.at(-1) ?? 0]
      return { good: middle >= 0.9, what: `${middle.toFixed(2)} (from ${low.toFixed(2)} to ${high.toFixed(2)})` }
    },
  },
  suite('crowd', '10,000 idle visitors, 3,000 at the same moment, 500 in a row', './test/e2e/crowd.test.ts'),
  suite('programs', 'PostgreSQL, redis, ssh, iperf3, nginx, SMTP and nc, each direct first', 'programs'),
  ...wanProofs(seed),
]

process.exit(await main())

async function main(): Promise<number> {
  const wanted = PROOFS.filter(proof => values.only === undefined || proof.name.includes(values.only))
  if (wanted.length === 0) {
    console.log(`no proof of that name; there are: ${PROOFS.map(proof => proof.name).join(', ')}`)
    return 2
  }
  const built = await bun(['scripts/build.ts'])
  if (built.status !== 0) return 1
  const rows: string[] = []
  let failed = 0
  for (const proof of wanted) {
    console.log(`\n== ${proof.name}: ${proof.what}`)
    const began = performance.now()
    let outcome: Outcome
    try {
      outcome = await proof.run()
    } catch (thrown) {
      console.log(thrown)
      outcome = { good: false, what: thrown instanceof Error ? (thrown.message.split('\n')[0] ?? '') : String(thrown) }
    }
    const seconds = ((performance.now() - began) / 1000).toFixed(0)
    if (!outcome.good) failed++
    console.log(`== ${proof.name}: ${outcome.good ? 'held' : 'FAILED'}: ${outcome.what} (${seconds} s)`)
    rows.push(`| ${proof.what} | ${outcome.good ? 'held' : '**failed**'} | ${outcome.what} | ${seconds} s |`)
  }
  if (values.write) writeFileSync(join(ROOT, 'docs', 'proof.md'), page(rows))
  console.log(`\n${wanted.length - failed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}

function page(rows: string[]): string {
  const machine = `${cpus().length} cores (${cpus()[0]?.model.trim() ?? process.arch}), ${process.platform} ${process.arch}`
  return `# What was proven, and when

*Written by \`npm run prove -- --write\`, which makes these proofs again; \`--seed ${seed}\` makes the same ones. Their short
forms are tests: \`npm test\`, \`npm run test:programs\`.*

Date ${now.toISOString().slice(0, 10)}, seed ${seed}, ${machine}, the binary of \`npm run build\`.

| proof | result | in numbers | took |
|---|---|---|---|
${rows.join('\n')}
`
}

/** Runs a script of this project, shows what it says, and keeps it. */
async function bun(args: string[]): Promise<{ status: number; out: string }> {
  const child = Bun.spawn([process.execPath, ...args], { stdin: 'ignore', stdout: 'pipe', stderr: 'inherit' })
  process.once('exit', () => child.kill())
  const decoder = new TextDecoder()
  let out = ''
  for await (const chunk of child.stdout) {
    process.stdout.write(chunk)
    out += decoder.decode(chunk, { stream: true })
  }
  return { status: await child.exited, out }
}
