// What a relay must not forget, in <state>/relay.db: who is allowed, which invites are left, who holds which port. What
// was promised to an agent is on disk before it is promised.
import type { Database, SQLQueryBindings } from 'bun:sqlite'
import { join } from 'node:path'
import { WarrenError } from '../errors.ts'
import { fingerprint, isCanonicalKey, type Role } from '../identity/index.ts'
import { damaged, FolderLock, openDatabase, trouble, type Use } from './database.ts'

export type KeyStatus = 'allowed' | 'revoked' | 'unknown'

export type KeyRow = {
  readonly publicKey: Uint8Array
  readonly fingerprint: string
  /** Unique, without regard to case. */
  readonly name: string
  readonly role: Role
  readonly status: 'allowed' | 'revoked'
  readonly addedAt: number
  readonly revokedAt: number | null
  /** When it last registered; null: never. */
  readonly seenAt: number | null
}

/** `unknown` also stands for all that a stranger must not learn: a revoked key, a token of another role. */
export type Enrolment = 'enrolled' | 'spent' | 'expired' | 'unknown'

/** A port's row. `heldAt`: when it was last known to be held, never earlier than it really was. */
export type Lease = {
  readonly port: number
  readonly key: Uint8Array
  readonly service: string
  readonly live: boolean
  readonly epoch: number
  readonly since: number
  readonly heldAt: number
}

/** `clock`: the pool's own time when it was last saved. `epoch`: the last one that was given out. */
export type PoolState = { readonly clock: number; readonly epoch: number; readonly leases: readonly Lease[] }

/** Spent and expired invites are remembered so long, so that their late users are told why. */
const INVITE_MEMORY_MS = 30 * 86_400_000
/** How far a clock may step back before an invite made "in the future" counts as expired. */
const CLOCK_STEP_MS = 60_000
const NAME = /^[A-Za-z0-9._@-]{1,63}$/

type StoredKey = {
  key: Uint8Array
  name: string
  role: Role
  added_at: number
  revoked_at: number | null
  seen_at: number | null
}
type StoredInvite = { role: Role; uses_left: number; made_at: number; expires_at: number }
type StoredLease = {
  port: number
  key: Uint8Array
  service: string
  live: number
  epoch: number
  since: number
  held_at: number
}

/** A name that any text can be told by: what it is not made of becomes a dash, so that it is safe to print and to type. */
export function keyName(text: string): string {
  return (
    text
      .replace(/[^A-Za-z0-9._@-]+/g, '-')
      .replace(/^-+|-+$/g, '')
      .slice(0, 63) || 'unnamed'
  )
}

export class Store {
  readonly #seen = new Map<string, { key: Uint8Array; at: number }>()
  readonly #sql: ReturnType<typeof prepare>
  #open = true

  private constructor(
    private readonly path: string,
    private readonly db: Database,
    private readonly lock: FolderLock,
    private readonly now: () => number,
  ) {
    this.#sql = prepare(db)
  }

  /** `now`: the wall clock in ms. Throws W-LOCKED, W-STATE-NEWER, or W-STATE naming the file; never starts anew. */
  static open(folder: string, now: () => number, use: Use = 'relay'): Store {
    const lock = new FolderLock(folder, use)
    const path = join(folder, 'relay.db')
    let db: Database | null = null
    try {
      db = openDatabase(path)
      return new Store(path, db, lock, now)
    } catch (thrown) {
      db?.close()
      lock.release()
      throw trouble(path, thrown)
    }
  }

  // Keys

