/** The statements that begin and end transactions in SQLite: https://sqlite.org/lang_transaction.html. */
import { type Context, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { withFiber, within } from "../../../internal/runtime.ts"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { Mode } from "../../../Transaction.ts"
import type { Dialect, OptionProblem } from "../../../Transactor.ts"
import type { Handle } from "../connection/handle.ts"
import { handleOf, reasonOf } from "../connection/leased.ts"
import * as Refusal from "../connection/refusal.ts"
import { type BusyTimeout, mayStartLater, retryWhileLocked } from "../connection/retryWhileLocked.ts"
import type { Session } from "../connection/session.ts"
import type { SqliteConnection as Connection } from "../contract/connection.ts"
import type { Isolation } from "../contract/transaction.ts"
import { failure } from "../errors.ts"
import { invalidInput, readOnlyRefusal } from "../failures.ts"
import type { BulkCommit } from "../file/bulkCommit.ts"
import { isolationOf } from "../sql/isolation.ts"
import { type Census, census, type OwnOptions, refuseNew } from "./foreignKeys.ts"

export interface Settings {
  /** The name of the database in errors. */
  readonly name: string
  readonly busyTimeout: BusyTimeout
  /** Whether a transaction that only reads is called a snapshot. */
  readonly isSnapshot: Context.Reference<boolean>
  /** Whether every transaction only reads. */
  readonly isReadOnly?: boolean | undefined
  /**
   * Looks at the file before a transaction that may write commits. Ends the leases if the file was moved or replaced.
   */
  readonly look?: (() => void) | undefined
  /** The work around the commit of a long transaction. Not set for a database in memory. */
  readonly bulk?: BulkCommit | undefined
}

export const make = (
  { bulk, busyTimeout, isReadOnly = false, isSnapshot, look, name }: Settings
): Dialect<Connection, Isolation, OwnOptions> => ({
  isolations: ["immediate", "deferred", "exclusive"],
  readOnlyIsolations: ["deferred"],
  modeOf: (statement) => ({ isolation: isolationOf(statement), readOnly: false }),
  begin: (connection, mode, statement, restore, own) =>
    withFiber((fiber) => {
      const why = fiber.getRef(isSnapshot) ? Refusal.ofSnapshot : Refusal.ofTransaction
      const begun = retryWhileLocked(
        inOneStep(connection, "begin", (handle) => {
          const before = beginWith(handle, own, () => begin(handle, mode, statement, isReadOnly, why))
          if (before !== undefined) found.set(connection, before)
        }),
        busyTimeout.millis,
        { isWorthwhile: mayStartLater, restore }
      )
      return within(begun, fiber)
    }),
  commit: (connection) => {
    const committed = retryWhileLocked(
      inOneStep(connection, "commit", (handle) => {
        if (look !== undefined && !handle.settings.isReadOnly) {
          look()
          // Throws if the look has ended the lease.
          handleOf(connection, "commit")
        }
        const before = found.get(connection)
        // In the same step as the commit, so nothing is written between the two.
        if (before !== undefined) refuseNew(handle, before, name)
        end(handle, "commit")
      }),
      busyTimeout.millis
    )
    return bulk === undefined ? committed : aroundBulk(connection, committed, bulk)
  },
  rollback: (connection) => inOneStep(connection, "rollback", (handle) => end(handle, "rollback")),
  savepoint: (connection, depth) => run(connection, "savepoint", `savepoint ${nameAt(depth)}`),
  release: (connection, depth) => run(connection, "release", `release ${nameAt(depth)}`),
  rollbackTo: (connection, depth) => run(connection, "rollback", `rollback to ${nameAt(depth)}`),
  isTransaction: (connection) => {
    try {
      return connection.isTransactionUnsafe()
    } catch {
      // A shutdown has taken the connection back, which has ended the transaction.
      return false
    }
  },
  reasonOfLoss: reasonOf,
  own: {
    fields: ["foreignKeys"],
    check: (own, mode, outer) => problemsOf(own, isReadOnly ? { ...mode, readOnly: true } : mode, outer)
  }
})

/** The violations before a transaction with foreign keys off, by the lease of the transaction. */
const found = new WeakMap<Connection, Census>()

const problemsOf = (
  { foreignKeys }: OwnOptions,
  { readOnly }: Mode,
  outer: OwnOptions | undefined
): ReadonlyArray<OptionProblem> => {
  if (foreignKeys === undefined) return []
  const problem = (mustBe: string) => [{ field: "foreignKeys", value: foreignKeys, mustBe }]
  if (foreignKeys !== "off" && foreignKeys !== "deferred") return problem("\"off\" or \"deferred\"")
  if (readOnly) return problem("left out where readOnly is true: nothing is written there")
  if (outer !== undefined && outer.foreignKeys !== foreignKeys) {
    return problem(
      "given to the outermost transaction: within one, SQLite does not change how foreign keys are enforced"
    )
  }
  return []
}

/** Begins a transaction with its own setting of foreign keys. Returns the violations that exist, if they are off. */
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
    handle.session.resumeForeignKeys()
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
    throw invalidInput("begin", `begin: ${JSON.stringify(statement)} begins no transaction`)
  }
  // If the connection only reads, the error for a write should not name the transaction as the cause.
  if (isReadOnly && handle.settings.isReadOnly) return beginReadOnly(handle, undefined)
  if (mode.readOnly || isReadOnly) return beginReadOnly(handle, why)
  const sql = begins.get(mode.isolation)!
  // SQLite would begin a transaction that cannot write.
  if (handle.settings.isReadOnly) {
    throw readOnlyRefusal("begin", sql, handle.settings.refusal ?? Refusal.ofConnection)
  }
  handle.run("begin", sql, undefined, false)
}

