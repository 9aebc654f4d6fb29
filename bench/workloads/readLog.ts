import { quantile } from "simple-statistics"
import { starved } from "../harness/case.ts"

/** What became of readers beside a writer. Only reads that ended while it was at work count. */
export class ReadLog {
  isOver = false
  readonly #startedAt = performance.now()
  #nanos = 0
  readonly #reads: Array<number> = []
  readonly #readsOf: Array<number>
  readonly #transactions: Array<number> = []

  constructor(readers: number) {
    this.#readsOf = Array.from({ length: readers }, () => 0)
  }

  read(reader: number, startedAt: number): void {
    if (this.isOver) return
    this.#reads.push(nanosSince(startedAt))
    this.#readsOf[reader]!++
  }

  wrote(startedAt: number): void {
    this.#transactions.push(nanosSince(startedAt))
  }

  end(): void {
    this.isOver = true
    this.#nanos = nanosSince(this.#startedAt)
  }

  get transactions(): number {
    return this.#transactions.length
  }

  /** How many reads there were: nanoseconds for each, on average and as the reader sees it who got the fewest. */
  get throughput(): { readonly "per read": number; readonly "least served": number } {
    return {
      "per read": this.#nanosFor(this.#reads.length),
      "least served": this.#nanosFor(Math.min(...this.#readsOf) * this.#readsOf.length)
    }
  }

  /** How long a read took, and a transaction, in nanoseconds. */
  get latency(): { readonly "median": number; readonly "p99": number; readonly "transaction": number } {
    const took = (share: number) => this.#reads.length === 0 ? starved : quantile(this.#reads, share)
    return { median: took(0.5), p99: took(0.99), transaction: quantile(this.#transactions, 0.5) }
  }

  #nanosFor(reads: number): number {
    return reads === 0 ? starved : this.#nanos / reads
  }
}

const nanosSince = (startedAt: number): number => (performance.now() - startedAt) * 1e6
