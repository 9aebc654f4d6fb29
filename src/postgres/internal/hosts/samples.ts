/** What the primary had written at some moments, as far as it counts for the freshness of its replicas. */

/** What the primary had written at one moment. */
interface Sample {
  readonly atMillis: number
  readonly position: bigint
}

export class Samples {
  readonly #maxLagMillis: number
  #all: Array<Sample> = []

  constructor(maxLagMillis: number) {
    this.#maxLagMillis = maxLagMillis
  }

  get size(): number {
    return this.#all.length
  }

  /** What the primary had written when it last answered. */
  get last(): bigint | undefined {
    return this.#all.at(-1)?.position
  }

  /** What a replica has to have replayed to be fresh: all that the primary had written `maxLag` ago. */
  neededAt(nowMillis: number): bigint {
    const since = nowMillis - this.#maxLagMillis
    return (this.#all.findLast(({ atMillis }) => atMillis <= since) ?? this.#all[0])?.position ?? 0n
  }

  /** Keeps one sample that is older than `maxLag`, and those after it. There are about two hundred at most. */
  add(atMillis: number, position: bigint): void {
    const all = this.#all
    const before = all.at(-2)
    // Of three samples that are close to each other, the one in the middle says nothing.
    if (before !== undefined && atMillis - before.atMillis <= this.#maxLagMillis / 100) all.pop()
    all.push({ atMillis, position })
    const since = atMillis - this.#maxLagMillis
    while (all.length > 1 && all[1]!.atMillis <= since) all.shift()
  }

  clear(): void {
    this.#all = []
  }
}
