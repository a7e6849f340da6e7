// Other programs whose protocols break when a tunnel is not quite a TCP connection.
import { describe, expect, test } from 'bun:test'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { block, echo, Plain, service, sha256 } from '../e2e/plain.ts'
import { type Address, startAgent, startRelay, until } from '../e2e/warren.ts'
import { leaveNone } from '../oracle/process.ts'
import { both, exec, freePort, ok, program, serve, workFolder } from './programs.ts'

const local = (): Address => ({ host: '127.0.0.1', port: freePort() })

/** A relay and an agent around one service; `via` is the public end. */
async function through(direct: Address) {
  const relay = await startRelay()
  const agent = await startAgent(relay.invite!, [`t=${direct.host}:${direct.port}`])
  const via = await agent.tunnel('t')
  return {
    via,
    async [Symbol.asyncDispose]() {
      await agent[Symbol.asyncDispose]()
      await relay[Symbol.asyncDispose]()
    },
  }
}

describe('redis', () => {
  test('redis-benchmark -P 64, and the data that it leaves', async () => {
    const direct = local()
    const flags = ['--port', String(direct.port), '--save', '', '--appendonly', 'no', '--bind', '127.0.0.1']
    await using _server = await serve(['redis-server', ...flags, '--enable-debug-command', 'local'], direct)
    await using tunnel = await through(direct)
    const work = ['-t', 'set,get,incr,lpush,lrange_100', '-n', '30000', '-c', '20', '-P', '64', '-q']
    const [without, via] = await both(direct, tunnel.via, at =>
      exec(['redis-benchmark', '-h', at.host, '-p', String(at.port), ...work]),
    )
    for (const done of [without, via]) {
      expect(done.status).toBe(0)
      expect(done.out + done.err).not.toMatch(/error|reset|closed/i)
    }
    // Mass insertion: what was set through the tunnel is what the server has.
    const commands = Array.from(
      { length: 50_000 },
      (_, i) => `SET key:${i} ${sha256(Buffer.from(String(i)))}\r\n`,
    ).join('')
    const digests = await both(direct, tunnel.via, async at => {
      const cli = ['redis-cli', '-h', at.host, '-p', String(at.port)]
      await ok([...cli, 'flushall'])
      const piped = await ok([...cli, '--pipe'], { input: commands })
      expect(piped).toContain('errors: 0, replies: 50000')
      return (await ok(['redis-cli', '-p', String(direct.port), 'debug', 'digest'])).trim()
    })
    expect(digests[0]).toMatch(/^[0-9a-f]{40}$/)
    expect(digests[1]).toBe(digests[0])
  }, 180_000)
})

