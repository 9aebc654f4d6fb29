/** How SQLite spells transactions. */
import { type Context, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { toSqlError } from "../../internal/transaction.ts"
import type { Dialect, Mode } from "../../Transaction.ts"
import * as SqliteConnection from "../SqliteConnection.ts"
import type { Handle } from "./handle.ts"
import { mayStartLater, retryWhileLocked } from "./locks.ts"
import type { LockTimeout } from "./lockTimeout.ts"
import * as Refusal from "./refusal.ts"
import { refused } from "./sqlError.ts"

/**
 * `immediate`, the default, takes the right to write at once, so that nothing that was read in the transaction can be out
 * of date when it writes. `deferred` takes it with the first write, and loses it if another has written since the first
 * read. `exclusive` keeps readers out as well, but not in WAL mode.
 */
export type Isolation = "immediate" | "deferred" | "exclusive"

type Connection = SqliteConnection.SqliteConnection

/** With `isReadOnly`, every transaction only reads. `isSnapshot` says whether one that only reads is called a snapshot. */
export const make = (
  timeout: LockTimeout,
  isSnapshot: Context.Reference<boolean>,
  isReadOnly = false
): Dialect<Connection, Isolation> => ({
  isolations: ["immediate", "deferred", "exclusive"],
  readOnlyIsolations: ["deferred"],
  modeOf: (statement) => ({ isolation: isolationOf(statement), readOnly: false }),
  begin: (connection, mode, statement, restore) =>
    Effect.withFiber((fiber) => {
      const why = fiber.getRef(isSnapshot) ? Refusal.ofSnapshot : Refusal.ofTransaction
      return retryWhileLocked(
        attempt(connection, "begin", (handle) => begin(handle, mode, statement, isReadOnly, why)),
        timeout.millis,
        { isWorthwhile: mayStartLater, restore }
      )
    }),
  commit: (connection) =>
    retryWhileLocked(attempt(connection, "commit", (handle) => end(handle, "commit")), timeout.millis),
  rollback: (connection) => attempt(connection, "rollback", (handle) => end(handle, "rollback")),
  savepoint: (connection, depth) => run(connection, "savepoint", `savepoint ${nameAt(depth)}`),
  release: (connection, depth) => run(connection, "release", `release ${nameAt(depth)}`),
  rollbackTo: (connection, depth) => run(connection, "rollback", `rollback to ${nameAt(depth)}`),
  isTransaction: (connection) => {
    try {
      return connection.isTransactionUnsafe()
    } catch {
      // Taken away, by a shutdown: what was open on it has ended.
      return false
    }
  },
  reasonOfLoss: SqliteConnection.reasonOf
})

const begin = (
  handle: Handle,
  mode: Mode,
  statement: string | undefined,
  isReadOnly: boolean,
  why: string
): void => {
  if (statement !== undefined) {
    handle.run("begin", statement, undefined, false)
    if (handle.isTransaction("begin")) return
    throw refused("begin", `begin: ${JSON.stringify(statement)} begins no transaction`)
  }
  // Where nothing can be written, it is not this transaction that stands in the way.
  if (isReadOnly && handle.settings.isReadOnly) return beginReadOnly(handle, undefined)
  if (mode.readOnly || isReadOnly) return beginReadOnly(handle, why)
  handle.begin(mode.isolation)
}

/** SQLite decides what a transaction sees with its first look at the file; that is now. */
const beginReadOnly = (handle: Handle, why: string | undefined): void => {
  handle.run("begin", "begin", undefined, false)
  try {
    handle.rows("begin", "pragma schema_version", undefined, true, false)
    handle.restrict("begin", why)
  } catch (thrown) {
    handle.rollback("begin")
    throw thrown
  }
}

/** The isolation that a statement asks for, as SQLite reads it. */
const isolationOf = (statement: string): Isolation => {
  const [, word] = /^\s*begin\s+(immediate|exclusive)\b/i.exec(statement) ?? []
  return (word?.toLowerCase() as Isolation | undefined) ?? "deferred"
}

/** Ends the transaction, if SQLite does; and what a fiber still reads in it, which would hold on to what it sees. */
const end = (handle: Handle, statement: "commit" | "rollback"): void => {
  handle.closeCursors()
  handle.restrict(statement, undefined)
  handle.run(statement, statement, undefined, false)
}

const run = (connection: Connection, operation: string, sql: string): Effect.Effect<void, SqlError> =>
  attempt(connection, operation, (handle) => handle.run(operation, sql, undefined, false))

const attempt = (
  connection: Connection,
  operation: string,
  f: (handle: Handle) => unknown
): Effect.Effect<void, SqlError> =>
  Effect.suspend(() => {
    try {
      f(SqliteConnection.handleOf(connection, operation))
      return Effect.void
    } catch (thrown) {
      return Effect.fail(toSqlError(SqliteConnection.failure(thrown)))
    }
  })

const nameAt = (depth: number): string => `effect_pool_${depth}`
