// The terminal that a live screen draws on: its size, its keys, and leaving it as it was found on every way out.
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs'
import type { Output } from './output.ts'
import { HIDE_CURSOR, SHOW_CURSOR } from './region.ts'

/** Keys that a terminal in raw mode no longer turns into signals itself. */
const SIGNALS: Record<string, NodeJS.Signals> = { '\x03': 'SIGINT', '\x1a': 'SIGTSTP', '\x1c': 'SIGQUIT' }

export class Terminal {
  readonly #stdout = process.stdout
  readonly #stdin = process.stdin
  #held = false

  /** Standard output as a terminal that can hold a live screen, or null: not one, a dumb one, or another job has it. */
  static find(): Terminal | null {
    const { stdout, env } = process
    const able = stdout.isTTY && env['TERM'] !== 'dumb' && (stdout.columns ?? 0) >= 20 && (stdout.rows ?? 0) >= 4
    return able && isForeground() ? new Terminal() : null
  }

  /** Whether it is this job's: behind `bg` the shell's prompt stands there. */
  get ours(): boolean {
    return isForeground()
  }

  get columns(): number {
    return this.#stdout.columns || 80
  }

  get rows(): number {
    return this.#stdout.rows || 24
  }

  /** https://no-color.org: set and not empty. */
  get color(): boolean {
    return !process.env['NO_COLOR']
  }

  onResize(act: () => void): void {
    this.#stdout.on('resize', act)
  }

  offResize(act: () => void): void {
    this.#stdout.off('resize', act)
  }

  /**
   * Hides the cursor, and takes the keys: what is typed would otherwise be echoed into the screen. Ctrl-C, Ctrl-Z and
   * Ctrl-\ become the signals that they mean.
   */
  hold(out: Output): void {
    if (this.#held) return
    this.#held = true
    out.write(HIDE_CURSOR)
    process.on('exit', this.#onExit)
    if (!this.#stdin.isTTY) return
    this.#stdin.setRawMode(true)
    this.#stdin.on('data', onKeys)
    this.#stdin.on('end', onHangUp)
    this.#stdin.resume()
  }

  /**
   * The cursor is back once `out` is flushed. Its mode is restored by cook() or, without waiting for a terminal that takes
   * nothing, by the runtime when the process ends.
   */
  release(out: Output): void {
    if (!this.#held) return
    this.#held = false
    out.write(SHOW_CURSOR)
    process.off('exit', this.#onExit)
    if (!this.#stdin.isTTY) return
    this.#stdin.off('data', onKeys)
    this.#stdin.off('end', onHangUp)
    this.#stdin.pause()
  }

  /** Makes it as it was found. Waits until the terminal has taken what was written: to be called when it has. */
  cook(): void {
    if (this.#stdin.isTTY) this.#stdin.setRawMode(false)
  }

  /** The process ends without a release: the last moment, and no time to wait for a write. */
  readonly #onExit = (): void => {
    try {
      const terminal = openNow()
      writeSync(terminal ?? 1, SHOW_CURSOR)
      if (terminal !== null) closeSync(terminal)
    } catch {
      // The terminal is gone or takes nothing.
    }
  }
}

/** Standard output, to be written without waiting; null: another user's, as behind sudo, and can only be had as it is. */
function openNow(): number | null {
  try {
    return openSync('/dev/fd/1', constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  } catch (thrown) {
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'EACCES') return null
    throw thrown
  }
}

function onKeys(keys: Buffer): void {
  for (const key of keys.toString('latin1')) {
    const signal = SIGNALS[key]
    if (signal !== undefined) process.kill(process.pid, signal)
  }
}

/** Without job control nobody else tells that the terminal is gone. */
function onHangUp(): void {
  process.kill(process.pid, 'SIGHUP')
}

/** Behind `&` the terminal belongs to the shell: a live screen would draw over its prompt. Known on Linux only. */
function isForeground(): boolean {
  try {
    // pid (comm) state ppid pgrp session tty tpgid …; the name may hold anything, so what counts is behind its last ')'.
    const fields = readFileSync('/proc/self/stat', 'latin1').split(')').at(-1)?.trim().split(' ') ?? []
    // -1: there is no job control on it at all.
    return fields[5] === '-1' || fields[2] === fields[5]
  } catch {
    return true
  }
}
