/** Makes summaries of many durations. */
import type { Summary } from "./contract.ts"

export const summary = (durations: ReadonlyArray<number>): Summary => {
  const sorted = Float64Array.from(durations).toSorted()
  const count = sorted.length
  let sum = 0
  for (const duration of sorted) sum += duration
  return {
    count,
    mean: count === 0 ? 0 : sum / count,
    p50: quantile(sorted, 0.5),
    p95: quantile(sorted, 0.95),
    p99: quantile(sorted, 0.99),
    max: sorted[count - 1] ?? 0
  }
}

/** The smallest value that this part of the sorted values does not exceed. */
const quantile = (sorted: Float64Array, part: number): number => sorted[rank(sorted.length, part)] ?? 0

// 0.99 * 100 is 99, but 0.95 * 100 may be a little more than 95.
const rank = (count: number, part: number): number => Math.ceil(count * part - 1e-9) - 1

/** The delay that 99 of 100 requests did not exceed, if all that were not served count as delayed for ever. */
export const p99OfAll = (delays: ReadonlyArray<number>, requests: number): number => {
  const sorted = Float64Array.from(delays).toSorted()
  if (requests === 0) return 0
  return sorted[rank(requests, 0.99)] ?? Infinity
}

/**
 * The distance within which the true mean is in 19 of 20 cases, by the means of batches. One wait resembles the next, so
 * their own deviation would promise too much. `Infinity` if there are too few durations for it.
 */
export const margin = (durations: ReadonlyArray<number>): number => {
  const size = Math.floor(durations.length / batches)
  if (size < 10) return Infinity
  const means: Array<number> = []
  for (let batch = 0; batch < batches; batch++) {
    let sum = 0
    for (let index = batch * size; index < (batch + 1) * size; index++) sum += durations[index]!
    means.push(sum / size)
  }
  const mean = means.reduce((sum, value) => sum + value, 0) / batches
  const squares = means.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return studentT * Math.sqrt(squares / (batches - 1) / batches)
}

const batches = 20

/** The 97.5 % quantile of Student's distribution with one degree of freedom less than there are batches. */
const studentT = 2.093
