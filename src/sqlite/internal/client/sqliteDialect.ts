/** How SQLite spells transactions. */
import { type Context, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { LockTimeout } from "../../../sqlite-node/internal/busyTimeoutPragma.ts"
import type { Mode } from "../../../Transaction.ts"
import type { Dialect, OptionProblem } from "../../../Transactor.ts"
import * as SqliteConnection from "../../SqliteConnection.ts"
import { refused } from "../connection/errors.ts"
import type { Handle } from "../connection/handle.ts"
import * as Refusal from "../connection/refusal.ts"
import { mayStartLater, retryWhileLocked } from "../connection/retryWhileLocked.ts"
import { type Census, census, type OwnOptions, refuseNew } from "./foreignKeys.ts"

/**
 * `immediate`, the default, takes the right to write at once, so that nothing that was read in the transaction can be out
 * of date when it writes. `deferred` takes it with the first write, and loses it if another has written since the first
 * read. `exclusive` keeps readers out as well, but not in WAL mode.
 */
export type Isolation = "immediate" | "deferred" | "exclusive"

type Connection = SqliteConnection.SqliteConnection

export interface Settings {
  /** What the database is called. */
  readonly name: string
  readonly timeout: LockTimeout
  /** Whether a transaction that only reads is called a snapshot. */
  readonly isSnapshot: Context.Reference<boolean>
  /** Whether every transaction only reads. */
  readonly isReadOnly?: boolean | undefined
}

export const make = (
  { isReadOnly = false, isSnapshot, name, timeout }: Settings
): Dialect<Connection, Isolation, OwnOptions> => ({
  isolations: ["immediate", "deferred", "exclusive"],
  readOnlyIsolations: ["deferred"],
  modeOf: (statement) => ({ isolation: isolationOf(statement), readOnly: false }),
  begin: (connection, mode, statement, restore, own) =>
    Effect.withFiber((fiber) => {
      const why = fiber.getRef(isSnapshot) ? Refusal.ofSnapshot : Refusal.ofTransaction
      return retryWhileLocked(
        attempt(connection, "begin", (handle) => {
          const before = beginWith(handle, own, () => begin(handle, mode, statement, isReadOnly, why))
          if (before !== undefined) found.set(connection, before)
        }),
        timeout.millis,
        { isWorthwhile: mayStartLater, restore }
      )
    }),
  commit: (connection) =>
    retryWhileLocked(
      attempt(connection, "commit", (handle) => {
        const before = found.get(connection)
        // In the same step: nothing that is written later gets past it.
        if (before !== undefined) refuseNew(handle, before, name)
        end(handle, "commit")
      }),
      timeout.millis
    ),
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
  reasonOfLoss: SqliteConnection.reasonOf,
  own: { fields: ["foreignKeys"], check: problemOf }
})

/** What violated foreign keys before a transaction in which they are off; by the lease that it has. */
const found = new WeakMap<Connection, Census>()

const problemOf = (
  { foreignKeys }: OwnOptions,
  { readOnly }: Mode,
  outer: OwnOptions | undefined
): OptionProblem | undefined => {
  if (foreignKeys === undefined) return undefined
  const problem = (mustBe: string) => ({ field: "foreignKeys", value: foreignKeys, mustBe })
  if (foreignKeys !== "off" && foreignKeys !== "deferred") return problem("\"off\" or \"deferred\"")
  if (readOnly) return problem("left out where readOnly is true: nothing is written there")
  if (outer !== undefined && outer.foreignKeys !== foreignKeys) {
    return problem(
      "given to the outermost transaction: within one, SQLite does not change how foreign keys are enforced"
    )
  }
  return undefined
}

/** Begins a transaction with its own way to treat foreign keys. Gives what violates them if they are off. */
const beginWith = (handle: Handle, { foreignKeys }: OwnOptions, begin: () => void): Census | undefined => {
  if (foreignKeys === undefined) {
    begin()
    return undefined
  }
  try {
    if (foreignKeys === "off") handle.suspendForeignKeys("begin")
    begin()
    if (foreignKeys === "off") return census(handle)
    handle.deferForeignKeys("begin")
    return undefined
  } catch (thrown) {
    handle.rollback("begin")
    handle.resumeForeignKeys()
    throw thrown
  }
}

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
  handle.resumeForeignKeys()
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
      return Effect.fail(sqlErrorOf(SqliteConnection.failure(thrown)))
    }
  })

const nameAt = (depth: number): string => `effect_pool_${depth}`
