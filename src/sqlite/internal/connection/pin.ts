/** The pin of one lease on a reader: since when the lease may fix a state of the database. */
import * as LinkedList from "../../../internal/structures/linkedList.ts"
import type { SqliteConnection } from "../contract/connection.ts"

export class Pin extends LinkedList.Linked<Pin> {
  readonly leased: SqliteConnection
  readonly begunAt: number
  /** What else to do when the lease is ended for its age. */
  onExpiry: ((heldMillis: number) => void) | undefined = undefined
  /** Whether the lease may become as old as it likes. */
  isExempt = false

  constructor(leased: SqliteConnection, begunAt: number) {
    super()
    this.leased = leased
    this.begunAt = begunAt
  }
}
