// psql and pgbench against PostgreSQL, as they behave when direct: TLS of the server's own, churn, and Ctrl-C.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { type Address, type Agent, type Relay, startAgent, startRelay, until, within } from '../e2e/warren.ts'
import { leaveNone } from '../oracle/process.ts'
import { as, both, exec, freePort, giveTo, ok, program, type Server, serve, workFolder } from './programs.ts'

const USER = 'postgres'

describe('PostgreSQL', () => {
  let server: Server
  let relay: Relay
  let agent: Agent
  let via: Address
  let direct: Address

  beforeAll(async () => {
    const work = workFolder('postgres')
    await giveTo(USER, work)
    const data = join(work, 'data')
    const run = as(USER)
    await ok([...run, program('initdb'), '-D', data, '-U', USER, '-A', 'trust', '--no-sync'], { cwd: work })
    const [key, cert] = [join(data, 'server.key'), join(data, 'server.crt')]
    const subject = ['-subj', '/CN=burrow.example', '-days', '2', '-nodes']
    await ok([...run, 'openssl', 'req', '-x509', '-newkey', 'rsa:2048', ...subject, '-keyout', key, '-out', cert])
    chmodSync(key, 0o600)
    direct = { host: '127.0.0.1', port: freePort() }
    const settings = [
      'ssl=on',
      'fsync=off',
      `unix_socket_directories=${work}`,
      'max_connections=60',
      'listen_addresses=127.0.0.1',
    ]
    server = await serve(
      [...run, program('postgres'), '-D', data, '-p', String(direct.port), ...settings.flatMap(s => ['-c', s])],
      direct,
      { cwd: work, signal: 'SIGINT' },
    )
    relay = await startRelay()
    agent = await startAgent(relay.invite!, [`db=127.0.0.1:${direct.port}`])
    via = await agent.tunnel('db')
  }, 120_000)

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await relay?.[Symbol.asyncDispose]()
    await server?.[Symbol.asyncDispose]()
  }, 60_000)

  const line = (at: Address, more = '') => `host=${at.host} port=${at.port} user=${USER} dbname=postgres ${more}`
  const psql = (at: Address, sql: string, more = 'sslmode=disable') =>
    exec(['psql', '-X', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-c', sql, line(at, more)])

  test('psql asks and is answered', async () => {
    const [without, through] = await both(direct, via, at => psql(at, 'select 6 * 7, version()'))
    expect(without.status).toBe(0)
    expect(through).toEqual(without)
  })

  test('sslmode=require: the TLS is the server’s own, end to end', async () => {
    const sql = 'select ssl, version from pg_stat_ssl where pid = pg_backend_pid()'
    const [without, through] = await both(direct, via, at => psql(at, sql, 'sslmode=require'))
    expect(without.out).toStartWith('t|TLS')
    expect(through).toEqual(without)
  })

  test('verify-full accepts the server’s certificate through the tunnel, and no other name', async () => {
    const { out } = await psql(direct, "select setting from pg_settings where name = 'data_directory'")
    const root = join(out.trim(), 'server.crt')
    const named = (at: Address, host: string) =>
      psql({ ...at, host }, 'select 1', `hostaddr=${at.host} sslmode=verify-full sslrootcert=${root}`)
    for (const [host, status] of [['burrow.example', 0] as const, ['other.example', 2] as const]) {
      const [without, through] = await both(direct, via, at => named(at, host))
      expect(without.status).toBe(status)
      expect({ ...through, err: '' }).toEqual({ ...without, err: '' })
    }
  })

  test('an error is the server’s own, word for word', async () => {
    const [without, through] = await both(direct, via, at => psql(at, 'select * from no_such_burrow'))
    expect(without.status).not.toBe(0)
    expect(through).toEqual(without)
  })

  test('COPY of 40 MB in and out, the same sum', async () => {
    const sums = await both(direct, via, async (at, way) => {
      const table = way === 'direct' ? 'copied_direct' : 'copied_via'
      const rows = Array.from({ length: 400_000 }, (_, i) => `${i}\t${'x'.repeat(i % 180)}\n`).join('')
      const sql = `create table ${table} (i int, note text)`
      expect((await psql(at, sql)).status).toBe(0)
      await ok(['psql', '-X', '-q', '-c', `\\copy ${table} from pstdin`, line(at)], { input: rows })
      const out = await ok([
        'psql',
        '-X',
        '-q',
        '-c',
        `\\copy (select * from ${table} order by i) to pstdout`,
        line(at),
      ])
      return { in: Bun.hash(rows), out: Bun.hash(out) }
    })
    expect(sums[0].out).toBe(sums[0].in)
    expect(sums[1]).toEqual(sums[0])
  }, 120_000)

  const pgbench = (at: Address, ...flags: string[]) =>
    exec(['pgbench', '-h', at.host, '-p', String(at.port), '-U', USER, ...flags, 'postgres'])
  /** What has to be the same: statements done and failed, not how fast. */
  const verdict = ({ status, out }: { status: number; out: string }) => ({
    status,
    processed: /number of transactions actually processed: (\S+)/.exec(out)?.[1],
    failed: /number of failed transactions: (\d+)/.exec(out)?.[1],
  })

  test('pgbench -i', async () => {
    const [without, through] = await both(direct, via, at => pgbench(at, '-i', '-s', '5', '-q'))
    expect(without.status).toBe(0)
    expect(through.status).toBe(0)
    const [{ out }] = await Promise.all([psql(via, 'select count(*) from pgbench_accounts')])
    expect(out.trim()).toBe('500000')
  }, 120_000)

  test('pgbench -S -c 20', async () => {
    const [without, through] = await both(direct, via, at => pgbench(at, '-S', '-c', '20', '-t', '400', '-n'))
    expect(verdict(without)).toEqual({ status: 0, processed: '8000/8000', failed: '0' })
    expect(verdict(through)).toEqual(verdict(without))
  }, 120_000)

  test('pgbench -C: a connection for each transaction', async () => {
    const [without, through] = await both(direct, via, at => pgbench(at, '-S', '-C', '-c', '10', '-t', '40', '-n'))
    expect(verdict(without)).toEqual({ status: 0, processed: '400/400', failed: '0' })
    expect(verdict(through)).toEqual(verdict(without))
  }, 120_000)

  test('Ctrl-C in psql cancels on the server, by a connection of its own', async () => {
    const [without, through] = await both(direct, via, async at => {
      const asleep = `select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'`
      const sleeping = Bun.spawn([program('psql'), '-X', '-c', 'select pg_sleep(60)', line(at)], {
        stdin: 'ignore',
        stdout: 'pipe',
        stderr: 'pipe',
        env: { ...process.env, LC_ALL: 'C' },
      })
      leaveNone(sleeping)
      await until(async () => (await psql(direct, asleep)).out.trim() === '1', 'the server sleeps')
      sleeping.kill('SIGINT')
      const status = await within(10_000, sleeping.exited, () => 'psql does not end')
      const err = await new Response(sleeping.stderr).text()
      await until(async () => (await psql(direct, asleep)).out.trim() === '0', 'the server has stopped')
      return { status, err }
    })
    expect(without.err).toContain('canceling statement due to user request')
    expect(through).toEqual(without)
  }, 60_000)
})
