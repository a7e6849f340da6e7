// The launcher of `npx warren`, under Node as npx runs it, with small programs in the place of the binary: what it finds,
// and that arguments, streams, signals and the exit status pass it as if it were not there.
import { describe, expect, test } from 'bun:test'
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import project from '../../package.json'
import { binaryManifest, launcherManifest } from '../../scripts/packages.ts'
import { ending, TARGETS } from '../../scripts/targets.ts'
import { temporaryFolder } from '../folder.ts'

const LAUNCHER = join(import.meta.dir, '../../scripts/launcher.mjs')
const NODE = Bun.which('node')!

const here = Object.entries(TARGETS).find(([, { os, cpu, libc }]) => {
  const report = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  const own = process.platform !== 'linux' ? undefined : report.header.glibcVersionRuntime ? 'glibc' : 'musl'
  return os === process.platform && cpu === process.arch && libc === own
})![0]

/** Installs the launcher as npm does it, beside a program of this platform or of another. */
function install(binary: string | null, targets = Object.keys(TARGETS), target = here): string {
  const modules = join(temporaryFolder(), 'node_modules')
  const launcher = join(modules, 'warren')
  mkdirSync(join(launcher, 'bin'), { recursive: true })
  writeFileSync(join(launcher, 'package.json'), JSON.stringify(launcherManifest(targets)))
  cpSync(LAUNCHER, join(launcher, 'bin', 'warren.mjs'))
  if (binary !== null) {
    const program = join(modules, `warren-${target}`, 'bin', `warren${ending(target)}`)
    mkdirSync(join(program, '..'), { recursive: true })
    writeFileSync(join(modules, `warren-${target}`, 'package.json'), JSON.stringify(binaryManifest(target)))
    writeFileSync(program, `#!${NODE}\n${binary}`)
    chmodSync(program, 0o755)
  }
  return join(launcher, 'bin', 'warren.mjs')
}

function launch(launcher: string, args: string[] = [], env: Record<string, string> = {}) {
  return Bun.spawn([NODE, launcher, ...args], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
    env: { ...process.env, npm_lifecycle_event: '', ...env },
  })
}

async function ended(child: ReturnType<typeof launch>): Promise<{ status: number; out: string; err: string }> {
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()])
  return { status: await child.exited, out, err }
}

describe('what passes', () => {
  test('arguments as they are, standard input and output, and the exit status', async () => {
    const launcher = install(`
      process.stdin.on('data', data => process.stdout.write(data))
      process.stdin.on('end', () => {
        console.log(JSON.stringify(process.argv.slice(2)))
        console.error('to standard error')
        process.exitCode = 6
      })`)
    const args = ['tcp', '5432', '--name', 'a b', '', '$HOME', "'", '*']
    const child = launch(launcher, args)
    child.stdin.write('an invite\n')
    child.stdin.end()
    const { status, out, err } = await ended(child)
    expect(out).toBe(`an invite\n${JSON.stringify(args)}\n`)
    expect(err).toBe('to standard error\n')
    expect(status).toBe(6)
  })

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const)('%s, and a clean end after it', async signal => {
    const launcher = install(`
      process.on('${signal}', () => { console.log('${signal}'); process.exit(0) })
      setInterval(() => {}, 1000)
      console.log('ready')`)
    const child = launch(launcher)
    const reader = child.stdout.getReader()
    expect(new TextDecoder().decode((await reader.read()).value)).toBe('ready\n')
    child.kill(signal)
    expect(new TextDecoder().decode((await reader.read()).value)).toBe(`${signal}\n`)
    expect(await child.exited).toBe(0)
  })

  test('the signal that ended the binary', async () => {
    const child = launch(install("process.kill(process.pid, 'SIGKILL')"))
    await child.exited
    expect(child.signalCode).toBe('SIGKILL')
  })

  test('the end of the shell that npx ran it in, which kept the signal for itself', async () => {
    const launcher = install(`
      process.on('SIGTERM', () => { console.log('SIGTERM'); process.exit(0) })
      setInterval(() => {}, 1000)
      console.log('ready')`)
    // A shell that stays, as dash does: `wait` keeps it from becoming the launcher.
    const shell = Bun.spawn(['sh', '-c', `"${NODE}" "${launcher}" & wait`], {
      stdout: 'pipe',
      env: { ...process.env, npm_lifecycle_event: 'npx' },
    })
    const reader = shell.stdout.getReader()
    expect(new TextDecoder().decode((await reader.read()).value)).toBe('ready\n')
    shell.kill('SIGTERM')
    expect(new TextDecoder().decode((await reader.read()).value)).toBe('SIGTERM\n')
    expect((await reader.read()).done).toBe(true)
  })
})

describe('what is missing', () => {
  test('a platform without a package: named, with those that there are', async () => {
    const other = Object.keys(TARGETS).find(target => target !== here)!
    const { status, err } = await ended(launch(install(null, [other])))
    expect(err).toBe(`warren: there is no package warren-${here} for this platform; there are warren-${other}\n`)
    expect(status).toBe(1)
  })

  test('a package that npm left out: how to get it', async () => {
    const { status, err } = await ended(launch(install(null)))
    expect(err).toStartWith(`warren: the package warren-${here} is not installed.`)
    expect(status).toBe(1)
  })

  test('a binary that does not start', async () => {
    const launcher = install('')
    const binary = join(launcher, '../../..', `warren-${here}`, 'bin', `warren${ending(here)}`)
    expect(readFileSync(binary, 'utf8')).toStartWith('#!')
    rmSync(binary)
    const { status, err } = await ended(launch(launcher))
    expect(err).toStartWith('warren: cannot start the binary: ')
    expect(status).toBe(1)
  })
})

test('each package is for its platform alone, and of the same version', () => {
  const launcher = launcherManifest(Object.keys(TARGETS)) as { optionalDependencies: Record<string, string> }
  const binaries = Object.keys(TARGETS).map(target => binaryManifest(target) as Record<string, unknown>)
  expect(launcher.optionalDependencies).toEqual(
    Object.fromEntries(binaries.map(({ name }) => [name as string, project.version])),
  )
  expect(new Set(binaries.map(({ os, cpu, libc }) => JSON.stringify([os, cpu, libc]))).size).toBe(binaries.length)
  for (const { version } of binaries) expect(version).toBe(project.version)
})
