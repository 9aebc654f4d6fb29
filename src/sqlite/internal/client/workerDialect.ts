/**
 * The statements that begin and end transactions, on a connection in a thread.
 *
 * The thread carries out its requests in order. So nobody has to wait until something is undone: what follows finds it undone.
 */
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { Violations } from "../connection/foreignKeys.ts"
import { type BusyTimeout, mayStartLater, retryWhileLocked } from "../connection/retryWhileLocked.ts"
import type { Beginning } from "../connection/transactions.ts"
import type { Controls } from "../worker/protocol.ts"
import { isOutcomeUnknown } from "../worker/request.ts"
import { nobody, type WorkerLeased } from "../worker/workerConnection.ts"
import { violated } from "./foreignKeys.ts"

export interface Settings {
  /** The name of the database in errors. */
  readonly name: string
  readonly busyTimeout: BusyTimeout
  /** Looks at the file before a commit. Ends the leases if the file was moved or replaced. */
  readonly look: (() => void) | undefined
}

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export const make = ({ busyTimeout, look, name }: Settings) => ({
  begin: (connection: WorkerLeased, beginning: Beginning, restore: Restore): Effect.Effect<void, SqlError> => {
    if (beginning.isReadOnly) reading.add(connection)
    connection.mayStore = false
    return retryWhileLocked(run(connection, "begin", "begin", [beginning]), busyTimeout.millis, {
      isWorthwhile: mayStartLater,
      restore
    })
  },
  commit: (connection: WorkerLeased): Effect.Effect<void, SqlError> =>
    // There is nothing to commit, and so nothing that could be unknown if the thread ends now.
    reading.has(connection)
      ? run(connection, "commit", "rollback", [])
      : retryWhileLocked(
        Effect.suspend(() => {
          look?.()
          return Effect.flatMap(ask(connection, "commit", "commit", []), (found) => {
            const error = found === undefined ? undefined : violated(found as Violations, name)
            return error === undefined ? Effect.void : Effect.fail(error)
          })
        }),
        busyTimeout.millis
      ),
  // A statement may still run there that nobody can stop. The pool waits for its end, and then resets the connection. It
  // does that also where the lease ends first, and so ends the transaction.
  rollback: (connection: WorkerLeased): Effect.Effect<void, SqlError> =>
    Effect.suspend(() =>
      connection.hasEnded || isBusy(connection)
        ? Effect.void
        : Effect.catch(
          run(connection, "rollback", "rollback", []),
          (error) => connection.hasEnded ? Effect.void : Effect.fail(error)
        )
    ),
  savepoint: (connection: WorkerLeased, depth: number): Effect.Effect<void, SqlError> =>
    run(connection, "savepoint", "savepoint", ["savepoint", depth]),
  release: (connection: WorkerLeased, depth: number): Effect.Effect<void, SqlError> =>
    Effect.suspend(() =>
      undone.delete(connection) ? Effect.void : run(connection, "release", "savepoint", ["release", depth])
    ),
  rollbackTo: (connection: WorkerLeased, depth: number): Effect.Effect<void, SqlError> =>
    Effect.suspend(() => {
      const undoing = isBusy(connection)
        ? Effect.sync(() => post(connection, depth))
        : run(connection, "rollback", "undo", [depth])
      return Effect.tap(undoing, Effect.sync(() => void undone.add(connection)))
    }),
  isTransaction: (connection: WorkerLeased): boolean =>
    !connection.hasEnded && connection.thread.host.state.isTransaction,
  reasonOfLoss: (connection: WorkerLeased): string | undefined =>
    connection.reason ?? connection.thread.host.death?.message
})

/** The leases whose transaction only reads. */
const reading = new WeakSet<WorkerLeased>()

/** The leases whose savepoint is undone and ended already, so that its `release` has nothing left to do. */
const undone = new WeakSet<WorkerLeased>()

/** Whether the thread still works for this connection. */
const isBusy = ({ thread: { host } }: WorkerLeased): boolean => host.isUnfinished

/** Undoes a savepoint behind what runs now. If that fails, the thread undoes the transaction, which is lost then. */
const post = ({ thread: { host } }: WorkerLeased, depth: number): void => {
  host.control("undo", [depth], nobody)
}

const run = <Name extends keyof Controls>(
  connection: WorkerLeased,
  operation: string,
  name: Name,
  params: Parameters<Controls[Name]>
): Effect.Effect<void, SqlError> => Effect.asVoid(ask(connection, operation, name, params))

const ask = <Name extends keyof Controls>(
  connection: WorkerLeased,
  operation: string,
  name: Name,
  params: Parameters<Controls[Name]>
): Effect.Effect<unknown, SqlError> => Effect.mapError(connection.control(operation, name, () => params), sqlErrorOf)

/** What became of a transaction whose commit failed with this error. */
export const outcomeOf = (error: SqlError): "rolled back" | "unknown" =>
  isOutcomeUnknown(error) ? "unknown" : "rolled back"
