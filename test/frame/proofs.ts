// The long forms of what test/frame proves without a socket, for `npm run prove`.
import type { Proof } from '../proof.ts'
import { Exchange, FATES, WAYS } from './exchange.ts'
import { simulateMany } from './simulation.ts'

export function proofs(seed: number): Proof[] {
  return [schedules(seed, 100_000, 0), schedules(seed, 50_000, 3), schedules(seed, 50_000, 25), everyByte()]
}

function schedules(seed: number, count: number, cuts: number): Proof {
  const broken = cuts === 0 ? '' : `, the connection broken up to ${cuts} times`
  return {
    name: `schedules-${cuts}`,
    what: `${count.toLocaleString('en')} random schedules of two sessions against the reference model${broken}`,
    run: async () => {
      const tally = simulateMany(seed, count, 0, cuts)
      const numbers = Object.entries(tally).map(([name, value]) => `${name} ${value.toLocaleString('en')}`)
      return { good: true, what: numbers.join(', ') }
    },
  }
}

function everyByte(): Proof {
  return {
    name: 'every-byte',
    what: 'a recorded exchange, its connection cut at every byte, each way, with old bytes lost or still arriving',
    run: async () => {
      const uncut = new Exchange(null)
      const seen = Bun.inspect(uncut.run())
      let cuts = 0
      const different: string[] = []
      for (const way of WAYS) {
        const bytes = uncut.arrived[way].reduce((sum, buf) => sum + buf.length, 0)
        for (const fate of FATES) {
          for (let after = 0; after < bytes; after++) {
            cuts++
            if (Bun.inspect(new Exchange({ way, after, fate }).run()) !== seen)
              different.push(`${way} ${after} ${fate}`)
          }
        }
      }
      const first = different.length > 0 ? `, first ${different[0]}` : ''
      return {
        good: different.length === 0,
        what: `${cuts.toLocaleString('en')} cuts, ${different.length} differ${first}`,
      }
    },
  }
}
