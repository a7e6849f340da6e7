import { Database } from 'bun:sqlite'
import { afterAll, describe, expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fingerprint, hashToken, newToken } from '../../src/identity/index.ts'
import type { Use } from '../../src/relay/database.ts'
import { MIGRATIONS, migrate } from '../../src/relay/migrations.ts'
import { keyName, Store } from '../../src/relay/store.ts'
import { temporaryFolder } from '../folder.ts'
import * as ed25519 from '../identity/ed25519.ts'
import vectors from '../vectors/keys.json'

const root = temporaryFolder()
const T0 = Date.UTC(2026, 10, 20)
const HOUR = 3_600_000
const DAY = 24 * HOUR
let folders = 0

function fresh(): string {
  const folder = join(root, `state${folders++}`)
  mkdirSync(folder, { mode: 0o700 })
  return folder
}

/** Any point on the curve: nobody signs here. */
function key(n: number): Uint8Array {
  return ed25519.getPublicKey(new Uint8Array(createHash('sha256').update(`key ${n}`).digest()))
}

function at(folder: string, clock: { now: number } = { now: T0 }, use?: Use): Store {
  return Store.open(folder, () => clock.now, use)
}

function code(name: string, message: string | RegExp = '') {
  return expect.objectContaining({
    code: name,
    message: typeof message === 'string' ? expect.stringContaining(message) : expect.stringMatching(message),
  })
}

const children: Bun.Subprocess[] = []
afterAll(() => {
  for (const child of children) child.kill('SIGKILL')
})

/** Runs `body` in another process, with the store's module in scope. */
function elsewhere(body: string) {
  const program = `import { Store } from '${import.meta.dir}/../../src/relay/store.ts'
    import { hashToken } from '${import.meta.dir}/../../src/identity/index.ts'
    import * as ed25519 from '${import.meta.dir}/../identity/ed25519.ts'
    import { createHash } from 'node:crypto'
    const key = n => ed25519.getPublicKey(new Uint8Array(createHash('sha256').update('key ' + n).digest()))
    ${body}`
  const child = Bun.spawn([process.execPath, '-e', program], {
    cwd: join(import.meta.dir, '..', '..'),
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  children.push(child)
  return child
}

/** What a process prints, line by line. */
async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = ''
  const decoder = new TextDecoder()
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = parts.pop() ?? ''
    yield* parts
  }
}

test('a database that may only be read is refused at the start, not at the first thing to remember', () => {
  const folder = fresh()
  Store.open(folder, () => T0).close()
  chmodSync(join(folder, 'relay.db'), 0o444)
  for (const path of [root, folder]) chmodSync(path, 0o755)
  // As somebody who is not root, whom no mode holds up.
  const program = `import { openDatabase, trouble } from '${import.meta.dir}/../../src/relay/database.ts'
    import { statSync } from 'node:fs'
    const path = ${JSON.stringify(join(folder, 'relay.db'))}
    try { if (process.geteuid() === 0) process.setuid(65534); statSync(path) } catch { console.log('root'); process.exit() }
    try { openDatabase(path); console.log('opened') } catch (thrown) { console.log(trouble(path, thrown).message) }`
  const said = Bun.spawnSync([process.execPath, '-e', program]).stdout.toString()
  if (said === 'root\n') return console.log('NOT RUN: a database that may only be read, as nobody but root gets there')
  expect(said).toBe(`cannot use ${join(folder, 'relay.db')}: permission denied\n`)
})

