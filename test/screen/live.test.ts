// The live screen against a terminal that is not there, on a clock of the test's own: what it writes, and when.
import { afterEach, beforeEach, expect, jest, spyOn, test } from 'bun:test'
import { LiveScreen } from '../../src/screen/live.ts'
import { Output } from '../../src/screen/output.ts'
import type { Terminal } from '../../src/screen/terminal.ts'
import type { Event } from '../../src/telemetry/events.ts'

beforeEach(() => {
  jest.useFakeTimers()
})

afterEach(() => {
  jest.useRealTimers()
})

function shown() {
  const terminal = {
    columns: 100,
    rows: 40,
    color: false,
    ours: true,
    holds: 0,
    resized: () => {},
    hold() {
      terminal.holds++
    },
    release() {},
    onResize(act: () => void) {
      terminal.resized = act
    },
    offResize() {},
  }
  let written = ''
  const output = new Output({
    push: text => {
      written += text
    },
  })
  const screen = new LiveScreen('agent', '1.2.3', terminal as unknown as Terminal, output)
  /** What is written within a second. */
  async function second(): Promise<string> {
    for (let frame = 0; frame < 4; frame++) {
      jest.advanceTimersByTime(250)
      await output.flush()
    }
    const text = written
    written = ''
    return text
  }
  return { terminal, second, screen }
}

const tunnel = (n: number): Event => ({
  event: 'tunnel',
  name: `web${n}`,
  address: `r:2000${n}`,
  local: `localhost:${n}`,
})

test('a terminal that becomes lower is drawn anew, as its top lines have scrolled away', async () => {
  const { terminal, second, screen } = shown()
  screen.event({ event: 'session', state: 'connected', relay: 'r:7000', rtt: null })
  for (let n = 0; n < 5; n++) screen.event(tunnel(n))
  expect(await second()).toContain('web4')
  terminal.rows = 12
  terminal.resized()
  const text = await second()
  // Up to its first line, and everything from there on erased.
  expect(text).toStartWith('\x1b[')
  expect(text.slice(0, 12)).toContain('A\r\x1b[J')
  expect(text).toContain('Session')
  screen.close()
})

test('in the background nothing is drawn, and to the front it comes back', async () => {
  const { terminal, second, screen } = shown()
  await second()
  terminal.ours = false
  process.emit('SIGCONT')
  terminal.resized()
  screen.event(tunnel(1))
  expect(await second()).toBe('')
  expect(terminal.holds).toBe(1)
  terminal.ours = true
  expect(await second()).toContain('web1')
  expect(terminal.holds).toBe(2)
  screen.close()
})

test('a wall clock that is set back does not stop the picture', async () => {
  const { second, screen } = shown()
  await second()
  const back = Date.now() - 3_600_000
  const clock = spyOn(Date, 'now').mockImplementation(() => back)
  try {
    for (let n = 0; n < 3; n++) {
      screen.event(tunnel(n))
      expect(await second()).toContain(`web${n}`)
    }
  } finally {
    clock.mockRestore()
  }
  screen.close()
})
