// JSON lines for scripts: one object a line. Events keep the fields of telemetry/events.ts, and the view adds the time.
import { UNSAFE } from '../telemetry/log.ts'

/** A value as JSON in one line, with everything that a terminal could obey as `\u` escapes: the same value when parsed. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(UNSAFE, unsafe => {
    let escaped = ''
    for (let at = 0; at < unsafe.length; at++) escaped += `\\u${unsafe.charCodeAt(at).toString(16).padStart(4, '0')}`
    return escaped
  })
}
