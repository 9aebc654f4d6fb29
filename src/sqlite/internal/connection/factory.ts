/** The factory of connections to SQLite. */
import { Effect, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as ConnectionFactory from "../../../ConnectionFactory.ts"
import { Recording } from "../../../internal/pool/recording.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import { codeOf } from "../errors.ts"
import { isLock } from "../failures.ts"
import type { Settings } from "../options/connection.ts"
import { handleOf, Leased } from "./leased.ts"
import * as Open from "./open.ts"

/**
 * Makes a factory from an effect that opens a connection. With `waits`, a statement outside a transaction that meets
 * the lock of another process is retried for `busyTimeout`. Synchronous operations do not wait.
 */
export const factoryOf = (
  connect: Effect.Effect<SqliteConnection, SqlError, Scope.Scope>,
  waits: boolean
): ConnectionFactory.ConnectionFactory<SqliteConnection, SqlError> =>
  ConnectionFactory.make<SqliteConnection, SqlError>({
    connect: Effect.flatMap(ConnectionFactory.Statements, (statements) =>
      Effect.map(connect, (connection) => {
        if (statements instanceof Recording) handleOf(connection).recorder.follow(statements.recorder)
        return connection
      })),
    isAlive: (connection) => handleOf(connection).isUsable,
    needsReset: (connection) => handleOf(connection).needsReset,
    isInTransaction: (connection) => handleOf(connection).isTransaction("lease"),
    reset: (connection) => Open.reset(handleOf(connection)),
    beginLease: (connection, pool) => new Leased(handleOf(connection), waits, pool),
    endLease: (lent) => (lent as Leased).expire(),
    // There is no network that can break, so a failure says nothing about the connection.
    judge: () => "healthy",
    isTransient: (error) => isLock(codeOf(error))
  })

/**
 * Opens a connection for checked options. `isFirst` says that no other connection of this process has the file open.
 */
export const openWith = (
  settings: Settings,
  isFirst = true
): Effect.Effect<SqliteConnection, SqlError, Scope.Scope> =>
  Effect.map(Open.open(settings, isFirst), (handle) => new Leased(handle, false, undefined))

/** Opens a connection without a pool. A failure to close it is logged, because no pool reports it. */
export const openStandalone = (settings: Settings): Effect.Effect<SqliteConnection, SqlError, Scope.Scope> =>
  Effect.map(Open.open(settings, true, Open.closeAndLog), (handle) => new Leased(handle, false, undefined))
