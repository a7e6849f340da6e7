// Loaded before the tests (bunfig.toml). `bun test` ends without telling 'exit', on which folders and processes are
// cleared away; it is told here, behind the last test of all files.
import { afterAll } from 'bun:test'

afterAll(() => {
  process.emit('exit', 0)
})
