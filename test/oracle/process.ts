// Child processes of the tests: started with pipes, read line by line, and never left behind.

export type Program = Bun.Subprocess<'pipe', 'pipe', 'inherit'>

const running = new Set<Bun.Subprocess>()

export function start(command: string[], env: Record<string, string> = {}): Program {
  const program = Bun.spawn(command, {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
    env: { ...process.env, ...env },
  })
  leaveNone(program)
  return program
}

/** Whatever ends this process ends that one. */
export function leaveNone(program: Bun.Subprocess): void {
  running.add(program)
  program.exited.then(() => running.delete(program))
}

process.on('exit', () => {
  for (const program of running) program.kill('SIGKILL')
})
// For good: under `bun run` a Ctrl-C arrives twice, and the second must not cut off what the first has begun.
const ends = [['SIGTERM', 143] as const, ['SIGINT', 130] as const]
for (const [signal, status] of ends) process.on(signal, () => process.exit(status))
// Without a terminal it may have been turned off, by nohup.
if (process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY) process.on('SIGHUP', () => process.exit(129))

export async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true })
    const found = rest.split('\n')
    rest = found.pop() ?? ''
    yield* found
  }
  if (rest !== '') yield rest
  return undefined
}