/** The statements that begin transactions. A text that is made anew has to be hashed to find its prepared statement. */
const begins: ReadonlyMap<string, string> = new Map(
  ["immediate", "deferred", "exclusive"].map((isolation) => [isolation, `begin ${isolation}`])
)

/** Begins a transaction that only reads. SQLite fixes what it sees at the first read, so this reads at once. */
const beginReadOnly = (handle: Handle, why: string | undefined): void => {
  handle.run("begin", "begin", undefined, false)
  try {
    handle.rows("begin", "pragma schema_version", undefined, true, false)
    // The read says nothing to those who look at the holders.
    handle.recorder.named("begin")
    handle.restrict("begin", why)
  } catch (thrown) {
    handle.rollback("begin")
    throw thrown
  }
}

/** Commits. If the transaction has changed many rows, other threads do the work before and after it. */
const aroundBulk = (
  connection: Connection,
  committed: Effect.Effect<void, SqlError>,
  { after, before }: BulkCommit
): Effect.Effect<void, SqlError> => {
  const session = sessionOf(connection)
  if (session === undefined || !session.bulk.isOn) return committed
  return before.pipe(
    Effect.andThen(committed),
    Effect.tap(Effect.suspend(() => after(session.bulk))),
    Effect.ensuring(Effect.sync(() => session.endBulk()))
  )
}

const sessionOf = (connection: Connection): Session | undefined => {
  try {
    return handleOf(connection, "commit").session
  } catch {
    // The commit fails with the reason.
    return undefined
  }
}

/** Ends the transaction, after the streams that still read in it: they would pin its state. */
const end = (handle: Handle, statement: "commit" | "rollback"): void => {
  handle.closeCursors()
  handle.restrict(statement, undefined)
  handle.run(statement, statement, undefined, false)
  handle.session.resumeForeignKeys()
  if (statement === "rollback") handle.session.endBulk()
}

const run = (connection: Connection, operation: string, sql: string): Effect.Effect<void, SqlError> =>
  inOneStep(connection, operation, (handle) => handle.run(operation, sql, undefined, false))

const inOneStep = (
  connection: Connection,
  operation: string,
  f: (handle: Handle) => unknown
): Effect.Effect<void, SqlError> =>
  withFiber(() => {
    try {
      f(handleOf(connection, operation))
      return Effect.void
    } catch (thrown) {
      return Effect.fail(sqlErrorOf(failure(thrown)))
    }
  })

const nameAt = (depth: number): string => `effect_pool_${depth}`
