// What takes the bytes of an output stream, by what kind of file it is. Bun's FileSink waits for a slow reader of a pipe
// without holding a thread, but on a terminal that was hung up it spins for ever and eats memory; process.stdout on a
// terminal that is stopped, or behind a dead ssh connection, blocks the whole process.
import { fstatSync, write } from 'node:fs'

export type Sink = {
  write(text: string): unknown
  /** A promise when a reader has yet to take something. */
  flush(): unknown
}

/** For standard output (1) or standard error (2). */
export function openSink(descriptor: 1 | 2): Sink {
  const piped = isPiped(descriptor)
  return piped ? (descriptor === 1 ? Bun.stdout : Bun.stderr).writer() : new WriteSink(descriptor)
}

function isPiped(descriptor: number): boolean {
  try {
    const stat = fstatSync(descriptor)
    return stat.isFIFO() || stat.isSocket()
  } catch {
    return false
  }
}

/** For terminals and files: one write at a time, on a thread that may block. */
class WriteSink implements Sink {
  readonly #descriptor: number
  #text = ''

  constructor(descriptor: number) {
    this.#descriptor = descriptor
  }

  write(text: string): void {
    this.#text += text
  }

  /** Rejects when it cannot be written; what was to be written is then dropped. */
  async flush(): Promise<void> {
    const bytes = Buffer.from(this.#text)
    this.#text = ''
    for (let at = 0; at < bytes.length; ) at += await writeSome(this.#descriptor, bytes, at)
  }
}

function writeSome(descriptor: number, bytes: Buffer, at: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  write(descriptor, bytes, at, bytes.length - at, null, (error, count) => (error ? reject(error) : resolve(count)))
  return promise
}
