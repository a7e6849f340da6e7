// The live screen of a terminal: folds events into a model, and redraws what changed, at most four times a second.
import type { Event } from '../telemetry/events.ts'
import { type Measure, type Model, newModel, reduce, tick } from './model.ts'
import type { Output } from './output.ts'
import { Region } from './region.ts'
import { render } from './render.ts'
import type { Terminal } from './terminal.ts'

/** Not sooner after the last frame than this. */
const FRAME_MS = 250
/** Rates, spans and countdowns move by themselves. */
const IDLE_MS = 1000

export class LiveScreen {
  readonly #terminal: Terminal
  readonly #out: Output
  readonly #region = new Region()
  #model: Model
  #measure: (() => Measure) | null = null
  #timer: NodeJS.Timeout | null = null
  #due = 0
  #drawn = Number.NEGATIVE_INFINITY
  #sampled = Number.NEGATIVE_INFINITY
  /** Ctrl-Z: nothing more is drawn until it goes on. */
  #suspended = false
  /** Stopped, and gone on behind the shell's prompt: nothing is drawn there. */
  #behind = false
  #columns = 0
  #rows = 0

  constructor(role: 'agent' | 'relay', version: string, terminal: Terminal, out: Output) {
    this.#terminal = terminal
    this.#out = out
    this.#model = newModel(role, version, steadyNow())
    terminal.hold(out)
    terminal.onResize(this.#resized)
    process.on('SIGTSTP', this.#suspend)
    process.on('SIGCONT', this.#resume)
    this.#draw()
  }

  event(event: Event): void {
    const now = steadyNow()
    this.#model = reduce(this.#model, event, now)
    this.#drawBy(Math.max(now, this.#drawn + FRAME_MS))
  }

  /** Where bytes are counted while streams are open. */
  watch(measure: () => Measure): void {
    this.#measure = measure
  }

  /** Whole lines that are to stay, above the screen. */
  print(text: string): void {
    this.#out.write(this.#region.above(text))
  }

  /** The last frame stays where it is, whole, unless nothing had begun; the cursor is back. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    process.off('SIGTSTP', this.#suspend)
    process.off('SIGCONT', this.#resume)
    this.#terminal.offResize(this.#resized)
    const begun = this.#model.session.state !== 'starting' || this.#model.relay !== null
    this.#suspended = false
    this.#model = { ...tick(this.#model, this.#measure?.() ?? null, steadyNow()), stopped: true }
    if (begun) this.#paint()
    else this.#out.write(this.#region.erase(this.#terminal.columns))
    this.#region.leave()
    this.#terminal.release(this.#out)
  }

  #drawBy(due: number): void {
    if (this.#timer !== null) {
      if (due >= this.#due) return
      clearTimeout(this.#timer)
    }
    this.#due = due
    this.#timer = setTimeout(() => this.#draw(), Math.max(0, due - steadyNow()))
    // What runs keeps the process alive; its picture does not.
    this.#timer.unref()
  }

  #draw(): void {
    this.#timer = null
    const now = steadyNow()
    // A sample for every frame would make rates jump with the frames.
    if (now - this.#sampled >= IDLE_MS) {
      this.#sampled = now
      this.#model = tick(this.#model, this.#measure?.() ?? null, now)
    }
    this.#drawn = now
    // A terminal that is stopped, or far away, gets the next frame when it has taken the last one.
    const { idle } = this.#out
    if (idle) this.#paint()
    this.#drawBy(now + (idle ? IDLE_MS : FRAME_MS))
  }

  #paint(): void {
    if (this.#suspended || (this.#behind && !this.#toFront())) return
    const { columns, rows, color } = this.#terminal
    let out = ''
    if (columns !== this.#columns || rows < this.#rows) {
      // The terminal wrapped its lines anew or scrolled, maybe before it said so: what stands there is not where it was drawn.
      out = this.#region.erase(columns)
    }
    this.#columns = columns
    this.#rows = rows
    // A region taller than the terminal could not be updated in place: its top would have scrolled away. The last column
    // stays free: some terminals wrap as soon as it is written.
    const most = this.#model.stopped ? Number.POSITIVE_INFINITY : rows - 1
    out += this.#region.update(render(this.#model, columns - 1, color, most))
    if (out !== '') this.#out.write(out)
  }

  /** At once, unless the terminal has not taken the last frame. */
  readonly #resized = (): void => {
    if (this.#out.idle) this.#paint()
  }

  readonly #suspend = (): void => {
    if (this.#suspended) return
    this.#suspended = true
    this.#region.leave()
    this.#terminal.release(this.#out)
    void this.#out.flush().then(() => {
      // It went on, or ended, before the terminal took what was written.
      if (!this.#suspended) return
      this.#terminal.cook()
      process.kill(process.pid, 'SIGSTOP')
    })
  }

  readonly #resume = (): void => {
    this.#suspended = false
    this.#behind = true
    this.#paint()
  }

  /** Nothing tells that a shell has brought a job to the front that ran. */
  #toFront(): boolean {
    if (!this.#terminal.ours) return false
    this.#behind = false
    this.#terminal.hold(this.#out)
    return true
  }
}

/** In ms, for differences: a wall clock that is set back must not stop the picture. */
const steadyNow = (): number => Math.round(performance.now())
