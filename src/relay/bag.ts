// Numbers without an order, of which a random one is drawn, or a certain one taken out, at the same cost for any size.

export class Bag {
  readonly #items: number[] = []
  /** Where each one is. */
  readonly #at = new Map<number, number>()

  /** `item` is not in it. */
  add(item: number): void {
    this.#at.set(item, this.#items.length)
    this.#items.push(item)
  }

  remove(item: number): void {
    const at = this.#at.get(item)
    if (at === undefined) return
    this.#swap(at, this.#items.length - 1)
    this.#items.pop()
    this.#at.delete(item)
  }

  clear(): void {
    this.#items.length = 0
    this.#at.clear()
  }

  /** A random one that `takes` accepts; null when it accepts none. It stays in the bag. `random`: as Math.random. */
  draw(random: () => number, takes: (item: number) => boolean): number | null {
    for (let left = this.#items.length; left > 0; left--) {
      const at = Math.floor(random() * left)
      const item = this.#items[at]
      if (item === undefined) return null
      if (takes(item)) return item
      this.#swap(at, left - 1)
    }
    return null
  }

  #swap(a: number, b: number): void {
    const left = this.#items[a]
    const right = this.#items[b]
    if (left === undefined || right === undefined) return
    this.#items[a] = right
    this.#items[b] = left
    this.#at.set(right, a)
    this.#at.set(left, b)
  }
}