  /** With `role`, a key that is allowed in another one is unknown. */
  keyStatus(publicKey: Uint8Array, role?: Role): KeyStatus {
    return this.#read(() => {
      const row = this.#sql.key.get(publicKey)
      if (row === null) return 'unknown'
      if (row.revoked_at !== null) return 'revoked'
      return role === undefined || row.role === role ? 'allowed' : 'unknown'
    })
  }

  key(publicKey: Uint8Array): KeyRow | null {
    return this.#read(() => {
      const row = this.#sql.key.get(publicKey)
      return row === null ? null : this.#row(row)
    })
  }

  listKeys(): KeyRow[] {
    return this.#read(() => this.#sql.keys.all().map(row => this.#row(row)))
  }

  /** Allows a key, also one that was revoked; a known one gets the new name and role. */
  allowKey(publicKey: Uint8Array, name: string, role: Role): KeyRow {
    if (!isCanonicalKey(publicKey)) throw new WarrenError('W-USAGE', 'the public key is not one that anybody can have')
    return this.#write(() => {
      this.#requireName(name, publicKey)
      this.#sql.allow.run(publicKey, name, role, this.#time())
      return this.#known(publicKey)
    })
  }

  /** The key that has this fingerprint or name. */
  find(who: string): Uint8Array {
    return this.#read(() => this.#find(who))
  }

  /** `who`: a fingerprint or a name. The caller ends the key's sessions. A second time changes nothing. */
  revokeKey(who: string): Uint8Array {
    return this.#write(() => {
      const key = this.#find(who)
      this.#sql.revoke.run(this.#time(), key)
      return key
    })
  }

  renameKey(who: string, name: string): KeyRow {
    return this.#write(() => {
      const key = this.#find(who)
      this.#requireName(name, key)
      this.#sql.rename.run(name, key)
      return this.#known(key)
    })
  }

  /** Notes that a session of a key began or ended; goes to disk with the next write, because nobody was promised it. */
  touchKey(publicKey: Uint8Array): void {
    this.#seen.set(hex(publicKey), { key: publicKey, at: this.#time() })
  }

  // Invites

  /** `tokenHash`: `hashToken` of the token, which the relay itself does not keep. */
  addInvite(tokenHash: Uint8Array, invite: { role: Role; uses: number; expiresAt: number }): void {
    if (!Number.isSafeInteger(invite.uses) || invite.uses < 1) {
      throw new WarrenError('W-USAGE', 'an invite is good for at least one use')
    }
    this.#write(() => {
      const now = this.#time()
      this.#sql.forgetInvites.run(now - INVITE_MEMORY_MS)
      this.#sql.invite.run(tokenHash, invite.role, invite.uses, now, Math.floor(invite.expiresAt))
    })
  }

  /**
   * Burns one use of a token and allows the key, in one transaction. A key that is allowed already is `enrolled` and
   * burns nothing: its first answer may have been lost. A revoked one stays revoked, whatever token it has.
   */
  enrol(tokenHash: Uint8Array, publicKey: Uint8Array, name: string, role: Role): Enrolment {
    if (!isCanonicalKey(publicKey)) return 'unknown'
    return this.#write(() => {
      const known = this.#sql.key.get(publicKey)
      if (known !== null) return known.revoked_at === null && known.role === role ? 'enrolled' : 'unknown'
      const invite = this.#sql.findInvite.get(tokenHash)
      if (invite === null || invite.role !== role) return 'unknown'
      if (invite.uses_left === 0) return 'spent'
      // A clock that was set back must not make an old invite good again.
      const now = this.#time()
      if (now >= invite.expires_at || now < invite.made_at - CLOCK_STEP_MS) return 'expired'
      if (this.#sql.burn.run(tokenHash).changes !== 1) return 'spent'
      this.#sql.enrol.run(publicKey, this.#freeName(keyName(name), publicKey), role, now)
      return 'enrolled'
    })
  }

  // Leases: the rows; the rules are pool.ts's.

  /** All leases, those held longest ago first. */
  pool(): PoolState {
    return this.#read(() => {
      const counters = this.#sql.pool.get()
      if (counters === null) throw damaged(this.path, "the pool's row is missing")
      return { ...counters, leases: this.#sql.leases.all().map(lease) }
    })
  }

  /** Durable when it returns. A lease replaces its port's row; `dropped` ports lose theirs. */
  savePool(state: { clock: number; epoch: number; leases: Iterable<Lease>; dropped: Iterable<number> }): void {
    this.#write(() => {
      this.#sql.setPool.run(state.clock, state.epoch)
      for (const port of state.dropped) this.#sql.dropLease.run(port)
      for (const { port, key, service, live, epoch, since, heldAt } of state.leases) {
        this.#sql.setLease.run(port, key, service, live ? 1 : 0, epoch, since, heldAt)
      }
    })
  }

  /** Writes what waits for the next write. */
  flush(): void {
    if (this.#seen.size > 0) this.#write(() => {})
  }

  close(): void {
    if (!this.#open) return
    try {
      this.flush()
    } finally {
      this.#open = false
      for (const statement of Object.values(this.#sql)) statement.finalize()
      this.db.close()
      this.lock.release()
    }
  }

  #time(): number {
    return Math.floor(this.now())
  }

  #read<T>(read: () => T): T {
    try {
      return read()
    } catch (thrown) {
      throw trouble(this.path, thrown)
    }
  }

  /** One durable transaction; what it threw for, it did not do. */
  #write<T>(change: () => T): T {
    try {
      const result = this.db
        .transaction(() => {
          for (const { key, at } of this.#seen.values()) this.#sql.seen.run(at, key)
          return change()
        })
        .immediate()
      this.#seen.clear()
      return result
    } catch (thrown) {
      throw trouble(this.path, thrown)
    }
  }

  #known(publicKey: Uint8Array): KeyRow {
    const row = this.#sql.key.get(publicKey)
    if (row === null) throw new WarrenError('W-INTERNAL', 'a key was not there after it was written')
    return this.#row(row)
  }

  /** With what waits for the next write: a disk that is full keeps nobody from reading. */
  #row(row: StoredKey): KeyRow {
    const { at = row.seen_at } = this.#seen.get(hex(row.key)) ?? {}
    return keyRow({ ...row, seen_at: at })
  }

  #find(who: string): Uint8Array {
    // A name cannot contain a ':', so nobody can take a name that reads as another's fingerprint.
    const isFingerprint = who.startsWith('SHA256:')
    const row = isFingerprint
      ? this.#sql.keys.all().find(candidate => fingerprint(candidate.key) === who)
      : this.#sql.named.get(who)
    if (!row) throw new WarrenError('W-NOT-FOUND', `no key has the ${isFingerprint ? 'fingerprint' : 'name'} '${who}'`)
    return row.key
  }

  #requireName(name: string, publicKey: Uint8Array): void {
    if (!NAME.test(name)) {
      throw new WarrenError('W-USAGE', 'a name is 1 to 63 letters, digits, dots, dashes, underscores and @')
    }
    const other = this.#sql.named.get(name)
    if (other !== null && hex(other.key) !== hex(publicKey)) {
      throw new WarrenError('W-USAGE', `the name ${name} is that of ${fingerprint(other.key)}`)
    }
  }

  /** An agent proposes its name, and many a machine has the same: a taken one gets a number, or part of the key. */
  #freeName(name: string, publicKey: Uint8Array): string {
    for (let n = 1; n < 10; n++) {
      const candidate = n === 1 ? name : `${name.slice(0, 61)}-${n}`
      if (this.#sql.named.get(candidate) === null) return candidate
    }
    return `${name.slice(0, 30)}-${hex(publicKey).slice(0, 32)}`
  }
}

