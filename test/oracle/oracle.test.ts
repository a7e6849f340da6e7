// The oracle on trial: it has to pass what makes no mistake, and to find and shrink every mistake put in on purpose.
import { afterEach, describe, expect, test } from 'bun:test'
import { BUGS, type Bug } from './forwarder.ts'
import { Oracle } from './oracle.ts'
import { lines, type Program, start } from './process.ts'
import { makeScript, type Script, SIDES, scriptText } from './script.ts'
import { shrink, smaller } from './shrink.ts'

const SEED = Number(process.env['SEED'] ?? 20)
const SLOTS = 24
// A mistake is often seen as a script that never ends, so here a script has to be given up early.
const GIVE_UP_MS = 3000

const open: Oracle[] = []
const programs: Program[] = []
afterEach(async () => {
  for (const oracle of open.splice(0)) await oracle.close()
  for (const program of programs.splice(0)) program.kill('SIGKILL')
})

async function oracleOver(bug: Bug | null, timeoutMs: number): Promise<Oracle> {
  const oracle = await Oracle.open({ slots: SLOTS, timeoutMs })
  open.push(oracle)
  if (bug !== null) {
    const forwarder = new URL('./forwarder.ts', import.meta.url).pathname
    const program = start([process.execPath, forwarder, bug, ...oracle.ports.map(String)])
    programs.push(program)
    const ports = JSON.parse((await lines(program.stdout).next()).value ?? '[]') as number[]
    await oracle.via(ports.map(port => ({ host: '127.0.0.1', port })))
  }
  return oracle
}

describe(`oracle (SEED=${SEED})`, () => {
  test('direct against direct: nothing differs', async () => {
    const oracle = await oracleOver(null, 15_000)
    const result = await oracle.run(SEED, 0, 400)
    expect(result).toMatchObject({ ran: 400, failures: [], strays: 0 })
  }, 60_000)

  test('a forwarder that makes no mistake passes', async () => {
    const oracle = await oracleOver('none', 15_000)
    const result = await oracle.run(SEED, 0, 400)
    expect(result).toMatchObject({ ran: 400, failures: [], strays: 0 })
  }, 60_000)

  for (const bug of BUGS.filter(b => b !== 'none')) {
    test(`finds ${bug}`, async () => {
      const oracle = await oracleOver(bug, GIVE_UP_MS)
      const { failures } = await oracle.run(SEED, 0, 3000, 1)
      expect(failures.length).toBeGreaterThan(0)
      // Found at the tunnel, not in the direct run.
      for (const failure of failures) expect(failure.via).not.toBeNull()
    }, 60_000)
  }

  test('shrinks a failure to its smallest script', async () => {
    const oracle = await oracleOver('flipped-byte', GIVE_UP_MS)
    const { failures } = await oracle.run(SEED, 0, 300, 1)
    const smallest = await oracle.shrink(failures[0]!, GIVE_UP_MS)
    // The forwarder flips the byte at 70,000, so one write of 70,001 shows it, and nothing less does.
    const steps = SIDES.map(side => smallest.script[side]).filter(side => side.length > 0)
    expect(steps).toEqual([[{ do: 'write', n: 70_001 }]])
    expect(smallest.script.early).toBe(false)
  }, 60_000)
})

describe('scripts', () => {
  test('the same seed and number make the same script', () => {
    for (let i = 0; i < 200; i++) expect(scriptText(makeScript(SEED, i))).toBe(scriptText(makeScript(SEED, i)))
    expect(scriptText(makeScript(SEED, 1))).not.toBe(scriptText(makeScript(SEED + 1, 1)))
  })

  test('every kind of step comes up, and a reset is always the last', () => {
    const seen = new Set<string>()
    for (let i = 0; i < 2000; i++) {
      const script = makeScript(SEED, i)
      for (const side of SIDES) {
        for (const step of script[side]) seen.add(step.do)
        const reset = script[side].findIndex(step => step.do === 'reset')
        if (reset >= 0) expect(reset).toBe(script[side].length - 1)
      }
    }
    expect([...seen].sort()).toEqual(['barrier', 'eof', 'fin', 'gone', 'pause', 'reset', 'resume', 'stop', 'write'])
  })

  test('shrinking keeps what fails and ends', async () => {
    const script = makeScript(SEED, 7)
    script.visitor.push({ do: 'write', n: 5000 })
    const fails = (s: Script) => s.visitor.some(step => step.do === 'write' && step.n >= 1234)
    const smallest = await shrink(script, fails)
    expect(smallest.visitor).toEqual([{ do: 'write', n: 1234 }])
    expect(smallest.service).toEqual([])
    for (const candidate of smaller(smallest)) expect(fails(candidate)).toBe(false)
  })
})
