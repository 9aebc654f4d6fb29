/** The pin of one lease on a reader: the time since which it may pin a state of the database. */
import * as LinkedList from "../../../internal/structures/linkedList.ts"
import type { SqliteConnection } from "../contract/connection.ts"

export class Pin extends LinkedList.Linked<Pin> {
  readonly leased: SqliteConnection
  readonly begunAt: number
  /** Called when the lease is ended for its age. */
  onExpiry: ((heldMillis: number) => void) | undefined = undefined
  /** Whether the age of the lease has no limit. */
  isExempt = false

  constructor(leased: SqliteConnection, begunAt: number) {
    super()
    this.leased = leased
    this.begunAt = begunAt
  }
}
