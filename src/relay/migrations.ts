// The relay database's schema, as numbered steps: the database's user_version is how many of them it has had. A step
// that was released is never changed; another one is added.
import type { Database } from 'bun:sqlite'
import { chmodSync, renameSync, rmSync } from 'node:fs'
import { WarrenError } from '../errors.ts'

/** Marks a SQLite file as warren's ("wrrn"), so that another program's database is not taken for one. */
export const APPLICATION_ID = 0x7772_726e

export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE keys (
    key        BLOB    NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    name       TEXT    NOT NULL COLLATE NOCASE UNIQUE,
    role       TEXT    NOT NULL CHECK (role IN ('agent', 'connector')),
    added_at   INTEGER NOT NULL,
    revoked_at INTEGER,
    seen_at    INTEGER
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE invites (
    token_hash BLOB    NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    role       TEXT    NOT NULL CHECK (role IN ('agent', 'connector')),
    uses_left  INTEGER NOT NULL CHECK (uses_left >= 0),
    made_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE leases (
    port    INTEGER NOT NULL PRIMARY KEY CHECK (port BETWEEN 1 AND 65535),
    key     BLOB    NOT NULL REFERENCES keys (key),
    service TEXT    NOT NULL,
    live    INTEGER NOT NULL CHECK (live IN (0, 1)),
    epoch   INTEGER NOT NULL UNIQUE CHECK (epoch > 0),
    since   INTEGER NOT NULL,
    held_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX leases_by_key ON leases (key);

  -- One row. clock: the pool's own time when this was written; epoch: the last one given out.
  CREATE TABLE pool (
    id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    clock INTEGER NOT NULL,
    epoch INTEGER NOT NULL
  ) STRICT;
  INSERT INTO pool (id, clock, epoch) VALUES (1, 0, 0);
  `,
]

/** Brings the database to the newest schema; a copy of an older one stays beside it as `path`.vN. */
export function migrate(db: Database, path: string, steps: readonly string[] = MIGRATIONS): void {
  const found = version(db)
  if (found > steps.length) {
    throw new WarrenError('W-STATE-NEWER', `${path} has schema ${found}; this warren knows ${steps.length}`)
  }
  if (found === steps.length) return
  if (found > 0) backUp(db, path, found)
  db.transaction(() => {
    // Read again: another command may have done it between the first look and this transaction.
    for (let step = version(db); step < steps.length; step++) db.run(steps[step] ?? '')
    db.run(`PRAGMA user_version = ${steps.length}`)
    db.run(`PRAGMA application_id = ${APPLICATION_ID}`)
  }).immediate()
}

function version(db: Database): number {
  using statement = db.prepare<{ user_version: number }, []>('PRAGMA user_version')
  return statement.get()?.user_version ?? 0
}

function backUp(db: Database, path: string, found: number): void {
  const copy = `${path}.v${found}`
  const unfinished = `${copy}.part`
  rmSync(unfinished, { force: true })
  db.run('VACUUM INTO ?', [unfinished])
  chmodSync(unfinished, 0o600)
  renameSync(unfinished, copy)
}