describe('keys', () => {
  test('are unknown until allowed, and revoked for good until allowed again', () => {
    const folder = fresh()
    let store = at(folder)
    expect(store.keyStatus(key(1))).toBe('unknown')
    store.allowKey(key(1), 'db1', 'agent')
    expect(store.keyStatus(key(1))).toBe('allowed')
    expect(store.keyStatus(key(2))).toBe('unknown')
    expect(store.revokeKey('db1')).toEqual(key(1))
    expect(store.keyStatus(key(1))).toBe('revoked')
    store.close()
    store = at(folder, { now: T0 + DAY })
    expect(store.keyStatus(key(1))).toBe('revoked')
    store.revokeKey('db1')
    expect(store.key(key(1))).toMatchObject({ status: 'revoked', revokedAt: T0 })
    store.allowKey(key(1), 'db1', 'agent')
    expect(store.key(key(1))).toMatchObject({ status: 'allowed', revokedAt: null, addedAt: T0 })
    store.close()
  })

  test('one that is allowed in a role is unknown in the other', () => {
    const store = at(fresh())
    store.allowKey(key(1), 'a', 'agent')
    expect(store.keyStatus(key(1), 'agent')).toBe('allowed')
    expect(store.keyStatus(key(1), 'connector')).toBe('unknown')
    store.revokeKey('a')
    expect(store.keyStatus(key(1), 'connector')).toBe('revoked')
    store.close()
  })

  test('are listed by name, with all that is known of them', () => {
    const clock = { now: T0 }
    const folder = fresh()
    let store = at(folder, clock)
    store.allowKey(key(2), 'web', 'connector')
    store.allowKey(key(1), 'Db1', 'agent')
    clock.now += HOUR
    store.touchKey(key(1))
    store.revokeKey(fingerprint(key(2)))
    store.close()
    store = at(folder)
    expect(store.listKeys()).toEqual([
      {
        publicKey: key(1),
        fingerprint: fingerprint(key(1)),
        name: 'Db1',
        role: 'agent',
        status: 'allowed',
        addedAt: T0,
        revokedAt: null,
        seenAt: T0 + HOUR,
      },
      {
        publicKey: key(2),
        fingerprint: fingerprint(key(2)),
        name: 'web',
        role: 'connector',
        status: 'revoked',
        addedAt: T0,
        revokedAt: T0 + HOUR,
        seenAt: null,
      },
    ])
    store.close()
  })

  test('are listed while nothing can be written, with what waits for that', () => {
    const folder = fresh()
    const clock = { now: T0 }
    const store = at(folder, clock)
    store.allowKey(key(1), 'db1', 'agent')
    clock.now += HOUR
    store.touchKey(key(1))
    const other = new Database(join(folder, 'relay.db'))
    other.run('BEGIN IMMEDIATE')
    expect(store.listKeys()).toMatchObject([{ name: 'db1', seenAt: T0 + HOUR }])
    expect(store.key(key(1))).toMatchObject({ seenAt: T0 + HOUR })
    other.run('ROLLBACK')
    other.close()
    store.close()
  })

  test('are found by fingerprint or name, and by nothing else', () => {
    const store = at(fresh())
    store.allowKey(key(1), 'db1', 'agent')
    const print = fingerprint(key(1))
    expect(store.renameKey(print, 'db2')).toMatchObject({ name: 'db2' })
    expect(store.renameKey('DB2', 'db3')).toMatchObject({ name: 'db3' })
    for (const who of ['db1', '', print.slice(0, -1), print.slice(7), 'SHA256:', '%', "' OR 1=1 --"]) {
      const noSuch = who.startsWith('SHA256:') ? `no key has the fingerprint '${who}'` : `no key has the name '${who}'`
      const error = expect.objectContaining({ code: 'W-NOT-FOUND', message: noSuch })
      expect(() => store.revokeKey(who)).toThrow(error)
      expect(() => store.renameKey(who, 'x')).toThrow(error)
    }
    expect(store.keyStatus(key(1))).toBe('allowed')
    store.close()
  })

  test('have names that are safe to print, that no two share, and that are nobody’s fingerprint', () => {
    const store = at(fresh())
    store.allowKey(key(1), 'db1', 'agent')
    store.allowKey(key(2), 'db2', 'agent')
    for (const taken of ['db1', 'DB1']) {
      expect(() => store.renameKey('db2', taken)).toThrow(code('W-USAGE', fingerprint(key(1))))
      expect(() => store.allowKey(key(3), taken, 'agent')).toThrow(code('W-USAGE'))
    }
    for (const bad of ['', ' ', 'a b', 'a\nb', '\u001b[2J', 'ä', 'x'.repeat(64), fingerprint(key(3)), 'a/b', "a'b"]) {
      expect(() => store.allowKey(key(3), bad, 'agent')).toThrow(code('W-USAGE'))
      expect(() => store.renameKey('db1', bad)).toThrow(code('W-USAGE'))
    }
    expect(store.keyStatus(key(3))).toBe('unknown')
    expect(store.renameKey('db1', 'DB1').name).toBe('DB1')
    store.close()
  })

  test('that nobody can have are not allowed', () => {
    const store = at(fresh())
    const token = newToken()
    store.addInvite(hashToken(token), { role: 'agent', uses: 100, expiresAt: T0 + HOUR })
    for (const hex of [...vectors.smallOrder, ...vectors.secondSpelling]) {
      const bad = new Uint8Array(Buffer.from(hex, 'hex'))
      expect(() => store.allowKey(bad, 'x', 'agent')).toThrow(code('W-USAGE'))
      expect(store.enrol(hashToken(token), bad, 'x', 'agent')).toBe('unknown')
    }
    expect(store.listKeys()).toEqual([])
    store.close()
  })

  test('keyName makes a name of any text', () => {
    expect(keyName('db1.example@host_2')).toBe('db1.example@host_2')
    expect(keyName(' a b\u001b[2J\u202e\n')).toBe('a-b-2J')
    for (const text of ['', '\u0000', 'äöü', '---']) expect(keyName(text)).toBe('unnamed')
    expect(keyName('x'.repeat(100))).toHaveLength(63)
  })
})

