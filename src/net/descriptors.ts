// File descriptors are what a relay runs out of first, and Bun shows that as a refused connection. So net counts the
// ones that it holds itself: sockets from `open` or the start of a dial until Bun reports them closed, and listeners.
import { closeSync, openSync, readFileSync } from 'node:fs'

/** What the rest of the process may hold: Bun's own (about 20), a database with its journal, logs, the terminal. */
const OTHERS = 64

let held = 0
let limit = 0

export function hold(): void {
  held++
}

export function letGo(): void {
  held--
}

export const descriptors = {
  /** The process's limit. Bun raises the soft limit to the hard one when it starts. */
  limit(): number {
    if (limit === 0) limit = readLimit()
    return limit
  },

  /** How many net holds now. */
  open(): number {
    return held
  },

  /** Whether fewer than `reserve` are left. */
  near(reserve: number): boolean {
    return held + OTHERS + reserve > descriptors.limit()
  },
}

/** The one of a socket or listener, -1 once it is closed. Bun has it, its types do not. */
export function descriptorOf(socket: object): number {
  return 'fd' in socket && typeof socket.fd === 'number' ? socket.fd : -1
}

/** Whether none is left at this moment: asked when a connect failed in a way that may only mean that. */
export function exhausted(): boolean {
  try {
    closeSync(openSync('/dev/null', 'r'))
    return false
  } catch (thrown) {
    return thrown instanceof Error && 'code' in thrown && (thrown.code === 'EMFILE' || thrown.code === 'ENFILE')
  }
}

function readLimit(): number {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]
    if (soft !== undefined) return Number(soft)
  } catch {
    // No /proc: ask a shell, which inherits the limit.
  }
  const soft = Number(Bun.spawnSync(['sh', '-c', 'ulimit -n']).stdout.toString())
  return Number.isInteger(soft) && soft > 0 ? soft : 1024
}