describe('ssh', () => {
  test('ssh, and scp of 200 MB both ways with its hash', async () => {
    const direct = local()
    const work = workFolder('ssh')
    const [hostKey, key] = [join(work, 'host'), join(work, 'key')]
    for (const path of [hostKey, key]) await ok(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', path])
    writeFileSync(join(work, 'authorized'), await Bun.file(`${key}.pub`).text(), { mode: 0o600 })
    const lines = [
      `Port ${direct.port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${hostKey}`,
      `AuthorizedKeysFile ${join(work, 'authorized')}`,
      `PidFile ${join(work, 'pid')}`,
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'PermitRootLogin yes',
      'RekeyLimit 16M',
      'Subsystem sftp internal-sftp',
    ]
    writeFileSync(join(work, 'config'), `${lines.join('\n')}\n`)
    // sshd wants its folder for privilege separation, which the service's start would make.
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
    await using _server = await serve(['sshd', '-D', '-e', '-f', join(work, 'config')], direct)
    await using tunnel = await through(direct)
    const user = (await ok(['id', '-un'])).trim()
    const common = ['-i', key, '-o', 'IdentitiesOnly=yes', '-o', 'StrictHostKeyChecking=no']
    const options = [...common, '-o', `UserKnownHostsFile=${join(work, 'known')}`, '-o', 'LogLevel=ERROR']
    const bytes = block(11, 200 << 20)
    const file = join(work, 'file')
    await Bun.write(file, bytes)
    const results = await both(direct, tunnel.via, async (at, way) => {
      const ssh = ['ssh', ...options, '-p', String(at.port), `${user}@${at.host}`]
      const scp = ['scp', ...options, '-P', String(at.port)]
      const there = join(work, way === 'direct' ? 'up-direct' : 'up-via')
      await ok([...scp, file, `${user}@${at.host}:${there}`])
      const remote = (await ok([...ssh, 'sha256sum', there])).split(' ')[0]
      await ok([...scp, `${user}@${at.host}:${there}`, `${there}.back`])
      const back = (await ok(['sha256sum', `${there}.back`])).split(' ')[0]
      const failing = await exec([...ssh, 'echo to stderr >&2; exit 37'])
      const piped = await ok([...ssh, 'tr a-z A-Z'], { input: 'half-closed standard input\n' })
      return { remote, back, failing, piped }
    })
    const sum = sha256(bytes)
    expect(results[0]).toEqual({
      remote: sum,
      back: sum,
      failing: { status: 37, out: '', err: 'to stderr\n' },
      piped: 'HALF-CLOSED STANDARD INPUT\n',
    })
    expect(results[1]).toEqual(results[0])
  }, 240_000)
})

describe('iperf3', () => {
  test('one way, the other, and both at once', async () => {
    const direct = local()
    const log = join(workFolder('iperf3'), 'log')
    const line = ['iperf3', '-s', '-B', '127.0.0.1', '-p', String(direct.port), '--logfile', log, '--forceflush']
    await using _server = await serve(line, direct)
    await using tunnel = await through(direct)
    for (const flags of [[], ['-R'], ['--bidir'], ['-P', '8']]) {
      const [without, via] = await both(direct, tunnel.via, async (at, way) => {
        // It takes one client at a time, and the last one's end may still be on its way to it.
        await until(() => /Server listening.*\n-+\n$/.test(readFileSync(log, 'latin1')), 'iperf3 is free')
        const done = await exec(['iperf3', '-c', at.host, '-p', String(at.port), '-t', '2', '--json', ...flags])
        const report = JSON.parse(done.out) as {
          error?: string
          end: { sum_received?: { bytes: number; bits_per_second: number } }
        }
        const rate = ((report.end.sum_received?.bits_per_second ?? 0) / 1e9).toFixed(2)
        console.log(`iperf3 ${flags.join(' ') || '(up)'} ${way}: ${rate} Gbit/s`)
        return { status: done.status, error: report.error, some: (report.end.sum_received?.bytes ?? 0) > 1 << 20 }
      })
      expect(without).toEqual({ status: 0, error: undefined, some: true })
      expect(via).toEqual(without)
    }
  }, 180_000)
})

describe('nginx', () => {
  test('curl: pages, keep-alive, an upload, 1 GiB with its hash, a websocket', async () => {
    const direct = local()
    const work = workFolder('nginx')
    const bytes = block(13, 64 << 20)
    const gib = new Bun.CryptoHasher('sha256')
    const writer = Bun.file(join(work, 'gib')).writer()
    for (let i = 0; i < 16; i++) {
      bytes.writeUInt32LE(i)
      gib.update(bytes)
      writer.write(bytes)
      await writer.flush()
    }
    await writer.end()
    writeFileSync(join(work, 'page'), 'a page\n')
    const sum = gib.digest('hex')
    using sockets = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      fetch: (request, server) => (server.upgrade(request) ? undefined : new Response(request.body)),
      websocket: { message: (socket, message) => void socket.send(message) },
    })
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    const lines = [
      'daemon off;',
      process.getuid?.() === 0 ? 'user root;' : '',
      'worker_processes 1;',
      `pid ${work}/pid;`,
      'error_log stderr;',
      'events { worker_connections 256; }',
      'http {',
      'access_log off;',
      'client_max_body_size 0;',
      ...temporary.map(name => `${name}_temp_path ${work}/${name};`),
      `server { listen 127.0.0.1:${direct.port}; root ${work};`,
      `location /app { proxy_pass http://127.0.0.1:${sockets.port}; proxy_http_version 1.1;`,
      'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; } } }',
    ]
    writeFileSync(join(work, 'nginx.conf'), lines.join('\n'))
    await using _server = await serve(['nginx', '-p', work, '-e', 'stderr', '-c', join(work, 'nginx.conf')], direct)
    await using tunnel = await through(direct)
    const results = await both(direct, tunnel.via, async at => {
      const url = (path: string) => `http://${at.host}:${at.port}${path}`
      const page = await ok(['curl', '-sS', '--fail', url('/page')])
      const twice = await ok([
        'curl',
        '-sS',
        '-w',
        '%{num_connects} ',
        '-o',
        '/dev/null',
        url('/page'),
        '-o',
        '/dev/null',
        url('/page'),
      ])
      const missing = await exec(['curl', '-sS', '--fail', '-o', '/dev/null', url('/nothing')])
      const upload = await ok(['curl', '-sS', '--fail', '-T', join(work, 'page'), url('/app')])
      const ranged = await ok(
        ['curl', '-sS', '-r', '1073741820-', url('/gib')].concat(['-o', '/dev/null', '-w', '%{size_download}']),
      )
      const gib = await ok(['sh', '-c', `curl -sS --fail '${url('/gib')}' | sha256sum`], { ms: 120_000 })
      const upgrade = [
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: d2FycmVuIHdhcnJlbiB3YQ==',
      ]
      const switched = await exec([
        'curl',
        '-sS',
        '-i',
        '-N',
        '--max-time',
        '1',
        ...upgrade.flatMap(h => ['-H', h]),
        url('/app'),
      ])
      return {
        page,
        twice,
        missing: missing.status,
        upload,
        ranged,
        gib: gib.split(' ')[0],
        switched: switched.out.split('\r\n')[0],
        echoed: await websocket(`ws://${at.host}:${at.port}/app`),
      }
    })
    expect(results[0]).toEqual({
      page: 'a page\n',
      twice: '1 0 ',
      missing: 22,
      upload: 'a page\n',
      ranged: '4',
      gib: sum,
      switched: 'HTTP/1.1 101 Switching Protocols',
      echoed: 'hello 300000',
    })
    expect(results[1]).toEqual(results[0])
  }, 240_000)
})

