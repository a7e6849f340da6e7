// A small generator of random numbers that a seed replays: sfc32, seeded through splitmix32.

export class Random {
  #a: number
  #b: number
  #c: number
  #d = 1

  /** Two numbers, so that script 17 of seed 4 does not need scripts 0 to 16 made first. */
  constructor(seed: number, stream = 0) {
    let s = (seed ^ Math.imul(stream, 0x9e3779b1)) >>> 0
    const split = () => {
      s = (s + 0x9e3779b9) >>> 0
      let z = s ^ (s >>> 16)
      z = Math.imul(z, 0x21f0aaad)
      z ^= z >>> 15
      z = Math.imul(z, 0x735a2d97)
      return (z ^ (z >>> 15)) >>> 0
    }
    this.#a = split()
    this.#b = split()
    this.#c = (split() ^ stream) >>> 0
    for (let i = 0; i < 12; i++) this.u32()
  }

  u32(): number {
    const t = (this.#a + this.#b + this.#d) >>> 0
    this.#d = (this.#d + 1) >>> 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) >>> 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) >>> 0
    this.#c = (this.#c + t) >>> 0
    return t
  }

  /** From `low` to `high`, both possible. */
  between(low: number, high: number): number {
    return low + (this.u32() % (high - low + 1))
  }

  chance(percent: number): boolean {
    return this.u32() % 100 < percent
  }

  pick<T>(from: readonly T[]): T {
    return from[this.u32() % from.length]!
  }

  fill(to: Uint32Array): void {
    for (let i = 0; i < to.length; i++) to[i] = this.u32()
  }
}