describe('enrolment', () => {
  const clock = { now: T0 }

  function invited(uses = 1, role: 'agent' | 'connector' = 'agent') {
    clock.now = T0
    const folder = fresh()
    const store = at(folder, clock)
    const token = newToken()
    store.addInvite(hashToken(token), { role, uses, expiresAt: T0 + 10 * 60_000 })
    return { folder, store, token: hashToken(token), plain: token }
  }

  test('burns one use and allows the key, for good', () => {
    const { folder, store, token } = invited()
    expect(store.enrol(token, key(1), 'db1', 'agent')).toBe('enrolled')
    expect(store.keyStatus(key(1), 'agent')).toBe('allowed')
    expect(store.enrol(token, key(2), 'db2', 'agent')).toBe('spent')
    store.close()
    const again = at(folder, clock)
    expect(again.keyStatus(key(1))).toBe('allowed')
    expect(again.enrol(token, key(2), 'db2', 'agent')).toBe('spent')
    expect(again.keyStatus(key(2))).toBe('unknown')
    again.close()
  })

  test('of a key that is allowed already is a success that burns nothing', () => {
    const { store, token } = invited(2)
    for (let times = 0; times < 5; times++) expect(store.enrol(token, key(1), 'db1', 'agent')).toBe('enrolled')
    expect(store.enrol(token, key(2), 'db2', 'agent')).toBe('enrolled')
    expect(store.enrol(token, key(3), 'db3', 'agent')).toBe('spent')
    expect(store.enrol(hashToken(newToken()), key(1), 'db1', 'agent')).toBe('enrolled')
    store.close()
  })

  test('of a revoked key never happens, whatever the token, and burns nothing', () => {
    const { store, token } = invited()
    store.allowKey(key(1), 'db1', 'agent')
    store.revokeKey('db1')
    expect(store.enrol(token, key(1), 'db1', 'agent')).toBe('unknown')
    expect(store.keyStatus(key(1))).toBe('revoked')
    expect(store.enrol(token, key(2), 'db2', 'agent')).toBe('enrolled')
    store.close()
  })

  test('needs a token of that role, and burns none of another', () => {
    const { store, token } = invited(1, 'connector')
    expect(store.enrol(token, key(1), 'x', 'agent')).toBe('unknown')
    expect(store.enrol(token, key(1), 'x', 'connector')).toBe('enrolled')
    expect(store.enrol(token, key(1), 'x', 'agent')).toBe('unknown')
    store.close()
  })

  test('needs a token that is known', () => {
    const { store, plain } = invited()
    for (const wrong of [hashToken(newToken()), new Uint8Array(32), new Uint8Array(0), plain]) {
      expect(store.enrol(wrong, key(1), 'x', 'agent')).toBe('unknown')
    }
    expect(store.keyStatus(key(1))).toBe('unknown')
    store.close()
  })

  test('ends with the invite’s time, to the millisecond, also when the clock was set back', () => {
    const { store, token } = invited(9)
    clock.now = T0 + 10 * 60_000 - 1
    expect(store.enrol(token, key(1), 'x', 'agent')).toBe('enrolled')
    clock.now = T0 + 10 * 60_000
    expect(store.enrol(token, key(2), 'x', 'agent')).toBe('expired')
    clock.now = T0 - 60_000
    expect(store.enrol(token, key(2), 'x', 'agent')).toBe('enrolled')
    for (const step of [60_001, DAY, 365 * DAY]) {
      clock.now = T0 - step
      expect(store.enrol(token, key(3), 'x', 'agent')).toBe('expired')
    }
    store.close()
  })

  test('spent and expired are told for a month, then the token is unknown', () => {
    const { store, token } = invited()
    store.enrol(token, key(1), 'x', 'agent')
    const makeAnother = () =>
      store.addInvite(hashToken(newToken()), { role: 'agent', uses: 1, expiresAt: clock.now + HOUR })
    clock.now = T0 + 29 * DAY
    makeAnother()
    expect(store.enrol(token, key(2), 'x', 'agent')).toBe('spent')
    clock.now = T0 + 31 * DAY
    makeAnother()
    expect(store.enrol(token, key(2), 'x', 'agent')).toBe('unknown')
    store.close()
  })

  test('gives a name that is taken another end, and makes any name safe', () => {
    const { store, token } = invited(30)
    const long = 'x'.repeat(63)
    for (let n = 0; n < 12; n++) expect(store.enrol(token, key(n), 'localhost', 'agent')).toBe('enrolled')
    for (let n = 12; n < 24; n++) expect(store.enrol(token, key(n), long, 'agent')).toBe('enrolled')
    expect(store.enrol(token, key(24), fingerprint(key(0)), 'agent')).toBe('enrolled')
    expect(store.enrol(token, key(25), '\u001b[31m\n', 'agent')).toBe('enrolled')
    const names = store.listKeys().map(row => row.name)
    expect(new Set(names.map(name => name.toLowerCase())).size).toBe(26)
    for (const name of names) expect(name).toMatch(/^[A-Za-z0-9._@-]{1,63}$/)
    expect(names).toContain('localhost')
    expect(names).toContain('localhost-2')
    expect(store.revokeKey(fingerprint(key(0)))).toEqual(key(0))
    store.close()
  })

  test('an invite has at least one use, and a hash of a hash’s length', () => {
    const { store } = invited()
    for (const uses of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => store.addInvite(hashToken(newToken()), { role: 'agent', uses, expiresAt: T0 })).toThrow(
        code('W-USAGE'),
      )
    }
    expect(() => store.addInvite(newToken(), { role: 'agent', uses: 1, expiresAt: T0 })).toThrow(code('W-INTERNAL'))
    store.close()
  })

  test('the token itself is in no file', () => {
    const { folder, store, token, plain } = invited()
    store.enrol(token, key(1), 'x', 'agent')
    const look = () => Buffer.concat(readdirSync(folder).map(name => readFileSync(join(folder, name))))
    // lock.db is read here as well, by this process: it need not hold after this.
    expect(look().includes(Buffer.from(token))).toBe(true)
    expect(look().includes(Buffer.from(plain))).toBe(false)
    store.close()
  })

  for (const uses of [1, 7]) {
    test(`100 at once in 5 processes with a token for ${uses}: exactly ${uses} succeed`, async () => {
      const { folder, store, plain } = invited(uses)
      store.close()
      const body = `
        const store = Store.open('${folder}', () => ${T0}, 'command')
        const token = hashToken(Uint8Array.from([${plain.join()}]))
        const keys = Array.from({ length: 20 }, (_, n) => key(100 * Number(process.env.PROCESS) + n))
        console.log('ready')
        for await (const _ of Bun.stdin.stream()) break
        for (const each of keys) console.log(store.enrol(token, each, 'x', 'agent'))
        store.close()
        process.exit(0)`
      const processes = [1, 2, 3, 4, 5].map(n => elsewhere(body.replace('process.env.PROCESS', String(n))))
      const outputs = processes.map(process => lines(process.stdout))
      for (const output of outputs) expect((await output.next()).value).toBe('ready')
      for (const process of processes) {
        process.stdin.write('go\n')
        process.stdin.flush()
      }
      const answers = (await Promise.all(outputs.map(output => Array.fromAsync(output)))).flat()
      for (const process of processes) expect(await process.exited).toBe(0)
      const count = (answer: string) => answers.filter(each => each === answer).length
      expect(answers).toHaveLength(100)
      expect(count('enrolled')).toBe(uses)
      expect(count('spent')).toBe(100 - uses)
      const after = at(folder)
      expect(after.listKeys()).toHaveLength(uses)
      after.close()
    }, 30_000)
  }
})

