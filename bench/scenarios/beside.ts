// A ping-pong beside bulk, which two scenarios measure.
import { type Pulled, ping, pull } from '../load.ts'
import type { Running } from './scenario.ts'

/** A ping-pong while so many streams take all they get. */
export async function pingUnderBulk(run: Running, streams: number, seconds: number, lead: number) {
  const { front } = run.world
  const load = pull(front, run.at, streams, seconds, lead)
  const pinged = Bun.sleep(lead * 1000).then(() => ping(front, run.at, seconds))
  const [pulled, { us }] = await Promise.all([load, pinged])
  return { pulled, us }
}

/** MB/s. */
export const rate = ({ bytes, seconds }: Pulled): number => bytes / seconds / 1e6
