/** Threads that leases share: they do the work of the leases in the order in which these asked. */
import type { VirtualTime } from "./virtualTime.ts"

interface Job {
  readonly millis: number
  /** Called when a thread begins the job, and when it is done. */
  readonly begun: () => void
  readonly done: () => void
}

export class Threads {
  readonly #time: VirtualTime
  readonly #size: number
  #waiting: Array<Job> = []
  /** The position of the first job in `#waiting`. To take the head of a long array is slow. */
  #first = 0
  #busy = 0

  constructor(time: VirtualTime, size: number) {
    this.#time = time
    this.#size = size
  }

  run(millis: number, begun: () => void, done: () => void): void {
    const job = { millis, begun, done }
    if (this.#busy < this.#size) this.#begin(job)
    else this.#waiting.push(job)
  }

  #begin(job: Job): void {
    this.#busy++
    job.begun()
    this.#time.at(this.#time.now + job.millis, () => {
      this.#busy--
      const next = this.#waiting[this.#first]
      if (next !== undefined) {
        this.#first++
        this.#begin(next)
      }
      if (this.#first > 1000 && this.#first * 2 > this.#waiting.length) {
        this.#waiting = this.#waiting.slice(this.#first)
        this.#first = 0
      }
      job.done()
    })
  }
}
