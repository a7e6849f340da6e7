// That whoever gets the binary gets the licences of what is in it.
import { expect, test } from 'bun:test'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import project from '../../package.json'
import { bundledPackages, notices } from '../../scripts/notices.ts'
import { temporaryFolder } from '../folder.ts'

const MODULES = join(import.meta.dir, '../../node_modules')

test('each package that is imported is there, with its version and the text of its licence', async () => {
  const text = await notices()
  const packages = await bundledPackages()
  expect(packages).toContain('asn1js')
  for (const [name, version] of Object.entries(project.dependencies)) {
    expect(packages).toContain(name)
    expect(text).toContain(`\n${name} ${version} (`)
  }
  expect(text).toContain(readFileSync(join(MODULES, 'msgpackr', 'LICENSE'), 'utf8').trim())
  expect(text).toContain(`bun-v${Bun.version}/LICENSE.md`)
})

test('one that only tests need is not', async () => {
  expect(await bundledPackages()).not.toContain('fast-check')
  const entry = join(temporaryFolder(), 'entry.ts')
  writeFileSync(entry, `import fc from '${join(MODULES, 'fast-check')}'\nconsole.log(fc)\n`)
  expect(await bundledPackages(entry)).toContain('fast-check')
})
