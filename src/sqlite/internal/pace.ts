import type { Fiber } from "effect"

/** About as many operations of a fiber as Effect's own statement takes. */
const operations = 10

/**
 * Has a fiber that runs statement after statement let others go first, as often as it would if each took as many of its
 * operations as Effect's own: a turn of a fiber is measured in those, whatever they take.
 */
export class Pace {
  /** The fiber that ran a statement last, and how many operations of its turn it had behind it then. */
  #fiber = -1
  #count = 0
  /** The operations that statements have saved it in this turn. */
  #saved = 0

  /** Whether the turn is over of a fiber that is about to run a statement. */
  isOver(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    const { cache, currentOpCount, id } = fiber
    // Fewer than before: it has had others go first in between.
    if (id !== this.#fiber || currentOpCount <= this.#count) this.#saved = 0
    else this.#saved += operations
    this.#fiber = id
    this.#count = currentOpCount
    if (currentOpCount + this.#saved < cache.maxOpsBeforeYield || cache.preventYield) return false
    this.#saved = 0
    return true
  }
}
