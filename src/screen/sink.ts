// What takes the bytes of an output stream, by what kind of file it is. Bun's FileSink waits for a slow reader of a pipe
// without holding a thread, but on a terminal that was hung up it spins for ever and eats memory; process.stdout on a
// terminal that is stopped, or behind a dead ssh connection, blocks the whole process.
import { fstatSync, write } from 'node:fs'

export type Sink = {
  /** A promise when the reader has yet to take something; it rejects when that cannot be written, and is then dropped. */
  push(text: string): unknown
}

/** For standard output (1) or standard error (2). */
export function openSink(descriptor: 1 | 2): Sink {
  return isPiped(descriptor) ? new PipeSink(descriptor) : new WriteSink(descriptor)
}

function isPiped(descriptor: number): boolean {
  try {
    const stat = fstatSync(descriptor)
    return stat.isFIFO() || stat.isSocket()
  } catch {
    return false
  }
}

/** For pipes and sockets. */
class PipeSink implements Sink {
  readonly #writer: Bun.FileSink

  constructor(descriptor: 1 | 2) {
    this.#writer = (descriptor === 1 ? Bun.stdout : Bun.stderr).writer()
  }

  push(text: string): unknown {
    const written: unknown = this.#writer.write(text)
    const flushed: unknown = this.#writer.flush()
    return written instanceof Promise ? Promise.all([written, flushed]) : flushed
  }
}

/** For terminals and files: one write at a time, on a thread that may block. */
class WriteSink implements Sink {
  readonly #descriptor: number

  constructor(descriptor: number) {
    this.#descriptor = descriptor
  }

  async push(text: string): Promise<void> {
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; ) at += await writeSome(this.#descriptor, bytes, at)
  }
}

function writeSome(descriptor: number, bytes: Buffer, at: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  write(descriptor, bytes, at, bytes.length - at, null, (error, count) => (error ? reject(error) : resolve(count)))
  return promise
}
