// When a link is taken for broken before any packet says so.
import { afterAll, describe, expect, test } from 'bun:test'
import { type Moved, Roaming } from '../../src/agent/roaming.ts'

/** A machine whose clocks and addresses the test moves. */
function machine() {
  const state = { wall: 1_000_000, steady: 0, addresses: ['127.0.0.1', '192.0.2.7', '2001:db8::7'] }
  let host: string | null = '192.0.2.7'
  let moved = 0
  let reason: Moved | null = null
  const roaming = new Roaming(
    () => host,
    why => {
      moved++
      reason = why
    },
    { wall: () => state.wall, steady: () => state.steady, addresses: () => state.addresses },
  )
  afterAll(() => roaming.stop())
  return {
    state,
    from: (address: string | null) => {
      host = address
      if (address !== null) roaming.connected()
    },
    /** Why it moved last. */
    why: () => reason,
    /** So much time passes on both clocks; then it looks. Whether it moved. */
    after(wallMs: number, steadyMs = wallMs): boolean {
      state.wall += wallMs
      state.steady += steadyMs
      const before = moved
      roaming.look()
      return moved > before
    },
  }
}

describe('the address that the connection was made from', () => {
  test('is there: nothing happens, whatever others come and go', () => {
    const m = machine()
    expect(m.after(1_000)).toBe(false)
    m.state.addresses = ['127.0.0.1', '192.0.2.7', '198.51.100.3']
    expect(m.after(1_000)).toBe(false)
  })

  test('is gone: at the next look', () => {
    const m = machine()
    expect(m.after(1_000)).toBe(false)
    m.state.addresses = ['127.0.0.1', '198.51.100.3']
    expect(m.after(1_000)).toBe(true)
    expect(m.why()).toBe('gone')
  })

  test('is gone before the first look', () => {
    const m = machine()
    m.from('192.0.2.7')
    m.state.addresses = ['127.0.0.1']
    expect(m.after(300)).toBe(true)
    expect(m.why()).toBe('gone')
  })

  test('is an IPv6 one', () => {
    const m = machine()
    m.from('2001:db8::7')
    expect(m.after(1_000)).toBe(false)
    m.state.addresses = ['192.0.2.7']
    expect(m.after(1_000)).toBe(true)
  })

  test('is link-local, with or without its zone', () => {
    const m = machine()
    m.state.addresses.push('fe80::7')
    for (const host of ['fe80::7', 'fe80::7%eth0']) {
      m.from(host)
      expect(m.after(1_000)).toBe(false)
    }
    m.state.addresses.pop()
    expect(m.after(1_000)).toBe(true)
  })

  test('was never in the list, as that of an interface without a carrier: it cannot be gone from it', () => {
    const m = machine()
    m.from('10.0.0.9')
    for (let i = 0; i < 5; i++) expect(m.after(1_000)).toBe(false)
    m.state.addresses.push('10.0.0.9')
    expect(m.after(1_000)).toBe(false)
    m.state.addresses.pop()
    expect(m.after(1_000)).toBe(true)
    // Once told, it is not told again.
    expect(m.after(1_000)).toBe(false)
  })

  test('is not known of a socket that is closing', () => {
    const m = machine()
    m.from('')
    expect(m.after(1_000)).toBe(false)
  })

  test('is of no matter without a connection', () => {
    const m = machine()
    m.from(null)
    m.state.addresses = []
    expect(m.after(1_000)).toBe(false)
    expect(m.after(60_000, 1_000)).toBe(false)
  })
})

describe('sleep', () => {
  test('is a wall clock that went on while the other stood still, told once', () => {
    const m = machine()
    expect(m.after(3_000 + 1_000, 1_000)).toBe(true)
    expect(m.why()).toBe('slept')
    expect(m.after(1_000)).toBe(false)
  })

  test('is not a loop that was held up: both clocks went on', () => {
    expect(machine().after(20_000)).toBe(false)
  })

  test('is not a clock that is set a little, or back', () => {
    const m = machine()
    expect(m.after(2_999 + 1_000, 1_000)).toBe(false)
    expect(m.after(-3_600_000, 1_000)).toBe(false)
    expect(m.after(1_000)).toBe(false)
  })
})

test('on this machine: neither its own address is gone, nor one that it never had', () => {
  for (const host of ['127.0.0.1', '192.0.2.200']) {
    let moved = 0
    const roaming = new Roaming(
      () => host,
      () => moved++,
    )
    roaming.look()
    roaming.look()
    expect(moved).toBe(0)
    roaming.stop()
  }
})
