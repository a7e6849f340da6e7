// The relay's database as a file: who may open it, how a new one comes to be, what is checked of an old one, and how what
// went wrong with it is said. The folder belongs to one relay at a time, by a lock that the system drops with the process,
// however it ends. What is in the database is the store's.
import { Database, SQLiteError } from 'bun:sqlite'
import { accessSync, chmodSync, constants, existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { asWarrenError, WarrenError } from '../errors.ts'
import { fileTrouble, placeFile, temporaryName } from '../identity/index.ts'
import { APPLICATION_ID, migrate } from './migrations.ts'

/** `relay`: alone on the folder until closed. `command`: beside other commands, and not beside a relay. */
export type Use = 'relay' | 'command'

/** How long to wait for the folder's lock: for commands, which hold it for milliseconds. */
const LOCK_WAIT_MS = 500
/** How long a command waits for another one's transaction. */
const BUSY_MS = 5_000

/** lock.db holds nothing but SQLite's lock on it, which the system drops when the process ends, by kill -9 as well. */
export class FolderLock {
  /** A lock that nobody refers to any more would be collected, closed and so dropped while its relay runs on. */
  static readonly #held = new Set<FolderLock>()
  readonly #db: Database

  constructor(folder: string, use: Use) {
    const path = join(folder, 'lock.db')
    let db: Database | null = null
    try {
      // Never opened by other means than SQLite: closing any other descriptor of it would drop this process's lock.
      db = new Database(path, { readwrite: true, create: true })
      chmodSync(path, 0o600)
      db.run(`PRAGMA busy_timeout = ${LOCK_WAIT_MS}`)
      if (use === 'relay') db.run('BEGIN EXCLUSIVE')
      else {
        db.run('BEGIN')
        one(db, 'SELECT count(*) FROM sqlite_schema')
      }
      this.#db = db
      FolderLock.#held.add(this)
    } catch (thrown) {
      db?.close()
      if (thrown instanceof SQLiteError && thrown.code?.startsWith('SQLITE_BUSY')) {
        throw new WarrenError('W-LOCKED', `another relay (or a command for it) is using ${folder}`, { cause: thrown })
      }
      throw trouble(path, thrown)
    }
  }

  release(): void {
    FolderLock.#held.delete(this)
    this.#db.run('ROLLBACK')
    this.#db.close()
  }
}

/** A new database, whole before it has its name: an empty relay.db is a lost one, never a beginning. */
function create(path: string): void {
  for (const rest of [`${path}-wal`, `${path}-journal`]) {
    if (existsSync(rest)) throw new WarrenError('W-STATE', `${path} is missing, but ${rest} is there: restore both`)
  }
  const temporary = temporaryName(path)
  try {
    const db = new Database(temporary, { readwrite: true, create: true })
    try {
      chmodSync(temporary, 0o600)
      db.run('PRAGMA journal_mode = WAL')
      db.run('PRAGMA synchronous = FULL')
      migrate(db, temporary)
    } finally {
      db.close(true)
    }
    placeFile(temporary, path, 'keep')
  } finally {
    for (const end of ['', '-wal', '-shm']) rmSync(temporary + end, { force: true })
  }
}

/** Opens it, or makes it where it is missing. */
export function openDatabase(path: string): Database {
  if (!existsSync(path)) create(path)
  // SQLite would open what may only be read, and fail at the first thing to remember.
  accessSync(path, constants.R_OK | constants.W_OK)
  const db = new Database(path, { readwrite: true, create: false })
  try {
    db.run(`PRAGMA busy_timeout = ${BUSY_MS}`)
    db.run('PRAGMA synchronous = FULL')
    db.run('PRAGMA foreign_keys = ON')
    db.run('PRAGMA trusted_schema = OFF')
    // Of an empty file as well, before anything could be written to it.
    if (one(db, 'PRAGMA application_id') !== APPLICATION_ID) throw damaged(path, "it is not a warren relay's")
    if (one(db, 'PRAGMA journal_mode = WAL') !== 'wal') {
      throw new WarrenError('W-STATE', `the file system of ${path} cannot keep a write-ahead log`)
    }
    const found = one(db, 'PRAGMA quick_check(1)')
    if (found !== 'ok') throw damaged(path, String(found))
    migrate(db, path)
    if (one(db, 'SELECT count(*) FROM pool') !== 1) throw damaged(path, "the pool's row is missing")
    return db
  } catch (thrown) {
    db.close()
    throw thrown
  }
}

/** The first column of the first row; its statement is gone afterwards, so that the file can be closed. */
function one(db: Database, sql: string): unknown {
  const statement = db.prepare(sql)
  try {
    return statement.values()[0]?.[0]
  } finally {
    statement.finalize()
  }
}

export function damaged(path: string, how: string): WarrenError {
  return new WarrenError(
    'W-STATE',
    `${path} is damaged (${how}): restore it from a backup, or move it away to begin anew`,
  )
}

/** What went wrong with a database, as an error that names its file. */
export function trouble(path: string, thrown: unknown): WarrenError {
  if (thrown instanceof WarrenError) return thrown
  if (!(thrown instanceof SQLiteError)) {
    // A system call's error has a code; anything else is a fault of the program.
    if (!(thrown instanceof Error && 'code' in thrown)) return asWarrenError(thrown)
    return new WarrenError('W-STATE', `cannot use ${path}: ${fileTrouble(thrown)}`, { cause: thrown })
  }
  const code = thrown.code ?? ''
  if (code.startsWith('SQLITE_CORRUPT') || code.startsWith('SQLITE_NOTADB')) return damaged(path, thrown.message)
  if (code.startsWith('SQLITE_CONSTRAINT') || code.startsWith('SQLITE_MISUSE')) {
    return new WarrenError('W-INTERNAL', `${path} refused a change: ${thrown.message}`, { cause: thrown })
  }
  const how = code.startsWith('SQLITE_FULL') ? 'no space left' : thrown.message
  return new WarrenError('W-STATE', `cannot use ${path}: ${how}`, { cause: thrown })
}
