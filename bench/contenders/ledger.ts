/** The fake connections of one contender, and the book on them: nobody may lend one twice, lose one, or lend none. */
import assert from "node:assert/strict"

/** What a caller is lent. */
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

  /** To be called when the pool is closed. */
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
