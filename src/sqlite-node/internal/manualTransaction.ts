/**
 * Transactions that statements of the application begin and end.
 *
 * After the `begin` of any fiber, all statements that are in no transaction of their own run in this one, as they would
 * on a single connection.
 */
import { Effect, Exit, type Fiber, Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { sqlErrorOf } from "../../internal/transaction/sqlErrorOf.ts"
import { type BusyTimeout, mayStartLater, retryWhileLocked } from "../../sqlite/internal/connection/retryWhileLocked.ts"
import type { SqliteConnection } from "../../sqlite/internal/contract/connection.ts"
import { failure, toSqlError } from "../../sqlite/internal/errors.ts"
import { failed, fromSqliteSaying, isNoTransaction, sqliteMessage } from "../../sqlite/internal/failures.ts"
import type { Pool } from "../../sqlite/internal/file/sides.ts"

/** An open transaction: the fiber that has begun it, its connection, and the scope of its lease. */
interface OpenTransaction {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly connection: SqliteConnection
  readonly scope: Scope.Closeable
}

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export class ManualTransaction {
  readonly #pool: Pool
  readonly #timeout: BusyTimeout
  #open: OpenTransaction | undefined

  constructor(pool: Pool, timeout: BusyTimeout) {
    this.#pool = pool
    this.#timeout = timeout
  }

  /** The connection of the transaction that is open, if one is. */
  get connection(): SqliteConnection | undefined {
    return this.#open?.connection
  }

  /**
   * The error for a fiber that asks for the writer while the transaction that it has begun is open: it would wait for
   * its own `commit`.
   */
  selfDeadlock(fiber: Fiber.Fiber<unknown, unknown>): SqlError | undefined {
    const open = this.#open
    // SQLite may have ended the transaction by itself.
    if (open === undefined || open.fiber !== fiber || !isTransaction(open.connection)) return undefined
    return toSqlError(
      failed(
        "transaction",
        "this fiber has begun a transaction with a statement, and would wait for itself: " +
          "commit or roll it back first, or begin it with withTransaction, which may be nested"
      )
    )
  }

  /**
   * Runs a statement in the open transaction. If none is open, it takes the writer, and keeps it if a transaction
   * begins.
   */
  run<A>(fiber: Fiber.Fiber<unknown, unknown>, step: (connection: SqliteConnection) => A): Effect.Effect<A, SqlError> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const open = this.#open
        return open === undefined ? this.#begin(fiber, step, restore) : this.#settled(open, once(open, step))
      })
    )
  }

  /** Returns the connection of an open transaction, so that the pool rolls it back. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    const open = this.#open
    this.#open = undefined
    return open === undefined ? Effect.void : Scope.close(open.scope, Exit.void)
  })

  #begin<A>(
    fiber: Fiber.Fiber<unknown, unknown>,
    step: (connection: SqliteConnection) => A,
    restore: Restore
  ): Effect.Effect<A, SqlError> {
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
            const open = { connection, fiber, scope }
            const tried = retryWhileLocked(once(open, step), this.#timeout.millis, {
              isWorthwhile: mayStartLater,
              restore
            })
            return this.#settled(open, Effect.mapError(tried, sayingNoneIsOpen))
          }
        })
    )
  }

  /**
   * Keeps or returns the connection after a statement: SQLite may have ended the transaction by itself, so it is asked.
   */
  #settled<A>(open: OpenTransaction, effect: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
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

const once = <A>(
  { connection }: OpenTransaction,
  step: (connection: SqliteConnection) => A
): Effect.Effect<A, SqlError> =>
  Effect.try({ try: () => step(connection), catch: (thrown) => sqlErrorOf(failure(thrown)) })

/** The error of a `commit` or `rollback` while no transaction is open, as it is where all statements share one. */
const sayingNoneIsOpen = (error: SqlError): SqlError => {
  const { cause, operation } = error.reason
  return isNoTransaction(cause)
    ? toSqlError(fromSqliteSaying(cause, operation!, `${sqliteMessage(cause)}: ${noneIsOpen}`))
    : error
}

const noneIsOpen = "none was begun with a statement of this client, or SQLite has ended it by itself after an error: " +
  "use withTransaction, which says how it ended"

const isTransaction = (connection: SqliteConnection): boolean => {
  try {
    return connection.isTransactionUnsafe()
  } catch {
    // The lease was ended: by a shutdown, or because the file was moved or replaced.
    return false
  }
}