describe('the folder', () => {
  test('has one relay at a time, and no command beside it', () => {
    const folder = fresh()
    const store = at(folder)
    for (const use of ['relay', 'command'] as const) {
      expect(() => at(folder, { now: T0 }, use)).toThrow(code('W-LOCKED', folder))
    }
    store.allowKey(key(1), 'x', 'agent')
    store.close()
    store.close()
    at(folder).close()
  })

  test('takes several commands at once, and no relay beside them', () => {
    const folder = fresh()
    const one = at(folder, { now: T0 }, 'command')
    const two = at(folder, { now: T0 }, 'command')
    one.allowKey(key(1), 'x', 'agent')
    expect(two.keyStatus(key(1))).toBe('allowed')
    expect(() => at(folder)).toThrow(code('W-LOCKED'))
    one.close()
    expect(() => at(folder)).toThrow(code('W-LOCKED'))
    two.close()
    at(folder).close()
  })

  test('is free again the moment a relay is killed, and has what it wrote', async () => {
    const folder = fresh()
    const relay = elsewhere(`
      Store.open('${folder}', () => ${T0}).allowKey(key(1), 'x', 'agent')
      // Nothing refers to the store any more; it holds its folder all the same.
      Bun.gc(true)
      console.log('held')
      for await (const _ of Bun.stdin.stream()) {}`)
    expect((await lines(relay.stdout).next()).value).toBe('held')
    expect(() => at(folder)).toThrow(code('W-LOCKED'))
    relay.kill('SIGKILL')
    await relay.exited
    const store = at(folder)
    expect(store.keyStatus(key(1))).toBe('allowed')
    store.close()
  })

  test('holds files for their owner only, and nothing left over', () => {
    const folder = fresh()
    const store = at(folder)
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o077).toBe(0)
    store.allowKey(key(1), 'x', 'agent')
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o077).toBe(0)
    store.close()
    expect(readdirSync(folder).sort()).toEqual(['lock.db', 'relay.db'])
  })

  test('a copy of the files is a working state', () => {
    const [folder, other] = [fresh(), fresh()]
    const store = at(folder)
    store.allowKey(key(1), 'x', 'agent')
    store.close()
    copyFileSync(join(folder, 'relay.db'), join(other, 'relay.db'))
    const copy = at(other)
    expect(copy.keyStatus(key(1))).toBe('allowed')
    copy.close()
  })

  test('that is not there, or is a file, is an error that names it', () => {
    for (const folder of [join(root, 'nowhere'), import.meta.path]) {
      expect(() => at(folder)).toThrow(code('W-STATE', folder))
    }
  })
})

