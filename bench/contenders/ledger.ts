/**
 * The fake connections of one contender. It checks that no connection is lent twice or lost, and that some are lent.
 */
import assert from "node:assert/strict"

/** A connection that callers get. */
export interface Lent {
  /** The caller begins to use it. */
  enter(): void
  /** The caller is done with it. */
  leave(): void
}

export class Ledger {
  opened = 0
  closed = 0
  uses = 0
  overlaps = 0

  readonly connect = (): Connection => {
    this.opened++
    return new Connection(this)
  }

  /** Call it after the pool was closed. */
  check(): void {
    assert.equal(this.overlaps, 0, "a connection was lent to two callers at once")
    assert.equal(this.closed, this.opened, "a connection was lost")
  }
}

export class Connection implements Lent {
  readonly #ledger: Ledger
  #isInUse = false

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  enter(): void {
    if (this.#isInUse) this.#ledger.overlaps++
    this.#isInUse = true
  }

  leave(): void {
    this.#isInUse = false
    this.#ledger.uses++
  }

  close(): void {
    this.#ledger.closed++
  }
}
