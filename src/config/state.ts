// Where a relay or an agent keeps its state: found the same way by every command, private, and known to be writable
// before anything is promised on it.
import { accessSync, constants, existsSync, mkdirSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { WarrenError } from '../errors.ts'
import { fileTrouble, type Role } from '../identity/index.ts'

export type StateRole = 'relay' | Role

/**
 * The state folder, made with mode 0700 when it is not there: `--state`, WARREN_STATE, or the XDG state folder. Relay
 * and agent may share one: their files have different names.
 */
export function stateFolder(
  role: StateRole,
  flag?: string,
  env: Record<string, string | undefined> = process.env,
): string {
  const folder = resolve(choose(flag, env))
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (thrown) {
    throw new WarrenError('W-STATE', `the ${role} cannot keep its state in ${folder}: ${fileTrouble(thrown)}`, {
      cause: thrown,
    })
  }
  refuseShared(role, folder)
  const { uid } = statSync(folder)
  if (process.geteuid !== undefined && uid !== process.geteuid() && uid !== 0) {
    throw new WarrenError('W-STATE', `the ${role}'s state folder ${folder} belongs to another user (uid ${uid})`)
  }
  return folder
}

/** As `stateFolder`, for a command that asks a relay: it makes nothing, and root may ask anybody's that runs. */
export function askedFolder(flag?: string, env: Record<string, string | undefined> = process.env): string {
  const folder = resolve(choose(flag, env))
  if (existsSync(folder)) refuseShared('relay', folder)
  return folder
}

/** Who can rename files in the folder can put another key or another list of allowed keys in place. */
function refuseShared(role: StateRole, folder: string): void {
  if (process.geteuid === undefined || (statSync(folder).mode & 0o022) === 0) return
  throw new WarrenError(
    'W-STATE',
    `others may write to the ${role}'s state folder ${folder}: take that away with \`chmod go-w\``,
  )
}

function choose(flag: string | undefined, env: Record<string, string | undefined>): string {
  if (flag === '') throw new WarrenError('W-USAGE', '--state needs the name of a folder')
  if (flag !== undefined) return flag
  const own = env['WARREN_STATE']
  if (own) return own
  // The XDG specification: a relative path there is invalid and to be ignored.
  const xdg = env['XDG_STATE_HOME']
  return xdg && isAbsolute(xdg) ? join(xdg, 'warren') : join(homedir(), '.local', 'state', 'warren')
}
