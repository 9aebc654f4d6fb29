/** What a pool over several hosts tells of them. */
import type { AnyHostEvent } from "../../../internal/pool/hostEvents.ts"

/**
 * A position in the log of the database: everything that was committed before it is there, once a replica has reached it. It is
 * text, such as `0/16B3748`, so it can go into a cookie or a message.
 */
export type Position = string

/** One host, as it was last seen. */
export interface HostStatus {
  /** The host with its port, as in `db1:5432`. */
  readonly host: string
  /**
   * `"refused"`: it takes writes, but another server was promoted after it, so it is an old primary. `"away"`: it does not answer.
   * `"unknown"`: it was not asked yet.
   */
  readonly role: "primary" | "replica" | "refused" | "away" | "unknown"
  /** The number of promotions in the history of its data; 0 if it has not answered yet. */
  readonly timeline: number
  /** For a replica: whether it is fresh enough to be read (`maxLag`). */
  readonly isFresh: boolean
  /**
   * For a replica: how many bytes of the log of the primary it had not replayed yet, as both last answered. Not set for other hosts, and
   * while no primary is known or the replica follows an older timeline: then nobody can tell.
   */
  readonly lagBytes: number | undefined
  /** How long ago it last answered, in milliseconds. Not set if it has not answered yet. */
  readonly answeredAgoMillis: number | undefined
  /** Why it is away, if it is. */
  readonly problem: string | undefined
}

/** Something happened to the hosts. */
export type HostEvent = AnyHostEvent