describe('a damaged relay.db is refused, never replaced', () => {
  function damagedBy(damage: (path: string) => void): { folder: string; path: string } {
    const folder = fresh()
    const store = at(folder)
    for (let n = 0; n < 200; n++) store.allowKey(key(n % 20), `name${n}`, 'agent')
    store.close()
    const path = join(folder, 'relay.db')
    damage(path)
    return { folder, path }
  }

  const damages: Record<string, (path: string) => void> = {
    'empty file': path => writeFileSync(path, ''),
    'text file': path =>
      writeFileSync(path, 'not a database, but long enough to have a header of one hundred bytes'.repeat(9)),
    'another program’s database': path => {
      rmSync(path)
      const db = new Database(path)
      db.run('CREATE TABLE keys (a)')
      db.close()
    },
    'cut off': path => truncateSync(path, statSync(path).size - 4096),
    'zeros in the header': path => {
      const bytes = readFileSync(path)
      writeFileSync(path, bytes.fill(0, 0, 100))
    },
    'noise in every page but the first': path => {
      const bytes = readFileSync(path)
      for (let at = 4096; at < bytes.length; at += 7) bytes[at] = (bytes[at] ?? 0) ^ 0x5a
      writeFileSync(path, bytes)
    },
    'a table gone': path => {
      const db = new Database(path)
      db.run('DROP TABLE invites')
      db.close()
    },
    'the pool’s row gone': path => {
      const db = new Database(path)
      db.run('DELETE FROM pool')
      db.close()
    },
  }

  for (const [name, damage] of Object.entries(damages)) {
    test(name, () => {
      const { folder, path } = damagedBy(damage)
      const before = readFileSync(path)
      expect(() => at(folder)).toThrow(code('W-STATE', path))
      expect(readFileSync(path)).toEqual(before)
      // The lock is not left behind: with the backup in place, it opens.
      rmSync(path)
      at(folder).close()
    })
  }

  test('gone, with its log still there', () => {
    const { folder, path } = damagedBy(file => rmSync(file))
    writeFileSync(`${path}-wal`, 'the rest')
    expect(() => at(folder)).toThrow(code('W-STATE', path))
    expect(existsSync(path)).toBe(false)
    expect(readFileSync(`${path}-wal`, 'utf8')).toBe('the rest')
  })
})