/** A word and a long message there and back. */
function websocket(url: string): Promise<string> {
  const done = Promise.withResolvers<string>()
  const socket = new WebSocket(url)
  const seen: string[] = []
  socket.onopen = () => {
    socket.send('hello')
    socket.send('w'.repeat(300_000))
  }
  socket.onmessage = ({ data }) => {
    const text = String(data)
    seen.push(text.length > 10 ? String(text.length) : text)
    if (seen.length === 2) socket.close()
  }
  socket.onclose = () => done.resolve(seen.join(' '))
  socket.onerror = () => done.reject(new Error(`websocket ${url}`))
  return done.promise
}

describe('smtp', () => {
  test('the server speaks first, and curl delivers a message', async () => {
    const letters: string[] = []
    using server = service(smtp(letters))
    const direct = { host: '127.0.0.1', port: server.port }
    await using tunnel = await through(direct)
    const banner = await both(direct, tunnel.via, async at => {
      const visitor = await Plain.dial(at)
      const line = (await visitor.read(BANNER.length)).toString()
      visitor.reset()
      return line
    })
    expect(banner).toEqual([BANNER, BANNER])
    const letter = `Subject: burrow\r\n\r\n${'a line of a letter\r\n'.repeat(2000)}`
    const [without, via] = await both(direct, tunnel.via, at =>
      exec(
        [
          'curl',
          '-sS',
          '--mail-from',
          'a@example.com',
          '--mail-rcpt',
          'b@example.com',
          '-T',
          '-',
          `smtp://${at.host}:${at.port}`,
        ],
        {
          input: letter,
        },
      ),
    )
    expect(without.status).toBe(0)
    expect(via).toEqual(without)
    expect(letters).toEqual([letter, letter])
  }, 60_000)
})

