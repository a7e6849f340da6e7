// What is printed with an invite.
import { expect, test } from 'bun:test'
import { joinText } from '../../src/commands/invite.ts'

test.each([
  [1, '10m'],
  [1, '23d23h59m59s999ms'],
  [10_000, '23d23h59m59s999ms'],
] as const)('for %d within %s: only the line to copy is wider than a terminal', (uses, ttl) => {
  const invite = `warren://relay.example.com:7000/#${'x'.repeat(72)}`
  const lines = joinText(invite, uses, ttl).split('\n')
  expect(lines.filter(line => line.length > 79)).toEqual(lines.filter(line => line.includes(invite)))
  expect(lines.join(' ')).toContain(`with this line, within ${ttl}; run it beside the service`)
})
