// The platforms that warren is built for: what Bun calls each, and what npm calls it, so that npm installs on a machine
// only the package that can run there.

export type Target = {
  /** For `bun build --target`. */
  readonly bun: string
  /** As in `process.platform` and `process.arch` of Node, and in package.json. */
  readonly os: string
  readonly cpu: string
  readonly libc?: 'glibc' | 'musl'
}

export const TARGETS: Readonly<Record<string, Target>> = {
  'linux-x64': { bun: 'bun-linux-x64', os: 'linux', cpu: 'x64', libc: 'glibc' },
  'linux-arm64': { bun: 'bun-linux-arm64', os: 'linux', cpu: 'arm64', libc: 'glibc' },
  'linux-x64-musl': { bun: 'bun-linux-x64-musl', os: 'linux', cpu: 'x64', libc: 'musl' },
  'linux-arm64-musl': { bun: 'bun-linux-arm64-musl', os: 'linux', cpu: 'arm64', libc: 'musl' },
  'darwin-x64': { bun: 'bun-darwin-x64', os: 'darwin', cpu: 'x64' },
  'darwin-arm64': { bun: 'bun-darwin-arm64', os: 'darwin', cpu: 'arm64' },
  'windows-x64': { bun: 'bun-windows-x64', os: 'win32', cpu: 'x64' },
}

/** Of a program on that platform, or on this one. */
export function ending(target: string | undefined): string {
  const os = target === undefined ? process.platform : TARGETS[target]?.os
  return os === 'win32' ? '.exe' : ''
}

/** Ends the process when it is not one of them. */
export function requireTarget(name: string): void {
  if (Object.hasOwn(TARGETS, name)) return
  console.error(`--target: '${name}' is not one of ${Object.keys(TARGETS).join(', ')}`)
  process.exit(2)
}
