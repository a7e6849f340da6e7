// Makes docs/screen.svg and docs/resume.svg: reads captured terminal screens with their colours from standard input, writes
// them as a picture.
//
//   tmux capture-pane -p -e | bun scripts/screen.ts > docs/screen.svg
//   bun scripts/screen.ts 'what is to be seen' < captured > docs/resume.svg
//
// The picture is text, so that it stays sharp and can be selected. Every run of one style is put at its own column with a
// fixed width: whatever monospace font the reader has, the columns stay columns.
import { escapeHTML, stdin, stdout, stringWidth, write } from 'bun'

const CELL = { width: 8.4, height: 19, size: 14, ascent: 14 } as const
const PAD = { x: 20, top: 44, bottom: 18 } as const
const FONT = 'ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,Liberation Mono,monospace'
const SCREEN = { background: '#161b22', border: '#30363d', plain: '#e6edf3', dim: '#8b949e' } as const
/** By SGR number, as the screen uses them. */
const COLORS: Record<number, string> = { 31: '#ff7b72', 32: '#56d364', 33: '#e3b341', 36: '#76e3ea' }

type Style = { bold: boolean; dim: boolean; color: string | null }
type Run = { at: number; text: string; style: Style }

const NONE: Style = { bold: false, dim: false, color: null }

/** One line's runs. The style goes on from line to line, as tmux writes it. */
function readLine(line: string, before: Style): { runs: Run[]; style: Style } {
  const runs: Run[] = []
  let style = before
  let at = 0
  // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what a terminal's colours are made of
  for (const [, codes, text] of line.matchAll(/\x1b\[([0-9;]*)m|([^\x1b]+)/g)) {
    if (codes !== undefined) style = codes.split(';').reduce(applyCode, style)
    else if (text !== undefined) {
      runs.push({ at, text, style })
      at += stringWidth(text)
    }
  }
  return { runs, style }
}

function applyCode(style: Style, code: string): Style {
  const number = Number(code)
  if (number === 0) return NONE
  if (number === 1) return { ...style, bold: true }
  if (number === 2) return { ...style, dim: true }
  if (number === 22) return { ...style, bold: false, dim: false }
  if (number === 39) return { ...style, color: null }
  return COLORS[number] === undefined ? style : { ...style, color: COLORS[number] }
}

/** Each piece between wide gaps has a place of its own: a picture's text does not keep spaces that follow each other. */
function drawRun({ at, text, style }: Run, y: number): string[] {
  const fill = style.color ?? (style.dim ? SCREEN.dim : SCREEN.plain)
  const weight = style.bold ? ' font-weight="bold"' : ''
  return [...text.matchAll(/\S+(?: \S+)*/g)].map(({ 0: words, index }) => {
    const x = (PAD.x + (at + stringWidth(text.slice(0, index))) * CELL.width).toFixed(1)
    const width = (stringWidth(words) * CELL.width).toFixed(1)
    return `<text x="${x}" y="${y}" textLength="${width}" fill="${fill}"${weight}>${escapeHTML(words)}</text>`
  })
}

const label = process.argv[2] ?? 'The live screen of a warren agent'
const lines = (await stdin.text()).trimEnd().split('\n')
let style = NONE
const rows = lines.map((line, index) => {
  const read = readLine(line, style)
  style = read.style
  return { runs: read.runs, y: PAD.top + index * CELL.height + CELL.ascent }
})
const columns = Math.max(...rows.flatMap(({ runs }) => runs.map(run => run.at + stringWidth(run.text.trimEnd()))))
const width = Math.ceil(PAD.x * 2 + columns * CELL.width)
const height = PAD.top + lines.length * CELL.height + PAD.bottom
const dots = ['#ff5f57', '#febc2e', '#28c840'].map(
  (color, i) => `<circle cx="${24 + i * 20}" cy="22" r="6" fill="${color}"/>`,
)
const body = rows.flatMap(({ runs, y }) => runs.flatMap(run => drawRun(run, y)))

await write(
  stdout,
  `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHTML(label)}">
<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8" fill="${SCREEN.background}" stroke="${SCREEN.border}"/>
${dots.join('\n')}
<g font-family="${FONT}" font-size="${CELL.size}">
${body.join('\n')}
</g>
</svg>
`,
)
