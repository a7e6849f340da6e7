// Rules of the folder that no type can hold.
import { expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const folder = join(import.meta.dir, '../../src/net')
const sources = readdirSync(folder).map(name => ({ name, text: readFileSync(join(folder, name), 'utf8') }))

test('nobody calls end() or close() of a socket: they lose bytes that are under way', () => {
  for (const { name, text } of sources) {
    // libc's own close() is for descriptors that are no socket.
    const code = text.replace(/^\s*(\/\/|\*|\/\*).*$|\bc\.close\(fd\)/gm, '')
    expect({ name, calls: code.match(/\.(end|close)\(/g) }).toEqual({ name, calls: null })
  }
})

test('every socket is opened with allowHalfOpen', () => {
  for (const { name, text } of sources) {
    const opened = text.match(/Bun\.(listen|connect)<Owner>\(\{[^}]*\}/g) ?? []
    for (const call of opened)
      expect({ name, call }).toEqual({ name, call: expect.stringMatching(/allowHalfOpen: true|\.\.\.(common|where)/) })
  }
})
