// Files that must never be half there and never be read by others: keys, certificates, what is remembered of a relay.
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type Code, WarrenError } from '../errors.ts'

/** What `writeStateFile` does about a file that is there already: `replace` it, or `keep` it and say so. */
type Existing = 'replace' | 'keep'

/** No file that is read whole here is larger: a key, a certificate or a short list. */
const LARGEST = 1 << 20

/** The system's error code of a thrown value, as 'ENOENT'. */
export function errorCode(thrown: unknown): string {
  return thrown instanceof Error && 'code' in thrown ? String(thrown.code) : ''
}

/** A sentence's end that says why a file operation failed. */
export function fileTrouble(thrown: unknown): string {
  const code = errorCode(thrown)
  if (code === 'EACCES' || code === 'EPERM') return 'permission denied'
  if (code === 'EROFS') return 'the file system is read-only'
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'no space left'
  if (code === 'ENOENT') return 'there is no such file or folder'
  if (code === 'EISDIR') return 'it is a folder'
  // Only who makes a folder meets it: files made here have random names first.
  if (code === 'EEXIST') return 'it is not a folder'
  if (code === 'ENOTDIR') return 'a part of the path is not a folder'
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** Makes the names in a folder durable: a rename is lost by a power cut until its folder is synced. */
export function syncFolder(folder: string): void {
  if (process.platform === 'win32') return
  const fd = openSync(folder, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/**
 * Gives the complete, synced file `from` the name `to`, in one step; false: `to` exists and stays as it is.
 * `from` is gone afterwards.
 */
export function placeFile(from: string, to: string, existing: Existing): boolean {
  let placed = true
  if (existing === 'replace') renameSync(from, to)
  else {
    try {
      linkSync(from, to)
    } catch (thrown) {
      const code = errorCode(thrown)
      if (code === 'EEXIST') placed = false
      else if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOSYS') {
        placed = placeWithoutLinks(from, to)
      } else throw thrown
    }
    rmSync(from, { force: true })
  }
  syncFolder(dirname(to))
  return placed
}

/** For file systems without hard links: the empty file made first decides between two processes. */
function placeWithoutLinks(from: string, to: string): boolean {
  try {
    closeSync(openSync(to, 'wx', 0o600))
  } catch (thrown) {
    if (errorCode(thrown) === 'EEXIST') return false
    throw thrown
  }
  renameSync(from, to)
  return true
}

/** A name beside `path` that no other process uses. */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(6).toString('hex')}`)
}

/**
 * Writes a file whole or not at all, durable when it returns; false: it was there and is kept. Errors carry `code` and
 * the path, never the content.
 */
export function writeStateFile(
  path: string,
  text: string,
  mode: 0o600 | 0o644,
  existing: Existing,
  code: Code,
): boolean {
  const temporary = temporaryName(path)
  try {
    const fd = openSync(temporary, 'wx', mode)
    try {
      const bytes = Buffer.from(text)
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    return placeFile(temporary, path, existing)
  } catch (thrown) {
    rmSync(temporary, { force: true })
    throw new WarrenError(code, `cannot write ${path}: ${fileTrouble(thrown)}`, { cause: thrown })
  }
}

/** Who may read a file: `private` refuses one that anybody but its owner, this user, can read or write. */
type Audience = 'private' | 'public'

/** The text of a small file, or null when there is none. Checked on the open file, so that nobody swaps it meanwhile. */
export function readStateFile(path: string, audience: Audience, code: Code): string | null {
  let fd: number
  try {
    // Without waiting: opening a pipe that nobody writes to would never return.
    fd = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return null
    throw new WarrenError(code, `cannot read ${path}: ${fileTrouble(thrown)}`, { cause: thrown })
  }
  try {
    const stat = fstatSync(fd)
    if (!stat.isFile()) throw new WarrenError(code, `${path} is not a plain file`)
    if (stat.size > LARGEST) throw new WarrenError(code, `${path} is too large (${stat.size} bytes)`)
    if (audience === 'private' && process.geteuid !== undefined) {
      if (stat.uid !== process.geteuid())
        throw new WarrenError(code, `${path} belongs to another user (uid ${stat.uid})`)
      const mode = stat.mode & 0o777
      if ((mode & 0o177) !== 0) {
        throw new WarrenError(code, `${path} has mode 0${mode.toString(8)}, and 0600 is what keeps it to its owner`)
      }
    }
    return readFileSync(fd, 'utf8')
  } catch (thrown) {
    if (thrown instanceof WarrenError) throw thrown
    throw new WarrenError(code, `cannot read ${path}: ${fileTrouble(thrown)}`, { cause: thrown })
  } finally {
    closeSync(fd)
  }
}
