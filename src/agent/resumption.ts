// RESUME: how a session whose connection broke goes on over another one. It dials once a second, a few dials at a time,
// because the kernel tries a lost SYN again only after 1, 3 and 7 s; the first through its handshake resumes.
import {
  packResumeBody,
  type Resumption,
  readResumption,
  resumeFrame,
  SESSION_CODE,
  type Session,
} from '../frame/index.ts'
import { EXPORTER_LENGTH, exporterLabel, type KeyPair, transcript } from '../identity/index.ts'
import type { Connection, Dialing, Handler } from '../net/index.ts'
import { type Greeted, greet, type KnownRelay } from './greeting.ts'

const DIAL_EVERY_MS = 1_000
const PENDING = 4
/** The link may break again before the answer: another dial is better than a long wait. */
const ANSWER_MS = 3_000

/**
 * What the relay knows a session by, how often it was asked to resume it, and when it last did, in ms of
 * performance.now(); -Infinity: never.
 */
export type Resumable = { readonly session: Session; readonly id: Uint8Array; attempt: number; resumedAt: number }

export type OnAnswer = (answered: Greeted<Extract<Resumption, { ok: true }>>) => Handler | null

export class Resuming {
  readonly #relay: KnownRelay
  readonly #key: KeyPair
  readonly #what: Resumable
  readonly #onAnswer: OnAnswer
  readonly #dials = new Set<Dialing>()
  readonly #timer: ReturnType<typeof setInterval>
  /** The dial that got through: the others are given up. */
  #through: Dialing | null = null

  /** `onAnswer` is called once at most; dials that fail, or meet a relay that is busy, are followed by others until stop(). */
  constructor(relay: KnownRelay, key: KeyPair, what: Resumable, onAnswer: OnAnswer) {
    this.#relay = relay
    this.#key = key
    this.#what = what
    this.#onAnswer = onAnswer
    this.#timer = setInterval(() => this.#dial(), DIAL_EVERY_MS)
    // Once a second holds for a link, too, that breaks right after each resume.
    if (performance.now() - what.resumedAt >= DIAL_EVERY_MS) this.#dial()
  }

  stop(): void {
    clearInterval(this.#timer)
    for (const dialing of [...this.#dials]) dialing.cancel()
    this.#dials.clear()
  }

  #dial(): void {
    if (this.#through !== null) return
    if (this.#dials.size >= PENDING) {
      // The oldest may hang in a handshake whose packets were lost with the link: it gives way.
      const [oldest] = this.#dials
      oldest?.cancel()
      if (oldest !== undefined) this.#dials.delete(oldest)
    }
    const dialing: Dialing = greet(
      this.#relay,
      {
        frame: (connection, keyHash) => (this.#lead(dialing) ? this.#resume(connection, keyHash) : null),
        read: readResumption,
        answerMs: ANSWER_MS,
      },
      result => {
        this.#dials.delete(dialing)
        if (this.#through === dialing) this.#through = null
        if ('error' in result) return null
        const { answer } = result.ok
        // The relay cannot look for the session now: another dial may find it, for as long as it is held.
        if (!answer.ok && answer.code === SESSION_CODE.BUSY) return null
        this.stop()
        return this.#onAnswer(result.ok)
      },
    )
    this.#dials.add(dialing)
  }

  #lead(dialing: Dialing): boolean {
    if (this.#through !== null) return false
    this.#through = dialing
    for (const other of [...this.#dials]) {
      if (other === dialing) continue
      other.cancel()
      this.#dials.delete(other)
    }
    return true
  }

  #resume(connection: Connection, relayKeyHash: Uint8Array): Buffer {
    const { session, id } = this.#what
    this.#what.attempt += 1
    const body = packResumeBody({ session: Buffer.from(id), attempt: this.#what.attempt, position: session.position() })
    const exporter = connection.exporter(exporterLabel('resume'), EXPORTER_LENGTH)
    return resumeFrame(body, this.#key.sign(transcript('resume', 'agent', exporter, relayKeyHash, body)))
  }
}
