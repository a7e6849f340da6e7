import { describe, expect, spyOn, test } from 'bun:test'
import { chmodSync, chownSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { askedFolder, stateFolder } from '../../src/config/state.ts'
import { temporaryFolder } from '../folder.ts'

const root = temporaryFolder()

describe('the state folder', () => {
  test('is the flag, else WARREN_STATE, else the XDG state folder, else its default', () => {
    const [flag, own, xdg] = [join(root, 'flag'), join(root, 'own'), join(root, 'xdg')]
    const all = { WARREN_STATE: own, XDG_STATE_HOME: xdg }
    expect(stateFolder('relay', flag, all)).toBe(flag)
    expect(stateFolder('relay', undefined, all)).toBe(own)
    expect(stateFolder('agent', undefined, { ...all, WARREN_STATE: '' })).toBe(join(xdg, 'warren'))
    expect(existsSync(join(xdg, 'warren'))).toBe(true)
  })

  test('without any of them is under the home folder, and a relative XDG folder counts as none', () => {
    const program = `import { stateFolder } from '${import.meta.dir}/../../src/config/state.ts'
      console.log(stateFolder('agent'))`
    for (const xdg of ['', 'relative/state']) {
      const home = join(root, `home${xdg.length}`)
      mkdirSync(home)
      const env = { PATH: process.env['PATH'] ?? '', HOME: home, XDG_STATE_HOME: xdg }
      const run = Bun.spawnSync([process.execPath, '-e', program], { env, cwd: root })
      expect(run.stdout.toString().trim()).toBe(join(home, '.local', 'state', 'warren'))
    }
  })

  test('is made for its owner only, with the folders above it, and is absolute', () => {
    const folder = join(root, 'a', 'b', 'c')
    expect(stateFolder('relay', relative(process.cwd(), folder), {})).toBe(folder)
    for (const each of [folder, join(root, 'a', 'b'), join(root, 'a')]) expect(statSync(each).mode & 0o777).toBe(0o700)
    expect(stateFolder('relay', folder, {})).toBe(folder)
  })

  test('that others may write is refused', () => {
    for (const mode of [0o770, 0o720, 0o707, 0o702, 0o777]) {
      const folder = join(root, `open${mode}`)
      mkdirSync(folder)
      chmodSync(folder, mode)
      expect(() => stateFolder('relay', folder, {})).toThrow(
        expect.objectContaining({ code: 'W-STATE', message: expect.stringContaining(folder) }),
      )
      chmodSync(folder, 0o755)
      expect(stateFolder('relay', folder, {})).toBe(folder)
    }
  })

  test('of another user is refused to who keeps state in it, and not to who asks', () => {
    const folder = join(root, 'other')
    mkdirSync(folder)
    const uid = statSync(folder).uid
    // Another user of the folder instead of another folder of the user: only root may give one away.
    const geteuid = spyOn(process, 'geteuid').mockReturnValue(uid + 1)
    try {
      if (uid !== 0) {
        expect(() => stateFolder('relay', folder, {})).toThrow(
          expect.objectContaining({ code: 'W-STATE', message: expect.stringContaining(`uid ${uid}`) }),
        )
      } else {
        try {
          chownSync(folder, 12345, 12345)
        } catch {
          return console.log("NOT RUN: a state folder of another user's, as root here may not give one away")
        }
        geteuid.mockReturnValue(0)
        expect(() => stateFolder('relay', folder, {})).toThrow(
          expect.objectContaining({ code: 'W-STATE', message: expect.stringContaining('uid 12345') }),
        )
      }
      expect(askedFolder(folder, {})).toBe(folder)
    } finally {
      geteuid.mockRestore()
    }
  })

  test('that a command asks is not made, and refused when others may write to it', () => {
    const folder = join(root, 'asked', 'deep')
    expect(askedFolder(folder, {})).toBe(folder)
    expect(existsSync(join(root, 'asked'))).toBe(false)
    mkdirSync(folder, { recursive: true })
    chmodSync(folder, 0o777)
    expect(() => askedFolder(folder, {})).toThrow(expect.objectContaining({ code: 'W-STATE' }))
  })

  test('that cannot be is an error that names it', () => {
    const file = join(root, 'file')
    writeFileSync(file, '')
    const loop = join(root, 'loop')
    symlinkSync(loop, loop)
    for (const [folder, why] of [
      [file, 'it is not a folder'],
      [join(file, 'below'), 'a part of the path is not a folder'],
      ['/proc/nothing/here', 'there is no such file or folder'],
      [loop, ''],
    ] as const) {
      expect(() => stateFolder('agent', folder, {})).toThrow(
        expect.objectContaining({ code: 'W-STATE', message: expect.stringContaining(`${folder}: ${why}`) }),
      )
    }
    expect(() => stateFolder('agent', '', {})).toThrow(expect.objectContaining({ code: 'W-USAGE' }))
  })
})
