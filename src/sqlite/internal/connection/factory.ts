/** The factory that gives a pool its connections to SQLite. */
import { Effect, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as ConnectionFactory from "../../../ConnectionFactory.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import { codeOf, isLock } from "../errors.ts"
import type { Settings } from "../options/connection.ts"
import { handleOf, Leased } from "./leased.ts"
import * as Open from "./open.ts"

/**
 * A factory over a way to open connections. With `waits`, a statement outside a transaction that meets the lock of
 * another process is tried again for `busyTimeout`; for those that throw there is no waiting.
 */
export const factoryOf = (
  connect: Effect.Effect<SqliteConnection, SqlError, Scope.Scope>,
  waits: boolean
): ConnectionFactory.ConnectionFactory<SqliteConnection, SqlError> =>
  ConnectionFactory.make<SqliteConnection, SqlError>({
    connect,
    isAlive: (connection) => handleOf(connection).isUsable,
    needsReset: (connection) => handleOf(connection).needsReset,
    isInTransaction: (connection) => handleOf(connection).isTransaction("lease"),
    reset: (connection) => Open.reset(handleOf(connection)),
    beginLease: (connection, pool) => new Leased(handleOf(connection), waits, pool),
    endLease: (lent) => (lent as Leased).expire(),
    // There is no network to lose: what a statement fails with says nothing about its connection.
    judge: () => "healthy",
    isTransient: (error) => isLock(codeOf(error))
  })

/**
 * `open` with options that were checked. `isFirst` is whether no other connection of this process is known to have the file open.
 */
export const openWith = (
  settings: Settings,
  isFirst = true
): Effect.Effect<SqliteConnection, SqlError, Scope.Scope> =>
  Effect.map(Open.open(settings, isFirst), (handle) => new Leased(handle, false, undefined))

/** Opens a connection that no pool has: a failure to close it is logged, for there is no pool to report it. */
export const openStandalone = (settings: Settings): Effect.Effect<SqliteConnection, SqlError, Scope.Scope> =>
  Effect.map(Open.open(settings, true, Open.closeAndLog), (handle) => new Leased(handle, false, undefined))
