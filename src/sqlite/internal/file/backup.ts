/** Backups: copies of a database that is in use. */
import { Effect, Queue, type Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { renameSync } from "node:fs"
import { show } from "../../../internal/options/rules.ts"
import { LeaseExpiredError, type PoolError } from "../../../PoolError.ts"
import { BackupError } from "../../SqlitePoolError.ts"
import { handleOf, pinOf } from "../connection/leased.ts"
import { retryWhileLocked } from "../connection/retryWhileLocked.ts"
import type { BackupProgress } from "../contract/backup.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import { failure } from "../errors.ts"
import { resolveBackup } from "../options/pool.ts"
import * as Target from "./backupTarget.ts"
import * as Progress from "./progress.ts"
import type { Sides } from "./sides.ts"

type Failure = BackupError | SqlError | LeaseExpiredError | PoolError<SqlError>

/**
 * Copies the present state of the database to a file. Holds one reader until the copy has ended, and pins the state,
 * because SQLite would start the copy again after a change (https://sqlite.org/backup.html). An incomplete copy has
 * another name.
 */
export const backup = (
  sides: Sides,
  filename: unknown,
  options: unknown
): Stream.Stream<BackupProgress, Failure> =>
  Progress.stream<BackupProgress, Failure, never>(
    sides.readers.name,
    (queue) => copyTo(sides, filename, options, queue),
    16
  )

const copyTo = Effect.fnUntraced(function*(
  sides: Sides,
  filename: unknown,
  options: unknown,
  queue: Progress.Reports<BackupProgress, Failure>
): Effect.fn.Return<void, Failure> {
  const fail = (target: string) => (cause: unknown) => new BackupError({ pool: sides.settings.name, target, cause })
  const { filename: database, isMemory } = sides.settings.connection
  const own = isMemory ? undefined : database
  const named = fail(typeof filename === "string" ? filename : show(filename))
  const pagesAtATime = yield* Effect.fromResult(resolveBackup(sides.settings.name, options))
  const target = yield* Effect.try({ try: () => Target.targetOf(filename, own), catch: named })
  const failed = fail(target)
  const left = yield* Effect.try({ try: () => Target.removeLeftovers(target), catch: failed })
  if (left.length > 0) {
    yield* Effect.annotateLogs(
      Effect.logWarning(`an earlier backup has left incomplete copies, delete them: ${left.join(", ")}`),
      "pool",
      sides.settings.name
    )
  }
  const copy = (connection: SqliteConnection) => {
    const pin = sides.file === undefined ? undefined : pinOf(connection)
    if (pin !== undefined) pin.isExempt = true
    return Effect.acquireUseRelease(
      Effect.sync(() => Target.newPartial(target)),
      (partial) =>
        fixState(connection, sides.settings.connection.busyTimeout).pipe(
          Effect.andThen(write(connection, partial, pagesAtATime, queue, failed)),
          Effect.andThen(Effect.try({
            try: () => {
              // Another process may have opened a database at the target meanwhile.
              Target.refuse(target, own)
              // In one step, so that an incomplete copy never has this name.
              renameSync(partial, target)
            },
            catch: failed
          }))
        ),
      // If it cannot be removed now, the next backup removes it, or names it in the log.
      (partial) =>
        Effect.andThen(
          Effect.ignore(Effect.try(() => Target.forgetPartial(partial))),
          Effect.sync(() => release(connection))
        )
    )
  }
  if (sides.file !== undefined) yield* sides.file.gate.await
  yield* sides.readers.use(copy, { label: "backup" })
})

/** Begins a transaction and reads in it, because SQLite pins the state only at the first read. */
const fixState = (
  connection: SqliteConnection,
  busyTimeout: number
): Effect.Effect<void, SqlError | LeaseExpiredError> => {
  const once = Effect.try({
    try: () => {
      connection.execUnsafe("begin")
      try {
        connection.valuesUnsafe("pragma schema_version")
      } catch (thrown) {
        connection.execUnsafe("rollback")
        throw thrown
      }
    },
    catch: failure
  })
  return retryWhileLocked(once, busyTimeout)
}

/** Ends the transaction, unless a shutdown has ended the lease and rolled it back. */
const release = (connection: SqliteConnection): void => {
  try {
    connection.execUnsafe("rollback")
  } catch {
    // The pool resets the connection.
  }
}

/** Writes the copy. An interrupt waits for the present step, because another thread works on the connection. */
const write = (
  connection: SqliteConnection,
  partial: string,
  pagesAtATime: number,
  queue: Progress.Reports<BackupProgress, Failure>,
  failed: (cause: unknown) => BackupError
): Effect.Effect<void, BackupError | LeaseExpiredError> =>
  Effect.callback<void, BackupError | LeaseExpiredError>((resume) => {
    let isStopped = false
    const tell = (totalPages: number, remainingPages: number) =>
      Queue.offerUnsafe(queue, { totalPages, remainingPages })
    const onProgress = ({ remainingPages, totalPages }: BackupProgress) => {
      if (isStopped) throw new Error("the backup was interrupted")
      // Throws if the lease was ended, because the file was moved or replaced.
      handleOf(connection, "backup")
      tell(totalPages, remainingPages)
    }
    const onFailure = (cause: unknown) =>
      resume(Effect.fail(cause instanceof LeaseExpiredError ? cause : failed(cause)))
    const onSuccess = (totalPages: number) => {
      tell(totalPages, 0)
      resume(Effect.void)
    }
    let ended: Promise<void>
    try {
      ended = handleOf(connection, "backup").backup(partial, pagesAtATime, onProgress)
        .then(onSuccess, onFailure)
    } catch (thrown) {
      return onFailure(thrown)
    }
    return Effect.suspend(() => {
      isStopped = true
      return Effect.promise(() => ended)
    })
  })
