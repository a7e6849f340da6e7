// load.c from here: compiled at first use, its answers with types.
import { mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { leaveNone, lines } from '../test/oracle/process.ts'
import { output, ROOT, type Side } from './processes.ts'

export type Times = { p50: number; p99: number; p999: number; max: number }
export type Pinged = { count: number; us: Times }
export type Connected = { count: number; failed: number; rate: number; first: Times; us: Times }
export type Pulled = { bytes: number; seconds: number }

/** An address that visitors connect to. */
export type At = { host: string; port: number }

let compiled: string | null = null

export function loadProgram(): string {
  if (compiled !== null) return compiled
  mkdirSync(join(ROOT, 'bin'), { recursive: true })
  const program = join(ROOT, 'bin/load')
  const fresh = `${program}.${process.pid}`
  const source = new URL('./load.c', import.meta.url).pathname
  const gcc = Bun.spawnSync(['gcc', '-O2', '-pthread', '-o', fresh, source], { stderr: 'pipe' })
  if (gcc.exitCode !== 0) throw new Error(`gcc: ${gcc.stderr.toString()}`)
  // Another run may execute the old one.
  renameSync(fresh, program)
  compiled = program
  return program
}

async function load<T>(side: Side, words: (string | number)[]): Promise<T> {
  const out = await output(side, [loadProgram(), ...words.map(String)])
  return JSON.parse(out.trim().split('\n').at(-1)!) as T
}

/** Waits until a service answers `bytes` there. */
export const reach = (side: Side, at: At, ms: number, bytes: Uint8Array): Promise<unknown> =>
  load(side, ['reach', at.host, at.port, ms, Buffer.from(bytes).toString('hex')])
export const ping = (side: Side, at: At, seconds: number) => load<Pinged>(side, ['ping', at.host, at.port, seconds])
export const connects = (side: Side, at: At, clients: number, seconds: number) =>
  load<Connected>(side, ['connect', at.host, at.port, clients, seconds])
export const pull = (side: Side, at: At, streams: number, seconds: number, omit: number) =>
  load<Pulled>(side, ['pull', at.host, at.port, streams, seconds, omit])

/** A load that stays until it is let go. */
export type Held = AsyncDisposable & { readonly failed: number }

async function stay(side: Side, words: (string | number)[]): Promise<Held> {
  const child = Bun.spawn([...side.prefix, loadProgram(), ...words.map(String)], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  leaveNone(child)
  const { value } = await lines(child.stdout).next()
  if (value === undefined) throw new Error(`load ${words[0]} ended with status ${await child.exited}`)
  return {
    failed: (JSON.parse(value) as { failed?: number }).failed ?? 0,
    async [Symbol.asyncDispose]() {
      child.stdin.end()
      await child.exited
    },
  }
}

export const hold = (side: Side, at: At, count: number): Promise<Held> => stay(side, ['hold', at.host, at.port, count])
export const stall = (side: Side, at: At): Promise<Held> => stay(side, ['stall', at.host, at.port])
