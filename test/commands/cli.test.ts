// The program as a user runs it: what it prints where, how it ends, and what it leaves of a terminal.
import { describe, expect, test } from 'bun:test'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EXIT } from '../../src/errors.ts'
import { within } from '../e2e/warren.ts'
import { temporaryFolder } from '../folder.ts'
import { leaveNone, lines } from '../oracle/process.ts'

const folder = temporaryFolder()
const CLI = [process.execPath, join(import.meta.dir, '../../src/cli.ts')]
const LOOPBACK = ['--listen', '127.0.0.1:0', '--bind', '127.0.0.1']

function environment(more: Record<string, string> = {}): Record<string, string> {
  const { WARREN_RELAY: _, WARREN_STATE: __, NO_COLOR: ___, ...rest } = process.env
  return { ...(rest as Record<string, string>), WARREN_STATE: join(folder, 'state'), ...more }
}

type Ran = { status: number; out: string; err: string }

async function warren(...words: [Record<string, string>, ...string[]] | string[]): Promise<Ran> {
  const [first, ...rest] = words
  const [more, args] = typeof first === 'object' ? [first, rest] : [{}, words]
  const child = Bun.spawn([...CLI, ...(args as string[])], {
    stdout: 'pipe',
    stderr: 'pipe',
    stdin: 'ignore',
    env: environment(more),
  })
  leaveNone(child)
  const [out, err, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  return { status, out, err }
}

describe('a command that says something and ends', () => {
  test('the version', async () => {
    const { version } = await Bun.file(join(import.meta.dir, '../../package.json')).json()
    expect(await warren('--version')).toEqual({ status: 0, out: `warren ${version}\n`, err: '' })
  })

  test('help that was asked for is on standard output; help for want of a command is an error', async () => {
    const asked = await warren('-h')
    expect(asked).toMatchObject({ status: 0, err: '' })
    expect(await warren()).toEqual({ status: EXIT.usage, out: '', err: asked.out })
    expect(await warren('keys')).toMatchObject({ status: EXIT.usage, out: '' })
  })

  test('every command has help with examples', async () => {
    const commands = ['relay', 'tcp', 'try', 'invite', 'keys', 'leases', 'completion', 'keys list', 'keys allow']
    commands.push('keys revoke', 'keys rename', 'leases list', 'leases free')
    const pages = await Promise.all(commands.map(command => warren(...command.split(' '), '-h')))
    for (const [at, page] of pages.entries()) {
      expect(page).toMatchObject({ status: 0, err: '' })
      expect(page.out).toContain(`warren ${commands[at]}`)
      expect(page.out).toMatch(/Examples\n {2}\S.*\n {6}\S/)
    }
  })

  test('an error says its code, what happened and what to do, and exits with its status', async () => {
    expect(await warren('tcp', '5432', '--prot', '22')).toEqual({
      status: EXIT.usage,
      out: '',
      err:
        'warren: W-USAGE warren tcp: there is no flag --prot; did you mean --port?\n' +
        '  `-h` after any command shows its flags and examples.\n',
    })
    expect((await warren('tcp', '99999')).err).toStartWith("warren: W-ADDRESS '99999' is not an address: ")
    expect(await warren('tcp', '5432')).toMatchObject({ status: EXIT.trust, out: '' })
    expect(await warren('tcp', '5432', '--state', '/dev/null/x')).toMatchObject({ status: EXIT.state, out: '' })
  })

  test('an error cannot move the cursor or make a second line', async () => {
    const { err } = await warren('tcp', '\x1b[2J\nwarren: all is well')
    expect(err).toStartWith("warren: W-ADDRESS '\\x1b[2J\\nwarren: all is well' is not an address: ")
    expect(err.split('\n')).toHaveLength(3)
  })

  test('a reader that is gone is no error', async () => {
    const child = Bun.spawn([...CLI, 'tcp', '-h'], { stdout: 'pipe', stderr: 'pipe', env: environment() })
    leaveNone(child)
    await child.stdout.cancel()
    expect(await new Response(child.stderr).text()).toBe('')
    expect(await child.exited).toBe(0)
  })
})

/** A relay on loopback that prints JSON; its first line is read. */
async function startRelay(name: string, ...more: string[]) {
  const child = Bun.spawn([...CLI, 'relay', ...LOOPBACK, '--state', join(folder, name), ...more], {
    stdout: 'pipe',
    stderr: 'pipe',
    env: environment(),
  })
  leaveNone(child)
  const output = lines(child.stdout)
  const first = (await output.next()).value
  return { child, output, first }
}

describe('a relay', () => {
  test('JSON: ready on the first start with an invite, later without; a signal drains it and it exits with 0', async () => {
    for (const [signal, invited] of [
      ['SIGTERM', true],
      ['SIGINT', false],
    ] as const) {
      const { child, output, first } = await startRelay('json', '--json')
      const ready = JSON.parse(first ?? '')
      expect(ready).toMatchObject({ event: 'ready', control: expect.stringMatching(/^127\.0\.0\.1:\d+$/) })
      expect(ready.invite === null).toBe(!invited)
      child.kill(signal)
      expect(JSON.parse((await output.next()).value ?? '')).toMatchObject({ event: 'draining' })
      expect(await child.exited).toBe(0)
      expect(await new Response(child.stderr).text()).toBe('')
    }
  })

  test('plain lines: the event, and how to join, with the invite in a line of its own', async () => {
    const { child, output, first } = await startRelay('plain')
    expect(first).toMatch(/^20\S+Z info relay ready control=127\.0\.0\.1:\d+ /)
    let line = ''
    while (!line.includes('warren tcp')) line = (await output.next()).value ?? 'warren tcp: nothing more came'
    expect(line).toMatch(/^ {2}warren tcp 5432 --relay 'warren:\/\/127\.0\.0\.1:\d+\/#[\w-]{72}'$/)
    child.kill('SIGTERM')
    expect(await child.exited).toBe(0)
  })

  test('it goes on when nobody reads its events any more, and still ends with 0', async () => {
    const { child, output } = await startRelay('unread', '--json')
    await output.return(undefined)
    child.kill('SIGTERM')
    expect(await child.exited).toBe(0)
  })

  test('the operator: an invite, keys, leases, through the running relay', async () => {
    const state = join(folder, 'operated')
    const { child } = await startRelay('operated', '--json')
    const invite = await warren('invite', '--state', state)
    expect(invite).toMatchObject({ status: 0, err: '' })
    expect(invite.out).toMatch(/^warren:\/\/127\.0\.0\.1:\d+\/#[\w-]{72}\n$/)
    expect(JSON.parse((await warren('invite', '--uses', '3', '--json', '--state', state)).out)).toMatchObject({
      uses: 3,
    })

    expect(await warren('keys', 'list', '--state', state)).toMatchObject({
      status: 0,
      out: expect.stringContaining('No key'),
    })
    const line = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea laptop'
    writeFileSync(join(folder, 'laptop.pub'), `${line}\n`)
    const allowed = await warren('keys', 'allow', join(folder, 'laptop.pub'), '--state', state)
    expect(allowed.out).toMatch(/^allowed laptop SHA256:\S{43}\n$/)
    expect((await warren('keys', 'rename', 'laptop', 'anna', '--state', state)).out).toBe('laptop is now anna\n')
    expect((await warren('keys', 'revoke', 'anna', '--state', state)).out).toBe('revoked anna\n')
    const table = (await warren('keys', 'list', '--state', state)).out.trimEnd().split('\n')
    expect(table[0]).toMatch(/^NAME +STATUS +ROLE +SEEN +FINGERPRINT$/)
    expect(table[1]).toMatch(/^anna +revoked +agent +never +SHA256:\S{43}$/)
    expect(JSON.parse((await warren('keys', 'list', '--json', '--state', state)).out)).toMatchObject({ name: 'anna' })
    expect((await warren('leases', 'list', '--state', state)).out).toBe('No port is leased.\n')
    expect(await warren('leases', 'free', '20000', '--state', state)).toMatchObject({ status: EXIT.failed, out: '' })
    expect(await warren('keys', 'revoke', 'nobody', '--state', state)).toMatchObject({ status: EXIT.failed, out: '' })
    child.kill('SIGTERM')
    await child.exited
    expect((await warren('invite', '--state', state)).status).toBe(0)
  })
})

describe('warren try', () => {
  test('--check verifies a tunnel of its own, and leaves nothing behind', async () => {
    const temporary = join(folder, 'tmp')
    mkdirSync(temporary)
    const { status, out, err } = await warren({ TMPDIR: temporary }, 'try', '--check')
    expect({ status, err }).toEqual({ status: 0, err: '' })
    const findings = out.trimEnd().split('\n')
    expect(findings.filter(line => !line.startsWith('ok    '))).toEqual([])
    expect(findings).toHaveLength(10)
    expect(readdirSync(temporary)).toEqual([])
  })

  test('its web page is reached through the tunnel', async () => {
    const child = Bun.spawn([...CLI, 'try', '--json'], { stdout: 'pipe', stderr: 'pipe', env: environment() })
    leaveNone(child)
    let address = ''
    for await (const line of lines(child.stdout)) {
      const event = JSON.parse(line)
      if (event.event === 'tunnel') address = event.address
      if (address !== '') break
    }
    const page = await fetch(`http://${address}/`, { headers: { connection: 'close' } })
    expect(page.headers.get('content-type')).toStartWith('text/html')
    expect(await page.text()).toContain('It works')
    child.kill('SIGINT')
    expect(await child.exited).toBe(0)
  })
})

/** What a program wrote before it ended comes out of the terminal within so many ms. */
const LAST_WORDS = 2_000

/** A terminal with a warren on it; what it shows is kept whole. */
class Screen {
  shown = ''
  readonly child: Bun.Subprocess
  readonly terminal: Bun.Terminal
  #waiting: (() => void)[] = []

  constructor(args: string[], more: Record<string, string> = {}) {
    this.terminal = new Bun.Terminal({
      cols: 100,
      rows: 30,
      data: (_, data) => {
        this.shown += new TextDecoder().decode(data)
        for (const wake of this.#waiting.splice(0)) wake()
      },
    })
    this.child = Bun.spawn([...CLI, ...args], {
      terminal: this.terminal,
      env: environment({ TERM: 'xterm-256color', ...more }),
    })
    leaveNone(this.child)
  }

  /** Resolves when it has shown something; rejects when it ended without. */
  async shows(text: string): Promise<void> {
    const never = () => `never shown: ${text}; but: ${JSON.stringify(this.shown)}`
    while (!this.shown.includes(text)) {
      const more = new Promise<void>(resolve => this.#waiting.push(resolve))
      const { exitCode, exited, signalCode } = this.child
      const runs = exitCode === null && signalCode === null
      await (runs ? Promise.race([more, exited]) : within(LAST_WORDS, more, never))
    }
  }
}

const HIDDEN = '\x1b[?25l'
const VISIBLE = '\x1b[?25h'

describe('on a terminal', () => {
  test('a live screen; Ctrl-C is a key there, and the cursor is back at the end', async () => {
    const screen = new Screen(['try'])
    await screen.shows('Tunnel')
    expect(screen.shown).toStartWith(HIDDEN)
    expect(screen.shown).toContain('\x1b[1mwarren\x1b[0m')
    screen.terminal.write('\r\rabc')
    screen.terminal.write('\x03')
    expect(await screen.child.exited).toBe(0)
    await screen.shows(VISIBLE)
    expect(screen.shown).not.toContain('abc')
    expect(screen.shown.lastIndexOf(VISIBLE)).toBeGreaterThan(screen.shown.lastIndexOf(HIDDEN))
    expect(screen.shown).toContain('stopped')
  })

  test('NO_COLOR, and a terminal that cannot', async () => {
    const plain = new Screen(['try'], { NO_COLOR: '1' })
    await plain.shows('Tunnel')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of them
    expect(plain.shown).not.toMatch(/\x1b\[[0-9;]*m/)
    plain.child.kill('SIGTERM')
    expect(await plain.child.exited).toBe(0)

    const dumb = new Screen(['try'], { TERM: 'dumb' })
    await dumb.shows('info tunnel open')
    expect(dumb.shown).not.toContain('\x1b')
    dumb.child.kill('SIGTERM')
    expect(await dumb.child.exited).toBe(0)
  })

  test('an error leaves the cursor, and its two lines stand below the screen', async () => {
    const screen = new Screen(['tcp', '5432', '--state', join(folder, 'never')])
    expect(await screen.child.exited).toBe(EXIT.trust)
    await screen.shows('warren: W-RELAY-UNKNOWN')
    expect(screen.shown.lastIndexOf(VISIBLE)).toBeGreaterThan(screen.shown.lastIndexOf(HIDDEN))
    expect(screen.shown.indexOf('W-RELAY-UNKNOWN')).toBeGreaterThan(screen.shown.lastIndexOf(VISIBLE))
  })

  // Bun's own writer spins for ever on a terminal that is gone, and eats memory by the gigabyte.
  test.each([[['try']], [['try', '--json']], [['relay', ...LOOPBACK, '--state', join(folder, 'hung')]]])(
    'a terminal that is closed ends %j',
    async args => {
      const screen = new Screen(args)
      await screen.shows(args.includes('--json') ? '"tunnel"' : args[0] === 'relay' ? 'Streams' : 'Tunnel')
      screen.terminal.close()
      // What the kernel does to a terminal's own session, which this one is not.
      screen.child.kill('SIGHUP')
      expect(await screen.child.exited).toBe(0)
    },
  )

  test('a second signal does not wait for open streams', async () => {
    const screen = new Screen(['try'])
    await screen.shows('http://127.0.0.1:')
    const [, port = ''] = /http:\/\/127\.0\.0\.1:(\d+)/.exec(screen.shown) ?? []
    const visitor = await Bun.connect({ hostname: '127.0.0.1', port: Number(port), socket: { data() {} } })
    await screen.shows('1 open')
    screen.terminal.write('\x03')
    await screen.shows('Stopping')
    // Again and again, because what comes right behind the first is taken for the first.
    const again = setInterval(() => screen.terminal.write('\x03'), 50)
    expect(await screen.child.exited.finally(() => clearInterval(again))).toBe(0)
    visitor.terminate()
  })
})
