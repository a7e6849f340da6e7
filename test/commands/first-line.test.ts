// The first line of a file or of standard input, however it comes.
import { expect, test } from 'bun:test'
import { constants, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { readFirstLine } from '../../src/commands/first-line.ts'
import { temporaryFolder } from '../folder.ts'
import { leaveNone, lines } from '../oracle/process.ts'

const folder = temporaryFolder()

test.each([
  ['a line\n', 'a line'],
  ['\n \r\n  a line \r\nanother\n', 'a line'],
  ['no line end', 'no line end'],
  [' \n', ''],
  ['', ''],
])('of %j', (text, first) => {
  const path = join(folder, 'file')
  writeFileSync(path, text)
  expect(readFirstLine(path)).toBe(first)
})

test('of what never ends: no more than a line can be long', () => {
  expect(readFirstLine('/dev/zero')).toHaveLength(4096)
})

test('of a standard input that does not wait by itself', async () => {
  const path = join(folder, 'pipe')
  Bun.spawnSync(['mkfifo', path])
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  const program = `import { readFirstLine } from '${import.meta.dir}/../../src/commands/first-line.ts'
    const sleep = Bun.sleepSync
    Bun.sleepSync = ms => { console.log('waits'); sleep(ms) }
    console.log(readFirstLine(0))`
  // Bun makes what a child gets as its standard input wait; what a shell puts there stays as it is.
  const child = Bun.spawn(['sh', '-c', 'exec "$@" <&3', 'sh', process.execPath, '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit', fd],
  })
  leaveNone(child)
  const output = lines(child.stdout)
  expect((await output.next()).value).toBe('waits')
  writeSync(fd, 'late\n')
  let last = ''
  for await (const line of output) last = line
  expect(last).toBe('late')
  expect(await child.exited).toBe(0)
})
