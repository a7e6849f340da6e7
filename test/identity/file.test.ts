import { describe, expect, test } from 'bun:test'
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readStateFile, writeStateFile } from '../../src/identity/index.ts'
import { temporaryFolder } from '../folder.ts'

const folder = temporaryFolder()

function code(path: string) {
  return expect.objectContaining({ code: 'W-STATE', message: expect.stringContaining(path) })
}

describe('state files', () => {
  test('are replaced or kept, as asked, with the mode asked for', () => {
    const path = join(folder, 'one')
    expect(writeStateFile(path, 'first', 0o600, 'keep', 'W-STATE')).toBe(true)
    expect(writeStateFile(path, 'second', 0o600, 'keep', 'W-STATE')).toBe(false)
    expect(readStateFile(path, 'private', 'W-STATE')).toBe('first')
    expect(writeStateFile(path, 'third', 0o644, 'replace', 'W-STATE')).toBe(true)
    expect(readStateFile(path, 'public', 'W-STATE')).toBe('third')
    expect(statSync(path).mode & 0o777).toBe(0o644)
    expect(() => readStateFile(path, 'private', 'W-STATE')).toThrow(code(path))
    expect(readdirSync(folder)).toEqual(['one'])
  })

  test('are never seen half written', async () => {
    const path = join(folder, 'whole')
    const texts = ['a', 'b'].map(letter => letter.repeat(200_000))
    writeStateFile(path, texts[0] ?? '', 0o600, 'replace', 'W-STATE')
    const program = `import { writeStateFile } from '${import.meta.dir}/../../src/identity/index.ts'
      for (let n = 0; n < 60; n++) writeStateFile('${path}', 'ab'[n % 2].repeat(200_000), 0o600, 'replace', 'W-STATE')`
    const child = Bun.spawn([process.execPath, '-e', program])
    let reads = 0
    while (child.exitCode === null) {
      expect(texts.includes(readFileSync(path, 'utf8'))).toBe(true)
      reads++
      await new Promise(setImmediate)
    }
    expect(await child.exited).toBe(0)
    expect(reads).toBeGreaterThan(10)
  })

  test('that cannot be written leave nothing behind, and name themselves', () => {
    const blocked = join(folder, 'blocked')
    mkdirSync(join(blocked, 'there', 'is'), { recursive: true })
    const path = join(blocked, 'there')
    expect(() => writeStateFile(path, 'x', 0o600, 'replace', 'W-STATE')).toThrow(code(path))
    expect(() => writeStateFile(join(blocked, 'no', 'x'), 'x', 0o600, 'keep', 'W-STATE')).toThrow(code('no'))
    expect(readdirSync(blocked)).toEqual(['there'])
  })

  test('that are devices, pipes, folders or very large are not read, and never waited for', () => {
    const pipe = join(folder, 'pipe')
    expect(Bun.spawnSync(['mkfifo', '-m', '600', pipe]).exitCode).toBe(0)
    const large = join(folder, 'large')
    writeFileSync(large, '', { mode: 0o600 })
    truncateSync(large, 2 ** 40)
    const device = join(folder, 'device')
    symlinkSync('/dev/zero', device)
    for (const path of [pipe, large, device, folder]) {
      expect(() => readStateFile(path, 'public', 'W-STATE')).toThrow(code(path))
    }
    expect(readStateFile(join(folder, 'none'), 'public', 'W-STATE')).toBeNull()
  })
})
