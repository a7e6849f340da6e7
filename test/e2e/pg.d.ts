// What the tests use of node-postgres, which brings no types of its own.
declare module 'pg' {
  type Config = { host: string; port: number; user: string; database: string; connectionTimeoutMillis: number }
  export class Client {
    constructor(config: Config)
    connect(): Promise<void>
    query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>
    end(): Promise<void>
  }
}
