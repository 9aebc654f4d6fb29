/**
 * The statements that begin and end transactions in SQLite, on the connections of this process. Those of a connection in a
 * thread are in `workerDialect.ts`.
 */
import { type Context, Effect, type Fiber } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { withFiber, within } from "../../../internal/runtime.ts"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { Mode } from "../../../Transaction.ts"
import type { Dialect, OptionProblem } from "../../../Transactor.ts"
import { type Census, newViolations } from "../connection/foreignKeys.ts"
import type { Handle } from "../connection/handle.ts"
import { handleOf, reasonOf } from "../connection/leased.ts"
import * as Refusal from "../connection/refusal.ts"
import { type BusyTimeout, mayStartLater, retryWhileLocked } from "../connection/retryWhileLocked.ts"
import type { Session } from "../connection/session.ts"
import { begin, type Beginning, end, savepointAt } from "../connection/transactions.ts"
import type { SqliteConnection as Connection } from "../contract/connection.ts"
import type { Isolation } from "../contract/transaction.ts"
import { failure } from "../errors.ts"
import type { BulkCommit } from "../file/bulkCommit.ts"
import { isolationOf } from "../sql/isolation.ts"
import { WorkerLeased } from "../worker/workerConnection.ts"
import { type OwnOptions, violated } from "./foreignKeys.ts"
import * as Worker from "./workerDialect.ts"

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
): Dialect<Connection | WorkerLeased, Isolation, OwnOptions> => {
  const ofWorker = Worker.make({ busyTimeout, look, name })
  const beginningOf = (
    fiber: Fiber.Fiber<unknown, unknown>,
    mode: Mode,
    statement: string | undefined,
    { foreignKeys }: OwnOptions
  ): Beginning => ({
    isolation: mode.isolation,
    isReadOnly: mode.readOnly || isReadOnly,
    why: fiber.getRef(isSnapshot) ? Refusal.ofSnapshot : Refusal.ofTransaction,
    isOfDatabase: isReadOnly,
    statement,
    foreignKeys
  })
  return {
    isolations: ["immediate", "deferred", "exclusive"],
    readOnlyIsolations: ["deferred"],
    modeOf: (statement) => ({ isolation: isolationOf(statement), readOnly: false }),
    begin: (connection, mode, statement, restore, own) =>
      withFiber((fiber) => {
        const beginning = beginningOf(fiber, mode, statement, own)
        if (connection instanceof WorkerLeased) return ofWorker.begin(connection, beginning, restore)
        const begun = retryWhileLocked(
          inOneStep(connection, "begin", (handle) => {
            const before = begin(handle, beginning)
            if (before !== undefined) found.set(connection, before)
          }),
          busyTimeout.millis,
          { isWorthwhile: mayStartLater, restore }
        )
        return within(begun, fiber)
      }),
    commit: (connection) => {
      if (connection instanceof WorkerLeased) return ofWorker.commit(connection)
      const committed = retryWhileLocked(
        inOneStep(connection, "commit", (handle) => {
          if (look !== undefined && !handle.settings.isReadOnly) {
            look()
            // Throws if the look has ended the lease.
            handleOf(connection, "commit")
          }
          const before = found.get(connection)
          if (before !== undefined) {
            // In the same step as the commit, so nothing is written between the two.
            const error = violated(newViolations(handle, before), name)
            if (error !== undefined) throw error
          }
          end(handle, "commit")
        }),
        busyTimeout.millis
      )
      return bulk === undefined ? committed : aroundBulk(connection, committed, bulk)
    },
    rollback: (connection) =>
      connection instanceof WorkerLeased
        ? ofWorker.rollback(connection)
        : inOneStep(connection, "rollback", (handle) => end(handle, "rollback")),
    savepoint: (connection, depth) =>
      connection instanceof WorkerLeased
        ? ofWorker.savepoint(connection, depth)
        : run(connection, "savepoint", `savepoint ${savepointAt(depth)}`),
    release: (connection, depth) =>
      connection instanceof WorkerLeased
        ? ofWorker.release(connection, depth)
        : run(connection, "release", `release ${savepointAt(depth)}`),
    rollbackTo: (connection, depth) =>
      connection instanceof WorkerLeased
        ? ofWorker.rollbackTo(connection, depth)
        : run(connection, "rollback", `rollback to ${savepointAt(depth)}`),
    isTransaction: (connection) => {
      if (connection instanceof WorkerLeased) return ofWorker.isTransaction(connection)
      try {
        return connection.isTransactionUnsafe()
      } catch {
        // A shutdown has taken the connection back, which has ended the transaction.
        return false
      }
    },
    reasonOfLoss: (connection) =>
      connection instanceof WorkerLeased ? ofWorker.reasonOfLoss(connection) : reasonOf(connection),
    commitOutcome: Worker.outcomeOf,
    own: {
      fields: ["foreignKeys"],
      check: (own, mode, outer) => problemsOf(own, isReadOnly ? { ...mode, readOnly: true } : mode, outer)
    }
  }
}

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
