// The program as a user runs it: what it prints where, how it ends, and what it leaves of a terminal.
import { describe, expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { EXIT } from '../../src/errors.ts'
import { fingerprint, formatPublicKeyLine } from '../../src/identity/index.ts'
import { Store } from '../../src/relay/store.ts'
import { Plain } from '../e2e/plain.ts'
import { parseAddress, until, within } from '../e2e/warren.ts'
import { temporaryFolder } from '../folder.ts'
import * as ed25519 from '../identity/ed25519.ts'
import { leaveNone, lines } from '../oracle/process.ts'

const folder = temporaryFolder()
const CLI = [process.execPath, join(import.meta.dir, '../../src/cli.ts')]
/** Keys whose list is longer than a pipe holds. */
const MANY = 800
/** A relay would have ended by then, and its reader would have lost the rest. */
const PATIENCE_OF_A_RELAY_MS = 1_500
const LOOPBACK = ['--listen', '127.0.0.1:0', '--bind', '127.0.0.1']

function environment(more: Record<string, string> = {}): Record<string, string> {
  const { WARREN_RELAY: _, WARREN_STATE: __, NO_COLOR: ___, ...rest } = process.env
  return { ...(rest as Record<string, string>), WARREN_STATE: join(folder, 'state'), ...more }
}

/** Any point on the curve: nobody signs here. */
function publicKey(n: number): Uint8Array {
  return ed25519.getPublicKey(new Uint8Array(createHash('sha256').update(`key ${n}`).digest()))
}

type Ran = { status: number; out: string; err: string }

async function warren(...words: [Record<string, string>, ...string[]] | string[]): Promise<Ran> {
  const [first, ...rest] = words
  const [more, args] = typeof first === 'object' ? [first, rest] : [{}, words]
  return run(process.cwd(), more, args as string[])
}

function warrenIn(cwd: string, ...args: string[]): Promise<Ran> {
  return run(cwd, {}, args)
}

async function run(cwd: string, more: Record<string, string>, args: string[]): Promise<Ran> {
  const child = Bun.spawn([...CLI, ...args], {
    stdout: 'pipe',
    stderr: 'pipe',
    stdin: 'ignore',
    cwd,
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

  test('what an error says to do is of use for what happened', async () => {
    const { err: name } = await warren('tcp', '5432', '--name', 'a b')
    expect(name).toStartWith("warren: W-USAGE 'a b' is not a name: ")
    for (const [flag, value] of [
      ['--public-host', '*'],
      ['--bind', '1.2.3.4:5'],
    ] as const) {
      const { err } = await warren('relay', flag, value)
      expect(err).toStartWith(`warren: W-USAGE ${flag}: '${value}' is not a host name or an address, without a port\n`)
    }
    const never = join(folder, 'never-run')
    const { err: unrun } = await warren('keys', 'list', '--state', never)
    expect(unrun).toStartWith(`warren: W-STATE no relay has run on ${never} yet; `)
    expect(unrun.split('\n')[1]).toStartWith('  Check that it is the folder that is meant (--state), ')
    const { err: untried } = await warren({ TMPDIR: never }, 'try')
    expect(untried).toStartWith(`warren: W-STATE no folder can be made in ${never}: `)
    expect(untried.split('\n')[1]).toBe('  Set TMPDIR to a folder that is there and that this user may write to.')
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

  test('a reader that is slow gets all of it, however long that takes', async () => {
    const state = join(folder, 'many')
    await (await startRelay('many', '--json')).end()
    const store = Store.open(state, Date.now)
    for (let at = 0; at < MANY; at++) store.allowKey(publicKey(at), `key-${at}`, 'agent')
    store.close()

    // It reads one byte, and the rest when it is told to: 64 KiB are in the pipe, and more is to come.
    const first = 'dd bs=1 count=1 2>/dev/null'
    const script = `exec 3<&0; { "$@" </dev/null; echo "status $?" >&2; } | { ${first}; read -r go <&3; cat; }`
    const child = Bun.spawn(['sh', '-c', script, 'sh', ...CLI, 'keys', 'list', '--json', '--state', state], {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
      env: environment(),
    })
    leaveNone(child)
    const ended = child.stderr.getReader().read()
    const decoder = new TextDecoder()
    const reader = child.stdout.getReader()
    let out = decoder.decode((await reader.read()).value)
    expect(await Promise.race([ended, Bun.sleep(PATIENCE_OF_A_RELAY_MS)])).toBeUndefined()
    child.stdin.write('go\n')
    child.stdin.end()
    for (let more = await reader.read(); !more.done; more = await reader.read()) out += decoder.decode(more.value)
    expect(out.length).toBeGreaterThan(65_536)
    expect(out.trimEnd().split('\n')).toHaveLength(MANY)
    expect(new TextDecoder().decode((await ended).value)).toBe('status 0\n')
  })

  test('what a full disk did not take was not done', async () => {
    if (!existsSync('/dev/full')) return console.log('NOT RUN: printing to a full disk, as there is no /dev/full')
    await (await startRelay('full', '--json')).end()
    for (const args of [['invite', '--state', join(folder, 'full')], ['-h']]) {
      const command = ['sh', '-c', '"$@" >/dev/full', 'sh', ...CLI, ...args]
      const child = Bun.spawn(command, { stderr: 'pipe', env: environment() })
      leaveNone(child)
      expect(await new Response(child.stderr).text()).toBe(
        'warren: standard output could not be written: not all that was printed is there\n',
      )
      expect(await child.exited).toBe(EXIT.failed)
    }
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
  const end = () => {
    child.kill('SIGTERM')
    return child.exited
  }
  return { child, output, first, end }
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

  test('JSON: --quiet is for the log, and its help says that the events come', async () => {
    const { first, end } = await startRelay('quiet', '--json', '--quiet')
    expect(JSON.parse(first ?? '')).toMatchObject({ event: 'ready' })
    expect(await end()).toBe(0)
    expect((await warren('relay', '-h')).out).toMatch(
      /--quiet +Say nothing but errors; the events of --json\s+come all/,
    )
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
    // A file that somebody named like a key, where the command runs, lets no other key in.
    const here = join(folder, 'here')
    mkdirSync(here)
    writeFileSync(join(here, 'anna'), `${line.replace('NdamAGCsQq31Uv', 'NdamAGCsQq31Uw')}\n`)
    const again = await warrenIn(here, 'keys', 'allow', 'anna', '--state', state)
    expect(again.out.replace('allowed anna', 'allowed laptop')).toBe(allowed.out)
    // As has every other fingerprint, this one has a slash.
    const slashed = Array.from({ length: 50 }, (_, n) => publicKey(n)).find(key => fingerprint(key).includes('/'))!
    await warren('keys', 'allow', formatPublicKeyLine(slashed, 'slashed'), '--state', state)
    await warren('keys', 'revoke', 'slashed', '--state', state)
    expect(await warren('keys', 'allow', fingerprint(slashed), '--state', state)).toEqual({
      status: 0,
      out: `allowed slashed ${fingerprint(slashed)}\n`,
      err: '',
    })
    writeFileSync(join(here, 'name.pub'), 'anna\n')
    for (const [file, why] of [
      ['name.pub', 'there is no line '],
      ['/dev/zero', 'there is no line '],
      ['./none', "'./none' cannot be read: there is no such file or folder\n"],
    ] as const)
      expect(await warrenIn(here, 'keys', 'allow', file, '--state', state)).toMatchObject({
        status: EXIT.usage,
        out: '',
        err: expect.stringContaining(`warren: W-USAGE ${why}`),
      })
    expect((await warren('leases', 'list', '--state', state)).out).toBe('No port is leased.\n')
    expect(await warren('leases', 'free', '20000', '--state', state)).toMatchObject({ status: EXIT.failed, out: '' })
    expect(await warren('keys', 'revoke', 'nobody', '--state', state)).toEqual({
      status: EXIT.failed,
      out: '',
      err: expect.stringContaining("W-NOT-FOUND no key has the name 'nobody'\n"),
    })
    child.kill('SIGTERM')
    await child.exited
    expect((await warren('invite', '--state', state)).status).toBe(0)
  })
})

describe('a start that fails', () => {
  test('leaves the first invite to the next one', async () => {
    const taken = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } })
    const state = join(folder, 'failed')
    const listen = ['--listen', `127.0.0.1:${taken.port}`, '--bind', '127.0.0.1', '--state', state]
    expect(await warren('relay', ...listen)).toMatchObject({ status: EXIT.address })
    taken.stop(true)
    const { first, end } = await startRelay('failed', '--json')
    expect(JSON.parse(first ?? '').invite).toStartWith('warren://')
    await end()
  })

  test('for a name that no invite can hold: nothing is made', async () => {
    const state = join(folder, 'unnamed')
    for (const name of ['my_relay_', 'fe80::1%lo']) {
      const { status, err } = await warren('relay', ...LOOPBACK, '--public-host', name, '--state', state)
      expect({ status, err }).toEqual({ status: EXIT.usage, err: expect.stringContaining('--public-host') })
    }
    expect(readdirSync(state)).toEqual([])
  })

  test('for want of an invite: the key that an operator may allow is there', async () => {
    const state = join(folder, 'uninvited')
    const { err } = await warren('tcp', '5432', '--relay', '127.0.0.1:9', '--state', state)
    expect(err).toStartWith('warren: W-RELAY-UNKNOWN ')
    expect(readdirSync(state)).toContain('agent.key.pub')
  })

  test('for want of a temporary folder', async () => {
    const { status, err } = await warren({ TMPDIR: join(folder, 'no', 'such') }, 'try', '--check')
    expect({ status, err }).toEqual({
      status: EXIT.state,
      err: expect.stringMatching(/W-STATE no folder can be made in \S+: there is no such file or folder\n/),
    })
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
    expect(findings.filter(line => line.length > 79)).toEqual([])
    expect(readdirSync(temporary)).toEqual([])
    expect(await warren({ TMPDIR: temporary }, 'try', '--check', '--quiet')).toEqual({ status: 0, out: '', err: '' })
  })

  test.each(['SIGINT', 'SIGTERM'] as const)('--check ended by %s leaves nothing behind', async signal => {
    const temporary = join(folder, signal)
    mkdirSync(temporary)
    const child = Bun.spawn([...CLI, 'try', '--check'], { stdout: 'ignore', env: environment({ TMPDIR: temporary }) })
    leaveNone(child)
    await until(() => readdirSync(temporary).length > 0, 'its folder is made')
    child.kill(signal)
    expect(await child.exited).toBe(128 + constants.signals[signal])
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
    for (const [host, status] of [
      ['GET / HTTP/1.0', 200],
      ['GET /?a HTTP/1.1\r\nHost: x_y z', 200],
      ['GET /other HTTP/1.1\r\nHost: [', 404],
    ] as const) {
      const visitor = await Plain.dial(parseAddress(address))
      await visitor.send(`${host}\r\n\r\n`)
      expect((await visitor.read(12)).toString()).toBe(`HTTP/1.1 ${status}`)
      visitor.reset()
    }
    child.kill('SIGINT')
    expect(await child.exited).toBe(0)
    expect(await new Response(child.stderr).text()).not.toContain('TypeError')
  })
})

/** What a program wrote before it ended comes out of the terminal within so many ms. */
const LAST_WORDS = 2_000

/** What has a reader that takes nothing gives up after so many ms. */
const SETTLED_MS = 1_000

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
  test('try --check leaves nothing behind when the terminal is closed', async () => {
    const temporary = join(folder, 'SIGHUP')
    mkdirSync(temporary)
    const screen = new Screen(['try', '--check'], { TMPDIR: temporary })
    await until(() => readdirSync(temporary).length > 0, 'its folder is made')
    screen.child.kill('SIGHUP')
    expect(await screen.child.exited).toBe(128 + constants.signals.SIGHUP)
    expect(readdirSync(temporary)).toEqual([])
  })

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

  test('an invite that is to come from there is asked for', async () => {
    const screen = new Screen(['tcp', '5432', '--relay', '-', '--state', join(folder, 'asked')])
    await screen.shows('Paste the invite, then press Enter:')
    screen.terminal.write('warren://relay.example.com/#half\n')
    expect(await screen.child.exited).toBe(EXIT.usage)
    await screen.shows('W-INVITE-FORM')
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

  if (process.platform !== 'linux') console.log('NOT RUN: a terminal that nobody reads, which is told by /proc')
  test.if(process.platform === 'linux')('one that takes nothing any more does not hold up the end', async () => {
    const unread = Bun.spawn([process.execPath, join(import.meta.dir, 'unread.ts'), ...CLI, 'try'], {
      stdout: 'pipe',
      env: environment(),
    })
    leaveNone(unread)
    expect(Number.parseInt(await new Response(unread.stdout).text(), 10)).toBeWithin(0, 4 * SETTLED_MS)
  })

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
