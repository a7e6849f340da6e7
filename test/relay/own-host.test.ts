// The address that a relay names when nobody said which, and when it says that it is likely the wrong one.
import { describe, expect, test } from 'bun:test'
import type { NetworkInterfaceInfo } from 'node:os'
import { ownHost } from '../../src/relay/own-host.ts'
import { makeLog } from '../../src/telemetry/log.ts'

function address(text: string, internal = false): NetworkInterfaceInfo {
  const common = { address: text, netmask: '', mac: '', internal, cidr: null }
  return text.includes(':') ? { ...common, family: 'IPv6', scopeid: 0 } : { ...common, family: 'IPv4' }
}

const LOOPBACK = [address('127.0.0.1', true), address('::1', true)]

function found(listenHost: string, ...addresses: NetworkInterfaceInfo[]): { host: string; said: string[] } {
  const said: string[] = []
  const log = makeLog('info', line => said.push(line), Date.now)
  const host = ownHost(listenHost, log, { lo: LOOPBACK, eth0: addresses })
  return { host, said }
}

describe('what a relay is reached by', () => {
  test('is what it listens on, of whatever kind', () => {
    for (const host of ['127.0.0.1', '192.168.1.5', 'relay.example.com', '::1'])
      expect(found(host, address('198.51.100.1'))).toEqual({ host, said: [] })
  })

  test('is its first IPv4 address, else the first that is not of this link only', () => {
    const own = [address('fe80::1'), address('2001:db8::1'), address('198.51.100.1'), address('198.51.100.2')]
    expect(found('::', ...own)).toEqual({ host: '198.51.100.1', said: [] })
    expect(found('0.0.0.0', ...own.slice(0, 2))).toEqual({ host: '2001:db8::1', said: [] })
  })

  test('without any address is to be said', () => {
    expect(() =>
      ownHost(
        '::',
        makeLog('silent', () => {}, Date.now),
        {},
      ),
    ).toThrow(expect.objectContaining({ code: 'W-USAGE', message: expect.stringContaining('--public-host') }))
  })
})

describe('an address that was found and is not public is told, once', () => {
  const privates = ['10.0.0.5', '172.16.0.1', '172.31.255.1', '192.168.1.5', '100.64.0.1', '100.127.0.1', '169.254.3.4']
  test.each([...privates, 'fc00::1', 'fd12:3456::1'])('%s', host => {
    const { host: named, said } = found('::', address(host))
    expect(named).toBe(host)
    expect(said).toHaveLength(1)
    expect(said[0]).toContain(' warn ')
    expect(said[0]).toEndWith(`; give --public-host address=${host}`)
  })

  test('loopback, where there is no other', () => {
    const { host, said } = found('0.0.0.0')
    expect(host).toBe('127.0.0.1')
    expect(said).toHaveLength(1)
  })

  const publics = ['9.255.0.1', '11.0.0.1', '172.15.0.1', '172.32.0.1', '192.169.0.1', '100.63.0.1', '100.128.0.1']
  test.each([...publics, '169.253.0.1', '2001:db8:fc00::1', '64:ff9b::1'])('%s is public', host => {
    expect(found('::', address(host))).toEqual({ host, said: [] })
  })
})
