// Medians and spreads: every figure of the page is one of these.

export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Half of the distance from the least to the most, as a part of the median. */
export function spread(values: readonly number[]): number {
  if (values.length < 2) return 0
  const distance = Math.max(...values) - Math.min(...values)
  return distance === 0 ? 0 : distance / 2 / Math.abs(median(values))
}

/** With as many digits as a reader compares by. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '–'
  const size = Math.abs(value)
  if (size >= 100) return Math.round(value).toLocaleString('en-US')
  if (size >= 10) return value.toFixed(1)
  return value.toFixed(2)
}
