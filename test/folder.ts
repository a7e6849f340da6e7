// A folder of its own for a test file, gone when its tests are done.
import { afterAll } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'warren-test-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
