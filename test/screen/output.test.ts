import { describe, expect, test } from 'bun:test'
import { Output } from '../../src/screen/index.ts'
import type { Sink } from '../../src/screen/sink.ts'

/** A reader that takes what was written when it is told to. */
class Reader implements Sink {
  taken = ''
  #written = ''
  #pending: PromiseWithResolvers<void> | null = null
  failing: Error | null = null

  write(text: string): void {
    if (this.failing) throw this.failing
    this.#written += text
  }

  flush(): Promise<void> {
    this.#pending = Promise.withResolvers()
    return this.#pending.promise
  }

  async take(): Promise<void> {
    this.taken += this.#written
    this.#written = ''
    this.#pending?.resolve()
    await Promise.resolve()
    await Promise.resolve()
  }

  async fail(code: string): Promise<void> {
    this.#pending?.reject(Object.assign(new Error(code), { code }))
    await Promise.resolve()
    await Promise.resolve()
  }
}

const MIB = 1 << 20

describe('an output', () => {
  test('what waits is bounded; the reader is told what it missed', async () => {
    const reader = new Reader()
    const dropped: number[] = []
    const output = new Output(reader, count => dropped.push(count))
    output.write('x'.repeat(16 * MIB))
    output.line('lost')
    output.line('lost too')
    expect(output.idle).toBe(false)
    await reader.take()
    expect(output.idle).toBe(true)
    expect(dropped).toEqual([])
    output.line('seen')
    await reader.take()
    expect(dropped).toEqual([2])
    expect(reader.taken).toBe(`${'x'.repeat(16 * MIB)}seen\n`)
  })

  test('what is written while a flush is under way is flushed as well', async () => {
    const reader = new Reader()
    const output = new Output(reader)
    output.write('a')
    output.write('b')
    const flushed = output.flush()
    await reader.take()
    await reader.take()
    await flushed
    expect(reader.taken).toBe('ab')
    expect(output.idle).toBe(true)
  })

  test('a reader that is gone is written to no more, and flush does not wait for it', async () => {
    const reader = new Reader()
    const output = new Output(reader)
    output.write('a')
    await reader.fail('EPIPE')
    await output.flush()
    reader.failing = new Error('it was written to again')
    output.write('b')
    expect(output.idle).toBe(true)
  })

  test('a disk that is full may have room again', async () => {
    const reader = new Reader()
    const output = new Output(reader)
    output.write('a')
    await reader.fail('ENOSPC')
    reader.failing = Object.assign(new Error('full'), { code: 'ENOSPC' })
    output.write('b')
    reader.failing = null
    output.write('c')
    await reader.take()
    expect(reader.taken).toContain('c')
  })
})
