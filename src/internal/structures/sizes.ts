/** A histogram of sizes, which are whole numbers of at least 2. */
export class Sizes {
  /** One count for each bound, and one for sizes above the last bound. */
  readonly counts = new Float64Array(sizeBounds.length + 1)
  sum = 0
  min = Infinity
  max = 0
}

export const sizeBounds: ReadonlyArray<number> = [2, 4, 8, 16, 32, 64, 128, 256, 512]

export const record = (sizes: Sizes, size: number): void => {
  let index = 0
  while (index < sizeBounds.length && size > sizeBounds[index]!) index++
  sizes.counts[index]!++
  sizes.sum += size
  if (size < sizes.min) sizes.min = size
  if (size > sizes.max) sizes.max = size
}

/** Adds the counts of another histogram. */
export const add = (sizes: Sizes, other: Sizes): void => {
  for (const [index, count] of other.counts.entries()) sizes.counts[index]! += count
  sizes.sum += other.sum
  sizes.min = Math.min(sizes.min, other.min)
  sizes.max = Math.max(sizes.max, other.max)
}
