// The oracle's driver as a process of its own: it blocks in the kernel while scripts run, which no process that also
// reads a relay's output may do. Requests on stdin, answers on stdout, one JSON object a line.
import { Driver, type Failure, type Namespaces, type Way } from './driver.ts'
import { makeScript, type Script } from './script.ts'

export type Request =
  | { do: 'open'; slots: number; timeoutMs: number; namespaces: Namespaces; serviceHost: string }
  | { do: 'via'; ways: Way[] | null }
  | { do: 'run'; seed: number; from: number; count: number; failures: number }
  | { do: 'script'; index: number; script: Script; times: number; timeoutMs: number }
  /** Each of them once, by the way alone. */
  | { do: 'scripts'; from: number; scripts: Script[]; timeoutMs: number }

export type Answer =
  | { opened: number[] }
  | { failure: Failure }
  | { ran: number; strays: number; looks: number; ms: number }
  | { error: string }

const say = (answer: Answer) => process.stdout.write(`${JSON.stringify(answer)}\n`)

let driver: Driver | null = null

function serve(request: Request): void {
  if (request.do === 'open') {
    driver = new Driver(request.slots, request.timeoutMs, request.namespaces, request.serviceHost)
    say({ opened: driver.ports })
    return
  }
  if (driver === null) throw new Error('not open')
  if (request.do === 'via') {
    driver.via(request.ways)
    say({ ran: 0, strays: 0, looks: 0, ms: 0 })
    return
  }
  const began = performance.now()
  const { strays, looks } = driver
  const usual = driver.timeoutMs
  let failures = 0
  let ran = 0
  const failed = (failure: Failure) => {
    failures++
    say({ failure })
  }
  if (request.do === 'run') {
    const { seed, from, count } = request
    const next = () => (ran < count ? { index: from + ran, script: makeScript(seed, from + ran++) } : null)
    driver.runAll(next, failed, () => failures >= request.failures)
  } else if (request.do === 'scripts') {
    const { from, scripts } = request
    driver.timeoutMs = request.timeoutMs
    const next = () => (ran < scripts.length ? { index: from + ran, script: scripts[ran++]! } : null)
    driver.runAll(next, failed, () => false, false)
    driver.timeoutMs = usual
  } else {
    const { index, script, times } = request
    driver.timeoutMs = request.timeoutMs
    const next = () => (ran++ < times ? { index, script } : null)
    driver.runAll(next, failed, () => failures > 0)
    driver.timeoutMs = usual
  }
  say({ ran, strays: driver.strays - strays, looks: driver.looks - looks, ms: performance.now() - began })
}

for await (const line of console) {
  try {
    serve(JSON.parse(line) as Request)
  } catch (thrown) {
    say({ error: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown) })
  }
}
