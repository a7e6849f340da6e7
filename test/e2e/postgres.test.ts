// A real PostgreSQL through the tunnel without anything installed: PGlite behind an agent, node-postgres before the relay.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { PGlite } from '@electric-sql/pglite'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'
import { Client } from 'pg'
import { type Address, tunnelTo, type Warren } from './warren.ts'

type Row = Record<string, unknown>

describe('PostgreSQL', () => {
  let db: PGlite
  let server: PGLiteSocketServer
  let tunnel: AsyncDisposable & { at: Address; relay: Warren; agent: Warren }
  const direct: Address = { host: '127.0.0.1', port: 0 }

  beforeAll(async () => {
    db = await PGlite.create()
    // A port of its own: asked for by a listener that is closed again.
    const probe = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } })
    direct.port = probe.port
    probe.stop(true)
    server = new PGLiteSocketServer({ db, port: direct.port, host: direct.host, maxConnections: 8 })
    await server.start()
    tunnel = await tunnelTo(`${direct.host}:${direct.port}`)
  }, 120_000)

  afterAll(async () => {
    await tunnel[Symbol.asyncDispose]()
    await server.stop()
    await db.close()
  })

  async function session<T>(at: Address, use: (client: Client) => Promise<T>): Promise<T> {
    const client = new Client({ ...at, user: 'postgres', database: 'postgres', connectionTimeoutMillis: 20_000 })
    await client.connect()
    try {
      return await use(client)
    } finally {
      await client.end()
    }
  }

  const work = async (client: Client): Promise<Row[][]> => {
    const answers: Row[][] = []
    const ask = async (text: string, values: unknown[] = []) => {
      answers.push((await client.query(text, values)).rows as Row[])
    }
    await ask('drop table if exists burrow')
    await ask('create table burrow (id int primary key, note text, dug bytea)')
    for (let i = 0; i < 20; i++)
      await ask('insert into burrow values ($1, $2, $3) returning id', [i, `note ${i}`, Buffer.alloc(i * 997, i)])
    await ask('select id, note, length(dug) as dug from burrow order by id')
    await ask("select repeat('warren', 300000) as long, md5(repeat('warren', 300000)) as sum")
    await ask('select count(*)::int as n from generate_series(1, 20000)')
    await ask('select i, i * i as square from generate_series(1, 5000) as i')
    await expect(client.query('select no_such_column from burrow')).rejects.toMatchObject({ code: '42703' })
    await client.query('begin')
    await client.query('delete from burrow')
    await client.query('rollback')
    await ask('select count(*)::int as n from burrow')
    return answers
  }

  test('the same session gives the same answers through the tunnel as without it', async () => {
    const without = await session(direct, work)
    const through = await session(tunnel.at, work)
    expect(through).toEqual(without)
    expect(through.at(-1)).toEqual([{ n: 20 }])
  }, 120_000)

  test('20 sessions one after the other', async () => {
    for (let i = 0; i < 20; i++) {
      const rows = await session(tunnel.at, async client => (await client.query('select $1::int as i', [i])).rows)
      expect(rows).toEqual([{ i }])
    }
  }, 120_000)

  test('a password prompt, a refusal and a wrong database name are the server’s own', async () => {
    const message = async (at: Address) => {
      const client = new Client({ ...at, user: 'postgres', database: 'no_such', connectionTimeoutMillis: 20_000 })
      try {
        await client.connect()
        return 'connected'
      } catch (thrown) {
        return String(thrown)
      } finally {
        await client.end().catch(() => {})
      }
    }
    expect(await message(tunnel.at)).toBe(await message(direct))
  }, 60_000)
})
