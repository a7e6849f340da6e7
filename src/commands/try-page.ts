// The small web page that `warren try` exposes when it is given no service: proof in a browser, in one look.

/** On a free loopback port. */
export function servePage(): { readonly port: number; stop(): void } {
  const started = Date.now()
  let visits = 0
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    // Bun's own page for an error shows the program's source, and writes it to the terminal.
    development: false,
    fetch(request) {
      // Without a Host, or with an odd one, it is no URL.
      const pathname = request.url.replace(/^\w+:\/\/[^/]*/, '').replace(/[?#].*/s, '')
      if (pathname !== '/') return new Response('not found\n', { status: 404 })
      visits++
      const seconds = Math.round((Date.now() - started) / 1000)
      return new Response(page(request.headers.get('host') ?? '', visits, seconds), {
        headers: { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' },
      })
    },
  })
  return { port: server.port ?? 0, stop: () => void server.stop(true) }
}

function page(host: string, visits: number, seconds: number): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>It works: warren</title>
<style>
  :root { color-scheme: light dark }
  body { max-width: 36rem; margin: 12vh auto; padding: 0 1.5rem; font: 1.05rem/1.6 system-ui, sans-serif }
  h1 { font-size: 2rem; margin-bottom: .3rem }
  code { background: #8882; padding: .1em .35em; border-radius: .3em }
  .way { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin: 2rem 0 }
  .way span { border: 1px solid #8886; border-radius: .6rem; padding: .5rem .8rem }
  .way span:nth-of-type(odd) { border-color: #2a9d63 }
  small { opacity: .7 }
</style>
<h1>It works.</h1>
<p>This page came through a tunnel: your browser asked the relay at <code>${Bun.escapeHTML(host)}</code>, and the relay
passed it to an agent that had dialled out to it. Nothing listens to the public on the agent's side.</p>
<p class="way"><span>browser</span> → <span>relay</span> ⇄ <span>agent</span> → <span>this page</span></p>
<p>With a service of your own: <code>warren try 5432</code>. On two machines: <code>warren relay</code> on the one with
the public address, and the line that it prints on the other.</p>
<p><small>Visit ${visits}, ${seconds} s after the start.</small></p>
</html>
`
}