const BANNER = '220 burrow.example ESMTP\r\n'

/** As little of a mail server as a client needs. */
function smtp(letters: string[]): (plain: Plain) => void {
  return plain => {
    let text = ''
    let letter = false
    plain.keep = false
    void plain.send(BANNER)
    plain.onData = chunk => {
      text += chunk.toString()
      for (;;) {
        const end = text.indexOf(letter ? '\r\n.\r\n' : '\r\n')
        if (end < 0) return
        const line = text.slice(0, end)
        text = text.slice(end + (letter ? 5 : 2))
        if (letter) {
          letters.push(`${line}\r\n`)
          letter = false
          void plain.send('250 taken\r\n')
        } else if (line === 'DATA') {
          letter = true
          void plain.send('354 go on\r\n')
        } else if (line === 'QUIT') {
          void plain.send('221 bye\r\n').then(() => plain.finish())
        } else void plain.send('250 yes\r\n')
      }
    }
  }
}

describe('nc', () => {
  test('nc -N: its half-close is seen, and the answer that comes after it arrives', async () => {
    using server = service(plain => {
      void plain.readAll().then(({ bytes, end }) => {
        if (end === 'fin') void plain.send(`${sha256(bytes)}\n`).then(() => plain.finish())
      })
    })
    const direct = { host: '127.0.0.1', port: server.port }
    await using tunnel = await through(direct)
    const bytes = block(17, 5_000_000)
    const [without, via] = await both(direct, tunnel.via, at =>
      exec(['nc', '-N', at.host, String(at.port)], { input: bytes }),
    )
    expect(without).toEqual({ status: 0, out: `${sha256(bytes)}\n`, err: '' })
    expect(via).toEqual(without)
  }, 60_000)

  test('the service half-closes first, and what nc sends after that arrives', async () => {
    const late: string[] = []
    using server = service(plain => {
      void plain.send('first\n').then(() => plain.finish())
      void plain.readAll().then(({ bytes, end }) => void late.push(`${bytes} ${end}`))
    })
    const direct = { host: '127.0.0.1', port: server.port }
    await using tunnel = await through(direct)
    late.length = 0
    const results = await both(direct, tunnel.via, async at => {
      const nc = Bun.spawn([program('nc'), '-N', at.host, String(at.port)], {
        stdin: 'pipe',
        stdout: 'pipe',
        stderr: 'pipe',
      })
      leaveNone(nc)
      const reader = nc.stdout.getReader()
      const first = new TextDecoder().decode((await reader.read()).value)
      nc.stdin.write('late')
      await nc.stdin.end()
      return { first, status: await nc.exited }
    })
    expect(results[0]).toEqual({ first: 'first\n', status: 0 })
    expect(results[1]).toEqual(results[0])
    // nc has left by now; what it sent is still on its way through the tunnel. The agent's own look sends nothing.
    const told = () => late.filter(text => !text.startsWith(' '))
    await until(() => told().length === 2, 'both have ended at the service')
    expect(told()).toEqual(['late fin', 'late fin'])
  }, 60_000)

  test('echo, with everything still on its way when nc ends its side', async () => {
    using server = service(echo)
    const direct = { host: '127.0.0.1', port: server.port }
    await using tunnel = await through(direct)
    const bytes = block(19, 20_000_000)
    const sums = await both(direct, tunnel.via, async at => {
      const file = join(workFolder('nc'), 'sent')
      await Bun.write(file, bytes)
      return ok(['sh', '-c', `nc -N ${at.host} ${at.port} < ${file} | sha256sum`])
    })
    expect(sums[0]).toStartWith(sha256(bytes))
    expect(sums[1]).toBe(sums[0])
  }, 60_000)
})
