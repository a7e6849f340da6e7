// What the tests ask Linux of a connection's congestion control, and nothing of warren does.
import { dlopen, ptr } from 'bun:ffi'
import { readFileSync } from 'node:fs'
import type { Connection } from '../../src/net/connection.ts'
import { descriptorOf } from '../../src/net/descriptors.ts'

const IPPROTO_TCP = 6
const TCP_INFO = 11
const TCP_CONGESTION = 13
const TCP_CC_INFO = 26

/** Whether this system lets anybody choose BBR; without that it is never made to start over. */
export const mayChooseBbr = (() => {
  try {
    const names = readFileSync('/proc/sys/net/ipv4/tcp_allowed_congestion_control', 'latin1')
    return names.trim().split(' ').includes('bbr')
  } catch {
    return false
  }
})()

const ask = { args: ['i32', 'i32', 'i32', 'ptr', 'ptr'], returns: 'i32' } as const
const tell = { args: ['i32', 'i32', 'i32', 'ptr', 'u32'], returns: 'i32' } as const

const libc = mayChooseBbr ? dlopen('libc.so.6', { getsockopt: ask, setsockopt: tell }).symbols : null

function get(connection: Connection, option: number): Buffer {
  const bytes = Buffer.alloc(256)
  const size = new Uint32Array([bytes.length])
  const status = libc?.getsockopt(descriptorOf(connection['socket']), IPPROTO_TCP, option, ptr(bytes), ptr(size))
  if (status !== 0) throw new Error(`getsockopt ${option} failed`)
  return bytes.subarray(0, size[0])
}

export function algorithmOf(connection: Connection): string {
  const name = get(connection, TCP_CONGESTION).toString('latin1')
  return name.slice(0, name.indexOf('\0'))
}

export function choose(connection: Connection, algorithm: string): void {
  const name = Buffer.from(algorithm)
  const fd = descriptorOf(connection['socket'])
  if (libc?.setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, ptr(name), name.length) !== 0)
    throw new Error(`no ${algorithm}`)
}

/** What BBR takes for the path's rate, in bytes a second: the first field of struct tcp_bbr_info. */
export function bbrRate(connection: Connection): number {
  return Number(get(connection, TCP_CC_INFO).readBigUInt64LE(0))
}

/** The round trip and the smallest one so far, in µs: the fields of struct tcp_info at 68 and 148. */
export function roundTrips(connection: Connection): [number, number] {
  const info = get(connection, TCP_INFO)
  return [info.readUInt32LE(68), info.readUInt32LE(148)]
}
