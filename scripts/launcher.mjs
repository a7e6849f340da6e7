#!/usr/bin/env node
// What `npx warren` runs: finds the binary that npm installed for this platform and becomes as much of it as Node can. It
// shares the terminal and the standard streams, gets its signals, and the shell sees its exit status. Plain Node, because
// Node is all that npx promises; `bun run packages` copies it into the package as it is.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'

const require = createRequire(import.meta.url)
const { name, optionalDependencies } = require('../package.json')

const child = spawn(findBinary(), process.argv.slice(2), { stdio: 'inherit' })
child.on('error', error => fail(`cannot start the binary: ${error.message}`))

// A terminal tells the binary itself as well; warren takes signals that come together for one. On Windows the console has
// told it, and kill() would end it by force.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'])
  process.on(signal, () => {
    if (process.platform !== 'win32') child.kill(signal)
  })

child.on('exit', (status, signal) => {
  if (signal === null) process.exit(status)
  // Ended by a signal, so that whoever waits for this process learns which.
  process.removeAllListeners(signal)
  process.exitCode = 128 + constants.signals[signal]
  process.kill(process.pid, signal)
})

// npm passes a signal on to the shell that it runs this in, and many a shell ends by it without a word to this process.
if (process.env.npm_lifecycle_event === 'npx') {
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    child.kill('SIGTERM')
  }, 250)
}

function findBinary() {
  const system = process.platform === 'win32' ? 'windows' : process.platform
  const platform = `${name}-${system}-${process.arch}${isMusl() ? '-musl' : ''}`
  if (!Object.hasOwn(optionalDependencies, platform)) {
    const others = Object.keys(optionalDependencies).join(', ')
    fail(`there is no package ${platform} for this platform; there are ${others}`)
  }
  try {
    return join(
      dirname(require.resolve(`${platform}/package.json`)),
      'bin',
      `warren${system === 'windows' ? '.exe' : ''}`,
    )
  } catch {
    fail(
      `the package ${platform} is not installed. npm leaves it out with --omit=optional, and a node_modules folder from\n` +
        '  another platform has another one. Install again, here and without that.',
    )
  }
}

function isMusl() {
  if (process.platform !== 'linux') return false
  process.report.excludeNetwork = true
  return process.report.getReport().header.glibcVersionRuntime === undefined
}

function fail(what) {
  console.error(`warren: ${what}`)
  process.exit(1)
}
