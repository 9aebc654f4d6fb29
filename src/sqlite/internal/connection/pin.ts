/** The pin of one lease on a reader: the time since which it may pin a state of the database. */
import * as LinkedList from "../../../internal/structures/linkedList.ts"

/** The connection of a lease that may pin a state of the database. */
export interface Pinning {
  pin: Pin | undefined
  /** Whether it pins a state now. */
  readonly isPinning: boolean
  /** Whether it may pin a state now: a thread tells only when its statement has ended. */
  readonly mayPin: boolean
  /** Ends the lease, and the cursors and the transaction on its connection. */
  readonly revoke: (reason: string) => void
}

export class Pin extends LinkedList.Linked<Pin> {
  readonly leased: Pinning
  readonly begunAt: number
  /** Called when the lease is ended for its age. */
  onExpiry: ((heldMillis: number) => void) | undefined = undefined
  /** Whether the age of the lease has no limit. */
  isExempt = false

  constructor(leased: Pinning, begunAt: number) {
    super()
    this.leased = leased
    this.begunAt = begunAt
  }
}
