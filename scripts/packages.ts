// Lays out what `npx warren` needs, in dist/npm: for each platform a package with the binary, which npm installs only
// where it runs, and `warren`, a small launcher that has them all as optional dependencies. `--target linux-x64` (as often
// as wanted) makes some of them only; `warren` then depends on just those.
import { chmodSync, cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import project from '../package.json'
import { notices } from './notices.ts'
import { ending, requireTarget, TARGETS } from './targets.ts'

const root = dirname(import.meta.dir)

/** package.json of the package that users name, for these platforms. */
export function launcherManifest(targets: readonly string[]): object {
  const { name, version, description, license, engines } = project
  return {
    name,
    version,
    description,
    license,
    type: 'module',
    bin: { [name]: 'bin/warren.mjs' },
    engines,
    // Exactly this version: launcher and binary are one release.
    optionalDependencies: Object.fromEntries(targets.map(target => [packageName(target), version])),
  }
}

/** package.json of the package with one platform's binary. */
export function binaryManifest(target: string): object {
  const { version, license } = project
  const { os, cpu, libc } = TARGETS[target]!
  return {
    name: packageName(target),
    version,
    description: `The ${target} binary of ${project.name}. Install ${project.name}, which takes the one for the platform.`,
    license,
    os: [os],
    cpu: [cpu],
    ...(libc === undefined ? {} : { libc: [libc] }),
    // A program cannot be started inside of a zip archive.
    preferUnplugged: true,
  }
}

function packageName(target: string): string {
  return `${project.name}-${target}`
}

function layOut(folder: string, manifest: object): void {
  mkdirSync(join(folder, 'bin'), { recursive: true })
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  cpSync(join(root, 'LICENSE'), join(folder, 'LICENSE'))
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { target: { type: 'string', multiple: true } } })
  const targets = values.target ?? Object.keys(TARGETS)
  for (const target of targets) requireTarget(target)

  const texts = await notices()
  const npm = join(root, 'dist', 'npm')
  rmSync(npm, { recursive: true, force: true })
  for (const target of targets) {
    const folder = join(npm, packageName(target))
    layOut(folder, binaryManifest(target))
    const binary = join(folder, 'bin', `warren${ending(target)}`)
    const build = Bun.spawnSync(
      [process.execPath, join(root, 'scripts', 'build.ts'), '--target', target, '--outfile', binary],
      { stdout: 'inherit', stderr: 'inherit' },
    )
    if (build.exitCode !== 0) process.exit(build.exitCode || 1)
    // npm checks the whole package by a checksum of its own.
    rmSync(`${binary}.sha256`)
    writeFileSync(join(folder, 'THIRD-PARTY-NOTICES'), texts)
  }
  const launcher = join(npm, project.name)
  layOut(launcher, launcherManifest(targets))
  cpSync(join(root, 'scripts', 'launcher.mjs'), join(launcher, 'bin', 'warren.mjs'))
  chmodSync(join(launcher, 'bin', 'warren.mjs'), 0o755)
  console.log(`${npm}: ${project.name} and ${targets.map(packageName).join(', ')}`)
}

if (import.meta.main) await main()
