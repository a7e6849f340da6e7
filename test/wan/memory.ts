// What a relay keeps while it holds a session whose visitors go on sending.
//
//   bun test/wan/memory.ts HOST PORT COUNT      as a process of its own: so many visitors; each line of standard input makes
//                                               half of them send for as long as anybody takes it; prints what they sent
import { readFileSync } from 'node:fs'
import { block, Plain } from '../e2e/plain.ts'
import { served } from '../e2e/served.ts'
import { until } from '../e2e/warren.ts'
import { lines, start } from '../oracle/process.ts'
import { ok } from '../programs/programs.ts'
import { lasting, Site } from './site.ts'
import { Wan } from './wanlink.ts'

const MB = 1 << 20

/** In MB of the relay's resident memory, unless said otherwise. */
export type HeldMemory = {
  /** With all streams idle, and with half of them sending. */
  idle: number
  sending: number
  /** At the moment of the hold, and the most until its end. */
  held: number
  most: number
  /** What the visitors, the other half too by now, got rid of while they were held: into the kernel's buffers. */
  taken: number
  /** Streams that ended before the hold did. */
  ended: number
  /** Whether all of them went on afterwards. */
  resumed: number
}

export async function heldMemory(streams: number, ms: number): Promise<HeldMemory> {
  await using opened = new AsyncDisposableStack()
  const wan = opened.use(await Wan.open({ delay: 5, rate: 80 }))
  // What the kernel takes for a relay that does not read would be gigabytes of this machine, and not the relay's.
  const buffers = ['tcp_rmem', 'tcp_wmem'].map(name => `net.ipv4.${name}=4096 65536 262144`)
  await ok([...wan.b.prefix, 'sysctl', '-q', '-w', ...buffers])
  const sink = opened.use(await served('sink', wan.a.prefix))
  const site = opened.use(await Site.open(wan, [`t=${sink.local}`], { deadAfter: '1500ms' }))
  const via = await site.agent.tunnel('t')
  const flood = start([
    ...wan.b.prefix,
    process.execPath,
    import.meta.path,
    via.host,
    String(via.port),
    String(streams),
  ])
  opened.defer(async () => {
    flood.kill('SIGKILL')
    await flood.exited
  })
  let sent = 0
  const said = lines(flood.stdout)
  await said.next()
  void (async () => {
    for await (const line of said) sent = Number(line)
  })()
  const from = { agent: 0, relay: 0 }
  await until(() => site.openStreams(from) >= streams, `${streams} streams are open`, 60_000)
  const rss = () => residentBytes(site.relay.pid) / MB
  const idle = rss()
  const half = () => {
    flood.stdin.write('half\n')
    flood.stdin.flush()
  }
  half()
  await until(() => sent > 50 * MB, 'the visitors send', 60_000)
  const sending = rss()
  const marks = site.marks
  await site.wan.cut()
  await site.noticed(performance.now(), marks, 10_000)
  const [held, before] = [rss(), sent]
  half()
  let most = held
  const end = performance.now() + ms
  while (performance.now() < end) {
    await lasting(100)
    most = Math.max(most, rss())
  }
  const taken = (sent - before) / MB
  const ended = streams - site.openStreams(from)
  await site.wan.heal()
  await site.resumed(marks)
  const after = sent
  await until(() => sent > after + 20 * MB, 'they go on', 60_000)
  return { idle, sending, held, most, taken, ended, resumed: site.openStreams(from) }
}

function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) * 1024
}

if (import.meta.main) {
  const [host = '', port, count] = process.argv.slice(2)
  const chunk = block(7, 1 << 16)
  const visitors: Plain[] = []
  for (let i = 0; i < Number(count); i++) visitors.push(await Plain.dial({ host, port: Number(port) }))
  console.log('connected')
  let sent = 0
  const send = async (visitor: Plain) => {
    while (await visitor.send(chunk)) sent += chunk.length
  }
  setInterval(() => console.log(sent), 200)
  const half = visitors.length / 2
  for await (const _ of console) for (const visitor of visitors.splice(0, half)) void send(visitor)
}
