/**
 * Transactions that are begun and ended by statements of the application, as where there is only one connection: from the
 * `begin` on, and whichever fiber says it, everything that is not in a transaction of its own runs in that one.
 */
import { Effect, Exit, Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionPool } from "../../ConnectionPool.ts"
import { sqlErrorOf } from "../../internal/transaction/sqlErrorOf.ts"
import { mayStartLater, retryWhileLocked } from "../../sqlite/internal/connection/retryWhileLocked.ts"
import { failure, type SqliteConnection } from "../../sqlite/SqliteConnection.ts"
import type { LockTimeout } from "./busyTimeoutPragma.ts"

/** A transaction that was begun, and what gives its connection back. */
interface Open {
  readonly connection: SqliteConnection
  readonly scope: Scope.Closeable
}

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export class ByHand {
  readonly #pool: ConnectionPool<SqliteConnection, SqlError>
  readonly #timeout: LockTimeout
  #open: Open | undefined

  constructor(pool: ConnectionPool<SqliteConnection, SqlError>, timeout: LockTimeout) {
    this.#pool = pool
    this.#timeout = timeout
  }

  /** The connection of the transaction that is open, if one is. */
  get connection(): SqliteConnection | undefined {
    return this.#open?.connection
  }

  /** Runs a statement in the transaction that is open; if none is, on a connection that is kept if it begins one. */
  run<A>(step: (connection: SqliteConnection) => A): Effect.Effect<A, SqlError> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const open = this.#open
        return open === undefined ? this.#begin(step, restore) : this.#settled(open, once(open, step))
      })
    )
  }

  /** Gives back the connection of a transaction that nobody has ended, and so rolls it back. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    const open = this.#open
    this.#open = undefined
    return open === undefined ? Effect.void : Scope.close(open.scope, Exit.void)
  })

  #begin<A>(step: (connection: SqliteConnection) => A, restore: Restore): Effect.Effect<A, SqlError> {
    return Effect.flatMap(
      Scope.make(),
      (scope) =>
        Effect.matchCauseEffect(restore(Scope.provide(this.#pool.acquire(), scope)), {
          onFailure: (cause) =>
            Effect.andThen(
              Scope.close(scope, Exit.failCause(cause)),
              Effect.mapError(Effect.failCause(cause), sqlErrorOf)
            ),
          onSuccess: (connection) => {
            const open = { connection, scope }
            return this.#settled(
              open,
              retryWhileLocked(once(open, step), this.#timeout.millis, { isWorthwhile: mayStartLater, restore })
            )
          }
        })
    )
  }

  /** SQLite may have ended it by itself, so it is asked. */
  #settled<A>(open: Open, effect: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.ensuring(
      effect,
      Effect.suspend(() => {
        if (isTransaction(open.connection)) {
          this.#open = open
          return Effect.void
        }
        if (this.#open === open) this.#open = undefined
        return Scope.close(open.scope, Exit.void)
      })
    )
  }
}

const once = <A>({ connection }: Open, step: (connection: SqliteConnection) => A): Effect.Effect<A, SqlError> =>
  Effect.try({ try: () => step(connection), catch: (thrown) => sqlErrorOf(failure(thrown)) })

const isTransaction = (connection: SqliteConnection): boolean => {
  try {
    return connection.isTransactionUnsafe()
  } catch {
    // Taken away, by a shutdown or because the file is gone.
    return false
  }
}
