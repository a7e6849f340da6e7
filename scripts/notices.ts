// The licences of what the binary holds besides warren's own code: whoever passes it on has to pass them on, too. Which
// packages these are is asked of the bundler, so that the list cannot fall behind the imports.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import project from '../package.json'

const root = dirname(import.meta.dir)
const PACKAGE = /^(?:.*\/)?node_modules\/((?:@[^/]+\/)?[^/]+)\//
const TEXTS = /^(licen[cs]e|copying|notice|copyrightnotice)/i
const RULE = '-'.repeat(80)

/** Names of the packages that `entry` is bundled with, sorted. */
export async function bundledPackages(entry = join(root, 'src', 'cli.ts')): Promise<string[]> {
  const { metafile } = await Bun.build({ entrypoints: [entry], target: 'bun', metafile: true })
  if (metafile === undefined) throw new Error(`the bundler does not say what ${entry} holds`)
  const names = Object.keys(metafile.inputs).map(path => PACKAGE.exec(path)?.[1])
  return [...new Set(names.filter(name => name !== undefined))].sort()
}

/** One text with the licences of all of them, and where the runtime's are. Throws for a package that brings none. */
export async function notices(): Promise<string> {
  const bun = project.devDependencies.bun
  const parts = [
    `${project.name} ${project.version} holds the software below, under the licences that follow, and the runtime Bun ${bun}.\n` +
      `Bun is MIT-licensed, and statically links JavaScriptCore (LGPL 2) and more; what each is under, and how to relink it:\n` +
      `https://github.com/oven-sh/bun/blob/bun-v${bun}/LICENSE.md\n`,
  ]
  for (const name of await bundledPackages()) {
    const folder = join(root, 'node_modules', name)
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
      version: string
      license: string
    }
    const texts = readdirSync(folder).filter(file => TEXTS.test(file))
    if (texts.length === 0) throw new Error(`${name} brings no text of its licence`)
    const bodies = texts.map(file => readFileSync(join(folder, file), 'utf8').replaceAll('\r\n', '\n').trim())
    parts.push(`${RULE}\n${name} ${manifest.version} (${manifest.license})\n\n${bodies.join('\n\n')}\n`)
  }
  return parts.join('\n')
}