function prepare(db: Database) {
  const made: { finalize(): void }[] = []
  function sql<Row, Values extends SQLQueryBindings[]>(text: string) {
    const statement = db.prepare<Row, Values>(text)
    made.push(statement)
    return statement
  }
  try {
    return {
      key: sql<StoredKey, [Uint8Array]>('SELECT * FROM keys WHERE key = ?'),
      keys: sql<StoredKey, []>('SELECT * FROM keys ORDER BY name'),
      named: sql<StoredKey, [string]>('SELECT * FROM keys WHERE name = ?'),
      allow: sql<null, [Uint8Array, string, Role, number]>(
        `INSERT INTO keys (key, name, role, added_at) VALUES (?, ?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET name = excluded.name, role = excluded.role, revoked_at = NULL`,
      ),
      enrol: sql<null, [Uint8Array, string, Role, number]>(
        'INSERT INTO keys (key, name, role, added_at) VALUES (?, ?, ?, ?)',
      ),
      revoke: sql<null, [number, Uint8Array]>('UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE key = ?'),
      rename: sql<null, [string, Uint8Array]>('UPDATE keys SET name = ? WHERE key = ?'),
      seen: sql<null, [number, Uint8Array]>('UPDATE keys SET seen_at = ? WHERE key = ?'),
      invite: sql<null, [Uint8Array, Role, number, number, number]>(
        'INSERT INTO invites (token_hash, role, uses_left, made_at, expires_at) VALUES (?, ?, ?, ?, ?)',
      ),
      findInvite: sql<StoredInvite, [Uint8Array]>('SELECT * FROM invites WHERE token_hash = ?'),
      burn: sql<null, [Uint8Array]>(
        'UPDATE invites SET uses_left = uses_left - 1 WHERE token_hash = ? AND uses_left > 0',
      ),
      forgetInvites: sql<null, [number]>('DELETE FROM invites WHERE expires_at < ?'),
      pool: sql<{ clock: number; epoch: number }, []>('SELECT clock, epoch FROM pool'),
      setPool: sql<null, [number, number]>('UPDATE pool SET clock = ?, epoch = ?'),
      leases: sql<StoredLease, []>('SELECT * FROM leases ORDER BY held_at, epoch'),
      setLease: sql<null, [number, Uint8Array, string, number, number, number, number]>(
        `INSERT INTO leases (port, key, service, live, epoch, since, held_at) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (port) DO UPDATE SET key = excluded.key, service = excluded.service, live = excluded.live,
         epoch = excluded.epoch, since = excluded.since, held_at = excluded.held_at`,
      ),
      dropLease: sql<null, [number]>('DELETE FROM leases WHERE port = ?'),
    }
  } catch (thrown) {
    // One that is left over would keep the file open, and its log from being closed.
    for (const statement of made) statement.finalize()
    throw thrown
  }
}

function keyRow(row: StoredKey): KeyRow {
  return {
    publicKey: row.key,
    fingerprint: fingerprint(row.key),
    name: row.name,
    role: row.role,
    status: row.revoked_at === null ? 'allowed' : 'revoked',
    addedAt: row.added_at,
    revokedAt: row.revoked_at,
    seenAt: row.seen_at,
  }
}

function lease(row: StoredLease): Lease {
  const { port, key, service, epoch, since } = row
  return { port, key, service, live: row.live === 1, epoch, since, heldAt: row.held_at }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
