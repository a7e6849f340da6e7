import { describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { relayFrom } from '../../src/commands/relay-from.ts'
import { tunnelsOf } from '../../src/commands/tcp.ts'
import { WarrenError } from '../../src/errors.ts'
import { formatInvite, newToken } from '../../src/identity/index.ts'
import { temporaryFolder } from '../folder.ts'

const folder = temporaryFolder()

async function failure(act: () => unknown): Promise<string> {
  try {
    await act()
  } catch (error) {
    if (error instanceof WarrenError) return `${error.code} ${error.message}`
    throw error
  }
  return 'no error'
}

describe('the tunnels of a command line', () => {
  const local = (port: number) => ({ kind: 'tcp', host: 'localhost', port }) as const

  test('several, some with names and ports', () => {
    expect(tunnelsOf(['5432', '6379', 'ssh=22@2222'], undefined, undefined)).toEqual([
      { name: '5432', local: local(5432), port: null },
      { name: '6379', local: local(6379), port: null },
      { name: 'ssh', local: local(22), port: 2222 },
    ])
  })

  test('--port and --name are for a single one', () => {
    expect(tunnelsOf(['5432'], '20001', 'db')).toEqual([{ name: 'db', local: local(5432), port: 20001 }])
  })

  test.each([
    [[], undefined, undefined, 'W-USAGE warren tcp: LOCAL is missing'],
    [['1', '2'], '3', undefined, 'W-USAGE --port is for a single service; with several, write 5432@20001'],
    [['1', '2'], undefined, 'db', 'W-USAGE --name is for a single service; with several, write db=5432'],
    [['1@2'], '3', undefined, 'W-USAGE the public port is given twice'],
    [['a=1'], undefined, 'b', 'W-USAGE the name is given twice'],
    [['1'], 'x', undefined, "W-USAGE --port: 'x' is not a port, a number from 1 to 65535"],
    [['1', 'db:1'], undefined, undefined, "W-USAGE two services are named '1'; give one another name, like other=db:1"],
    [['a=1', 'a=2'], undefined, undefined, "W-USAGE two services are named 'a'; give one another name, like other=2"],
    [['1@9', '2@9'], undefined, undefined, 'W-USAGE two services ask for public port 9'],
  ] as [string[], string | undefined, string | undefined, string][])(
    '%j --port %p --name %p',
    async (locals, port, name, message) => {
      expect(await failure(() => tunnelsOf(locals, port, name))).toBe(message)
    },
  )
})

describe('the relay of a command line', () => {
  const invite = (shared: boolean) =>
    formatInvite({ host: 'relay.example.com', port: 7000, pin: new Uint8Array(32), token: newToken(), shared })
  const single = invite(false)
  const shared = invite(true)
  const file = (name: string, text: string) => {
    const path = join(folder, name)
    writeFileSync(path, text)
    return path
  }

  test('from the flag, a file, the environment, or nowhere', async () => {
    expect(await relayFrom({ relay: single }, undefined)).toBe(single)
    expect(await relayFrom({ relay: 'relay.example.com' }, undefined)).toBe('relay.example.com')
    expect(await relayFrom({ relay: '[::1]:7001' }, undefined)).toBe('[::1]:7001')
    expect(await relayFrom({ 'relay-file': file('a', `\n ${single} \nmore\n`) }, undefined)).toBe(single)
    expect(await relayFrom({}, ` ${single}\n`)).toBe(single)
    expect(await relayFrom({ relay: 'other:1' }, single)).toBe('other:1')
    expect(await relayFrom({}, undefined)).toBeNull()
    expect(await relayFrom({}, '')).toBeNull()
  })

  test('an invite for several uses is for files, input and the environment only', async () => {
    expect(await failure(() => relayFrom({ relay: shared }, undefined))).toStartWith('W-INVITE-SHARED ')
    expect(await relayFrom({ 'relay-file': file('b', shared) }, undefined)).toBe(shared)
    expect(await relayFrom({}, shared)).toBe(shared)
  })

  test('what is damaged is refused before anything starts', async () => {
    expect(await failure(() => relayFrom({ relay: single.slice(0, -1) }, undefined))).toStartWith('W-INVITE-FORM ')
    expect(await failure(() => relayFrom({ relay: 'a b' }, undefined))).toStartWith('W-ADDRESS ')
    expect(await failure(() => relayFrom({ relay: 'a', 'relay-file': 'b' }, undefined))).toStartWith('W-USAGE ')
    const none = join(folder, 'none')
    expect(await failure(() => relayFrom({ 'relay-file': none }, undefined))).toBe(
      `W-USAGE --relay-file: '${none}' cannot be read: there is no such file or folder`,
    )
    expect(await failure(() => relayFrom({ 'relay-file': file('c', ' \n\n') }, undefined))).toBe(
      'W-USAGE --relay-file: there is no invite in it',
    )
    expect(await failure(() => relayFrom({ 'relay-file': folder }, undefined))).toBe(
      `W-USAGE --relay-file: '${folder}' cannot be read: it is a folder`,
    )
  })

  test('no error repeats the token', async () => {
    const token = single.slice(single.indexOf('#') + 1, -1)
    const places = [
      single.slice(0, -1),
      single.slice(1),
      `"${single}"`,
      `WARREN_RELAY=${single}`,
      single.slice('warren://'.length),
      `x${single}@1`,
    ]
    for (const text of places) {
      const said = await failure(() => relayFrom({ relay: text }, undefined))
      expect(said).toStartWith('W-INVITE-FORM ')
      expect(said).not.toContain(token.slice(0, 20))
    }
    const secret = single.slice(single.indexOf('#') + 1)
    const lost = [
      secret,
      single.replace('#', '%23'),
      single.replace('#', ''),
      `${single.slice(0, 60)} ${single.slice(60)}`,
    ]
    for (const text of lost)
      for (const said of [
        await failure(() => relayFrom({ relay: text }, undefined)),
        await failure(() => relayFrom({ 'relay-file': text }, undefined)),
        await failure(async () => tunnelsOf([text], undefined, undefined)),
        await failure(async () => tunnelsOf(['1'], text, undefined)),
        await failure(async () => tunnelsOf(['1'], undefined, text)),
      ])
        for (let at = 0; at < secret.length - 12; at++) expect(said).not.toContain(secret.slice(at, at + 12))
    expect(await failure(() => relayFrom({ 'relay-file': single }, undefined))).toBe(
      "W-USAGE --relay-file: 'warren://relay.example.com:7000/#…' cannot be read: there is no such file or folder",
    )
    for (const text of [single, ...places]) {
      const said = await failure(async () => tunnelsOf([text], undefined, undefined))
      expect(said).toStartWith('W-ADDRESS ')
      expect(said).not.toContain(token.slice(0, 20))
    }
    expect(await failure(async () => tunnelsOf([single], undefined, undefined))).toEndWith(
      'an invite goes behind --relay, and the service before it',
    )
  })
})
