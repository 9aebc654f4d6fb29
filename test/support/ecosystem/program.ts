/** What is written for `SqlClient` elsewhere in Effect, as programs that run on every database and must not notice which it is. */
import type { Effect } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"

/** The database of a program. */
export interface Host {
  /** Runs an effect as a transaction of the pool. */
  readonly transaction: <A, E>(
    effect: Effect.Effect<A, E, SqlClient>
  ) => Effect.Effect<A, E | { readonly _tag: string }, SqlClient>
  /** The single value of a query, for others. */
  readonly value: (sql: string) => Effect.Effect<unknown, unknown>
  /** Waits until something holds, and lets time pass. */
  readonly until: <E, R>(what: string, holds: Effect.Effect<boolean, E, R>) => Effect.Effect<void, E, R>
  /** Whether time passes in the database as it does in the program. */
  readonly isRealTime: boolean
}

export interface Program {
  /** What it does, as the name of a test. */
  readonly name: string
  readonly run: (host: Host) => Effect.Effect<void, unknown, SqlClient>
}
