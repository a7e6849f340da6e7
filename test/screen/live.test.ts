// The live screen against a terminal that is not there: what it writes, and when.
import { expect, spyOn, test } from 'bun:test'
import { LiveScreen } from '../../src/screen/live.ts'
import { Output } from '../../src/screen/output.ts'
import type { Terminal } from '../../src/screen/terminal.ts'
import type { Event } from '../../src/telemetry/events.ts'
import { until } from '../e2e/warren.ts'

/** In which some frames would have come. */
const FRAMES_MS = 700

function shown() {
  const terminal = {
    columns: 100,
    rows: 40,
    color: false,
    resized: () => {},
    ours: true,
    holds: 0,
    hold() {
      terminal.holds++
    },
    release() {},
    onResize(act: () => void) {
      terminal.resized = act
    },
    offResize() {},
  }
  const seen = { text: '' }
  const output = new Output({
    push: text => {
      seen.text += text
    },
  })
  const screen = new LiveScreen('agent', '1.2.3', terminal as unknown as Terminal, output)
  return { terminal, seen, output, screen }
}

const tunnel = (n: number): Event => ({
  event: 'tunnel',
  name: `web${n}`,
  address: `r:2000${n}`,
  local: `localhost:${n}`,
})

test('a terminal that becomes lower is drawn anew, as its top lines have scrolled away', async () => {
  const { terminal, seen, output, screen } = shown()
  screen.event({ event: 'session', state: 'connected', relay: 'r:7000', rtt: null })
  for (let n = 0; n < 5; n++) screen.event(tunnel(n))
  await until(() => seen.text.includes('web4'), 'all tunnels')
  await output.flush()
  seen.text = ''
  terminal.rows = 12
  terminal.resized()
  await output.flush()
  // Up to its first line, and everything from there on erased.
  expect(seen.text).toStartWith('\x1b[')
  expect(seen.text.slice(0, 12)).toContain('A\r\x1b[J')
  expect(seen.text).toContain('Session')
  screen.close()
})

test('in the background nothing is drawn, and to the front it comes back', async () => {
  const { terminal, seen, output, screen } = shown()
  await output.flush()
  terminal.ours = false
  process.emit('SIGCONT')
  seen.text = ''
  terminal.resized()
  screen.event(tunnel(1))
  await Bun.sleep(FRAMES_MS)
  expect(seen.text).toBe('')
  expect(terminal.holds).toBe(1)
  terminal.ours = true
  await until(() => seen.text.includes('web1'), 'the picture')
  expect(terminal.holds).toBe(2)
  screen.close()
})

test('a wall clock that is set back does not stop the picture', async () => {
  const { seen, screen } = shown()
  const real = Date.now
  const clock = spyOn(Date, 'now').mockImplementation(() => real() - 3_600_000)
  try {
    for (let n = 0; n < 3; n++) {
      screen.event(tunnel(n))
      await until(() => seen.text.includes(`web${n}`), `tunnel ${n}`, 3_000)
    }
  } finally {
    clock.mockRestore()
  }
  screen.close()
})