describe('the schema', () => {
  test('of a newer warren is refused and left alone', () => {
    const folder = fresh()
    at(folder).close()
    const path = join(folder, 'relay.db')
    const db = new Database(path)
    db.run(`PRAGMA user_version = ${MIGRATIONS.length + 1}`)
    db.close()
    const before = readFileSync(path)
    expect(() => at(folder)).toThrow(code('W-STATE-NEWER', path))
    expect(readFileSync(path)).toEqual(before)
  })

  test('of an older one is brought up in one step, with a copy from before', () => {
    const folder = fresh()
    const store = at(folder)
    store.allowKey(key(1), 'x', 'agent')
    store.close()
    const path = join(folder, 'relay.db')
    const steps = [...MIGRATIONS, "ALTER TABLE keys ADD COLUMN note TEXT NOT NULL DEFAULT 'none'"]
    const db = new Database(path)
    migrate(db, path, steps)
    migrate(db, path, steps)
    expect(db.query('SELECT note FROM keys').all()).toEqual([{ note: 'none' }])
    expect(db.query('PRAGMA user_version').get()).toEqual({ user_version: steps.length })
    db.close()
    expect(() => at(folder)).toThrow(code('W-STATE-NEWER'))

    const copy = `${path}.v${MIGRATIONS.length}`
    expect(statSync(copy).mode & 0o077).toBe(0)
    copyFileSync(copy, path)
    const back = at(folder)
    expect(back.keyStatus(key(1))).toBe('allowed')
    back.close()
  })

  test('is not left half way by a step that fails', () => {
    const folder = fresh()
    at(folder).close()
    const path = join(folder, 'relay.db')
    const db = new Database(path)
    const steps = [...MIGRATIONS, 'CREATE TABLE more (a INTEGER) STRICT', 'CREATE TABLE keys (a INTEGER) STRICT']
    expect(() => migrate(db, path, steps)).toThrow('keys')
    expect(db.query("SELECT name FROM sqlite_schema WHERE name = 'more'").all()).toEqual([])
    expect(db.query('PRAGMA user_version').get()).toEqual({ user_version: MIGRATIONS.length })
    db.close()
    at(folder).close()
  })
})
