import { describe, expect, test } from 'bun:test'
import { Output } from '../../src/screen/index.ts'
import type { Sink } from '../../src/screen/sink.ts'

/** A reader that takes what was pushed when it is told to. */
class Reader implements Sink {
  taken = ''
  pushes = 0
  failing: Error | null = null
  #pushed = ''
  #pending = Promise.withResolvers<void>()
  #next = Promise.withResolvers<void>()

  push(text: string): Promise<void> {
    if (this.failing) throw this.failing
    this.pushes++
    this.#pushed += text
    this.#pending = Promise.withResolvers()
    this.#next.resolve()
    this.#next = Promise.withResolvers()
    return this.#pending.promise
  }

  /** Until something was pushed so many times. */
  async pushed(times: number): Promise<void> {
    while (this.pushes < times) await this.#next.promise
  }

  async take(): Promise<void> {
    this.taken += this.#pushed
    this.#pushed = ''
    this.#pending.resolve()
    await Promise.resolve()
    await Promise.resolve()
  }

  async fail(code: string): Promise<void> {
    this.#pushed = ''
    this.#pending.reject(Object.assign(new Error(code), { code }))
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
    await reader.pushed(1)
    await reader.take()
    expect(output.idle).toBe(true)
    expect(dropped).toEqual([])
    output.line('seen')
    await reader.pushed(2)
    await reader.take()
    expect(dropped).toEqual([2])
    expect(reader.taken).toBe(`${'x'.repeat(16 * MIB)}seen\n`)
  })

  test('what is written in one go is pushed at once and together, what follows after a while and together', async () => {
    const reader = new Reader()
    const output = new Output(reader)
    output.line('one')
    output.line('two')
    await Promise.resolve()
    expect(reader.pushes).toBe(1)
    const began = performance.now()
    await reader.take()
    for (const line of ['three', 'four', 'five']) {
      output.line(line)
      await Promise.resolve()
      expect(output.idle).toBe(false)
    }
    expect(reader.pushes).toBe(1)
    await reader.pushed(2)
    expect(performance.now() - began).toBeGreaterThan(8)
    await reader.take()
    expect(reader.taken).toBe('one\ntwo\nthree\nfour\nfive\n')
    expect(output.idle).toBe(true)
  })

  test('flush does not wait for what may follow', async () => {
    const reader = new Reader()
    const output = new Output(reader)
    output.write('a')
    await reader.pushed(1)
    await reader.take()
    output.write('b')
    const flushed = output.flush()
    expect(reader.pushes).toBe(2)
    await reader.take()
    await flushed
    expect(reader.taken).toBe('ab')
  })

  test('what is written while a flush is under way is flushed as well', async () => {
    const reader = new Reader()
    const output = new Output(reader)
    output.write('a')
    await reader.pushed(1)
    output.write('b')
    const flushed = output.flush()
    await reader.take()
    await reader.take()
    await flushed
    expect(reader.taken).toBe('ab')
    expect(reader.pushes).toBe(2)
    expect(output.idle).toBe(true)
  })

  test('a reader that is gone is written to no more, and flush does not wait for it', async () => {
    const reader = new Reader()
    const output = new Output(reader)
    output.write('a')
    await reader.pushed(1)
    await reader.fail('EPIPE')
    await output.flush()
    output.write('b')
    expect(output.idle).toBe(true)
    await output.flush()
    expect(reader.pushes).toBe(1)
  })

  test.each([
    ['of a full disk, is told by a flush, and lost', 'ENOSPC', [1], true],
    ['of a reader that left, is not', 'EPIPE', [], false],
  ] as const)('the last thing, %s', async (_, code, told, lost) => {
    const reader = new Reader()
    const dropped: number[] = []
    const output = new Output(reader, count => dropped.push(count))
    output.write('a')
    await reader.pushed(1)
    expect(output.lost).toBe(false)
    await reader.fail(code)
    await output.flush()
    expect({ dropped, lost: output.lost }).toEqual({ dropped: [...told], lost })
  })

  test('a disk that is full may have room again, and what it missed is told', async () => {
    const reader = new Reader()
    const dropped: number[] = []
    const output = new Output(reader, count => dropped.push(count))
    output.write('a')
    await reader.pushed(1)
    await reader.fail('ENOSPC')
    reader.failing = Object.assign(new Error('full'), { code: 'ENOSPC' })
    output.write('b')
    await output.flush()
    reader.failing = null
    output.write('c')
    await reader.pushed(2)
    output.write('d')
    await reader.fail('ENOSPC')
    await reader.pushed(3)
    await reader.take()
    expect(reader.taken).toBe('d')
    // By the write of 'b', and by the flush; after that once in a second, as a disk may stay full.
    output.write('e')
    expect(dropped).toEqual([1, 1])
  })
})
