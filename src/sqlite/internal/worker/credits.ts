/**
 * Allowances for more rows.
 *
 * Node handles up to a thousand messages in one turn of the event loop, if they come while it is at it. So what is allowed while
 * a message is handled is sent at the end of the turn. Otherwise the rows of a large result would come one behind the other,
 * and nothing else would run meanwhile.
 */
import type { Pending } from "./pending.ts"

export class Credits {
  readonly #send: (pending: Pending, chunks: number) => void
  #isHandling = false
  readonly #later: Array<readonly [pending: Pending, chunks: number]> = []

  constructor(send: (pending: Pending, chunks: number) => void) {
    this.#send = send
  }

  /** Allows more chunks. */
  give(pending: Pending, chunks: number): void {
    if (!this.#isHandling) return this.#send(pending, chunks)
    this.#later.push([pending, chunks])
    if (this.#later.length === 1) setImmediate(this.#sendAll)
  }

  /** Handles a message. */
  during(handle: () => void): void {
    this.#isHandling = true
    try {
      handle()
    } finally {
      this.#isHandling = false
    }
  }

  readonly #sendAll = (): void => {
    for (const [pending, chunks] of this.#later.splice(0)) this.#send(pending, chunks)
  }
}
