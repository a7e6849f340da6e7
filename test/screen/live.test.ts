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
    releases: 0,
    release() {
      terminal.releases++
    },
    cooked: 0,
    cook() {
      terminal.cooked++
    },
    onResize(act: () => void) {
      terminal.resized = act
    },
    offResize() {},
  }
  let written = ''
  let taken: Promise<void> | undefined
  const output = new Output({
    push: text => {
      written += text
      return taken
    },
  })
  /** From now on the terminal takes what is written only when it is told to. */
  function stall(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>()
    taken = promise
    return () => {
      taken = undefined
      resolve()
    }
  }
  const screen = new LiveScreen('agent', '1.2.3', terminal as unknown as Terminal, output)
  /** What is written within a second. */
  async function second(): Promise<string> {
    for (let frame = 0; frame < 4; frame++) {
      jest.advanceTimersByTime(250)
      // A terminal that takes nothing is not waited for.
      if (taken === undefined) await output.flush()
    }
    const text = written
    written = ''
    return text
  }
  return { terminal, second, screen, output, stall }
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

test('Ctrl-Z once or twice: the terminal is as it was found when the process stops, once, and nothing is drawn', async () => {
  const { terminal, second, screen } = shown()
  screen.event({ event: 'session', state: 'connected', relay: 'r:7000', rtt: null })
  await second()
  const stops: unknown[][] = []
  const kill = spyOn(process, 'kill').mockImplementation((...args) => {
    stops.push([...args, terminal.cooked])
    return true
  })
  try {
    process.emit('SIGTSTP')
    process.emit('SIGTSTP')
    screen.event(tunnel(1))
    terminal.resized()
    expect(await second()).not.toContain('web1')
  } finally {
    kill.mockRestore()
  }
  expect(stops).toEqual([[process.pid, 'SIGSTOP', 1]])
  expect([terminal.releases, terminal.holds]).toEqual([1, 1])
  process.emit('SIGCONT')
  expect(await second()).toContain('web1')
  expect(terminal.holds).toBe(2)
  screen.close()
})

test('a terminal that takes nothing is written one frame, however often it is resized', async () => {
  const { terminal, screen, output, second, stall } = shown()
  await second()
  const take = stall()
  screen.event(tunnel(1))
  await second()
  for (let columns = 40; columns < 440; columns++) {
    terminal.columns = columns
    terminal.resized()
  }
  expect(await second()).toBe('')
  take()
  await output.flush()
  expect((await second()).split('web1')).toHaveLength(2)
  screen.close()
})

test('a process that went on, or ends, before its terminal took what was written is not stopped by Ctrl-Z', async () => {
  for (const how of ['went on', 'ends']) {
    const { terminal, screen, output, second, stall } = shown()
    screen.event({ event: 'session', state: 'connected', relay: 'r:7000', rtt: null })
    await second()
    const kill = spyOn(process, 'kill').mockImplementation(() => true)
    try {
      const take = stall()
      screen.event(tunnel(1))
      await second()
      process.emit('SIGTSTP')
      if (how === 'ends') screen.close()
      else process.emit('SIGCONT')
      take()
      await output.flush()
      expect(kill).not.toHaveBeenCalled()
    } finally {
      kill.mockRestore()
    }
    expect(terminal.cooked).toBe(0)
    expect(await second()).toContain(how === 'ends' ? 'stopped' : 'web1')
    if (how !== 'ends') screen.close()
  }
})

test('the last frame has what moved until then', async () => {
  const { screen, second } = shown()
  let sent = 0
  screen.watch(() => new Map([['web1', { sent, received: 0 }]]))
  screen.event({ event: 'session', state: 'connected', relay: 'r:7000', rtt: null })
  screen.event(tunnel(1))
  await second()
  sent = 5_000_000
  screen.close()
  expect(await second()).toContain('sent 5.0 MB')
})

test('the last frame is whole, and there is none of what never began', async () => {
  const low = shown()
  low.terminal.rows = 10
  low.screen.event({ event: 'session', state: 'connected', relay: 'r:7000', rtt: null })
  for (let n = 0; n < 9; n++) low.screen.event(tunnel(n))
  expect(await low.second()).not.toContain('web8')
  low.screen.close()
  expect(await low.second()).toContain('web8')

  const never = shown()
  expect(await never.second()).toContain('starting')
  never.screen.close()
  expect(await never.second()).toBe('\x1b[3A\r\x1b[J')
})
