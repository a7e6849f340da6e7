// The structure that docs/design.md promises: dependencies point one way, the wire is sans-I/O, and only src/net touches
// sockets. Read from the source, so that a violation fails here and not in a review.
import { describe, expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'

const root = resolve(import.meta.dir, '../src')
const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter(f => f.endsWith('.ts'))
  .map(path => ({ path, text: readFileSync(join(root, path), 'utf8') }))

/** Source without comments, so that naming a thing is not using it. */
const code = (text: string) => text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '')

/** The modules that a file names, in import, export and import(). */
function imports(text: string): string[] {
  const found: string[] = []
  for (const m of code(text).matchAll(/(?:\bfrom\s*|\bimport\s*\(\s*|^\s*import\s+)(['"])([^'"]+)\1/gm))
    found.push(m[2]!)
  return found
}

/** The part of the program that a file belongs to: a folder of src, or the file itself. */
const partOf = (path: string): string => path.split('/')[0]!

/** What each part may import besides itself. Nothing may import cli.ts. */
const MAY: Record<string, readonly string[]> = {
  'errors.ts': [],
  frame: [],
  telemetry: ['errors.ts'],
  net: ['errors.ts', 'telemetry'],
  identity: ['errors.ts'],
  config: ['errors.ts', 'identity'],
  link: ['frame', 'net', 'telemetry', 'errors.ts'],
  screen: ['config', 'telemetry', 'errors.ts'],
  relay: ['link', 'frame', 'net', 'identity', 'config', 'telemetry', 'errors.ts'],
  agent: ['link', 'frame', 'net', 'identity', 'config', 'telemetry', 'errors.ts'],
  commands: ['relay', 'agent', 'screen', 'net', 'identity', 'config', 'telemetry', 'errors.ts'],
  'cli.ts': ['commands', 'screen', 'net', 'identity', 'config', 'telemetry', 'errors.ts'],
}

describe('dependencies', () => {
  test('every part is known here', () => {
    expect(files.length).toBeGreaterThan(40)
    const parts = new Set(files.map(f => partOf(f.path)))
    expect([...parts].filter(p => MAY[p] === undefined)).toEqual([])
  })

  test('point one way: what a part may import may not, however indirectly, import it', () => {
    const reach = (from: string, seen = new Set<string>()): Set<string> => {
      for (const to of MAY[from]!) if (!seen.has(to)) reach(to, seen.add(to))
      return seen
    }
    for (const part of Object.keys(MAY)) expect(reach(part).has(part)).toBe(false)
    expect(reach('relay').has('agent')).toBe(false)
    expect(reach('agent').has('relay')).toBe(false)
    expect(reach('net').has('frame')).toBe(false)
  })

  for (const { path, text } of files) {
    test(path, () => {
      for (const name of imports(text)) {
        if (!name.startsWith('.')) continue
        expect(name).toMatch(/\.(ts|json)$/)
        const target = relative(root, resolve(root, path, '..', name))
        // package.json, for the version.
        if (target.startsWith('..')) expect(target).toBe('../package.json')
        else if (partOf(target) !== partOf(path)) {
          if (!MAY[partOf(path)]!.includes(partOf(target))) throw new Error(`${path} imports ${target}`)
        }
      }
    })
  }
})

describe('src/frame', () => {
  for (const { path, text } of files.filter(f => partOf(f.path) === 'frame')) {
    test(`${path}: no socket, no timer, no clock, no Bun`, () => {
      const outside = imports(text).filter(n => !n.startsWith('.'))
      expect(outside.filter(n => !['msgpackr/pack', 'msgpackr/unpack', 'valibot'].includes(n))).toEqual([])
      expect(code(text)).not.toMatch(
        /\b(Bun|process|performance|Date|setTimeout|setInterval|setImmediate|queueMicrotask|fetch|Promise|async|await|console)\b/,
      )
      expect(code(text)).not.toMatch(/Math\.random|getRandomValues|randomBytes/)
    })
  }
})

describe('sockets', () => {
  for (const { path, text } of files) {
    const source = code(text)
    const names = imports(text)
    if (partOf(path) === 'net') {
      test(`${path}: never .end(`, () => expect(source).not.toMatch(/\.end\s*\(/))
    } else {
      test(`${path}: none`, () => {
        expect(source).not.toMatch(/\bBun\s*\.\s*(listen|connect|udpSocket)\b/)
        expect(names.filter(n => /^(node:)?(net|tls|dgram|http|https|http2)$/.test(n))).toEqual([])
      })
    }
  }
})
