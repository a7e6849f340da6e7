// The first line of a file or of standard input that says anything: how invites and public keys are handed over. Never
// more of it than such a line can be long, whatever it is.
import { closeSync, openSync, readSync } from 'node:fs'

/** No invite and no public key line is longer. */
const MOST_BYTES = 4096
/** Between two looks at a standard input that does not wait by itself, in ms. */
const LOOK_MS = 20

/** Without the spaces around it; '' when there is none. Throws what the system says. */
export function readFirstLine(source: string | 0): string {
  const fd = source === 0 ? 0 : openSync(source, 'r')
  try {
    const lines = readStart(fd).split('\n')
    return lines.map(line => line.trim()).find(line => line !== '') ?? ''
  } finally {
    if (source !== 0) closeSync(fd)
  }
}

/** Up to the first line end: at a terminal, nobody types an end of file after an invite. */
function readStart(fd: number): string {
  const buffer = Buffer.alloc(MOST_BYTES)
  let length = 0
  while (length < buffer.length) {
    const count = readSome(fd, buffer, length)
    length += count
    if (count === 0) break
    if (/\S[^\n]*\n/.test(buffer.subarray(0, length).toString('latin1'))) break
  }
  return buffer.subarray(0, length).toString('utf8')
}

/** Another process may have left the pipe or the terminal in a mode in which nothing waits. */
function readSome(fd: number, buffer: Buffer, at: number): number {
  for (;;) {
    try {
      return readSync(fd, buffer, at, buffer.length - at, null)
    } catch (thrown) {
      if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'EAGAIN')) throw thrown
      Bun.sleepSync(LOOK_MS)
    }
  }
}
