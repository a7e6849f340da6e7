import { expect, test } from 'bun:test'
import { Output, openView } from '../../src/screen/index.ts'

test('an event as JSON keeps its fields and says when it was', async () => {
  let written = ''
  const output = new Output({ push: text => (written += text) })
  const view = openView({ role: 'agent', version: '1', json: true, quiet: false, level: null }, output, output, null)
  const from = Date.now()
  view.emit({ event: 'rtt', rtt: 12 })
  view.say('a paragraph for a person')
  await output.flush()
  const { time, ...fields } = JSON.parse(written) as { time: string }
  expect(fields).toEqual({ event: 'rtt', rtt: 12 } as object)
  expect(time).toBe(new Date(time).toISOString())
  expect(Date.parse(time)).toBeGreaterThanOrEqual(from)
  expect(Date.parse(time)).toBeLessThanOrEqual(Date.now())
})
