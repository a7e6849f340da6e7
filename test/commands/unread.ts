// A terminal that nobody reads: starts the command of its arguments on one, fills it up, sends SIGTERM, and prints after how
// many ms the command ended, or `hangs`. A process of its own, because its event loop has to stand still meanwhile.
import { readFileSync } from 'node:fs'

const PATIENCE_MS = 5_000
const RESIZES = 500

const ready = Promise.withResolvers<void>()
let shown = ''
const terminal = new Bun.Terminal({
  cols: 100,
  rows: 30,
  data: (_, data) => {
    shown += new TextDecoder().decode(data)
    if (shown.includes('Tunnel')) ready.resolve()
  },
})
const child = Bun.spawn(process.argv.slice(2), { terminal, env: { ...process.env, TERM: 'xterm-256color' } })
await ready.promise

// From here on nothing is read. Every new size is a new frame, until the terminal takes none: it keeps some 30 kB.
for (let n = 0; n < RESIZES; n++) {
  terminal.resize(100 + (n % 60), 30)
  // What the kernel does to a terminal's own session, which this one is not.
  child.kill('SIGWINCH')
  Bun.sleepSync(2)
}
child.kill('SIGTERM')
const from = performance.now()
while (!isOver() && performance.now() - from < PATIENCE_MS) Bun.sleepSync(5)
console.log(isOver() ? Math.round(performance.now() - from) : 'hangs')
child.kill('SIGKILL')
process.exit(0)

/** Nobody reaps it before this process looks again. */
function isOver(): boolean {
  return readFileSync(`/proc/${child.pid}/stat`, 'latin1').split(')').at(-1)?.trim().startsWith('Z') ?? false
}
