/** A copy of a database while it is in use. */
import { type Cause, Effect, Queue, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { randomUUID } from "node:crypto"
import { existsSync, renameSync, rmSync, statSync } from "node:fs"
import { resolve } from "node:path"
import type { LeaseExpiredError, PoolError } from "../../PoolError.ts"
import * as SqliteConnection from "../SqliteConnection.ts"
import { BackupError } from "../SqlitePoolError.ts"
import type { BackupProgress } from "./handle.ts"
import { retryWhileLocked } from "./locks.ts"
import type { TwoPools } from "./twoPools.ts"

type Failure = BackupError | SqlError | LeaseExpiredError | PoolError<SqlError>

/**
 * Copies the state of this moment. The connection is the copy's alone until it has ended, and holds on to that state: if
 * it changed, SQLite would begin anew. What is not complete has another name.
 */
export const backup = (
  pools: TwoPools,
  filename: string,
  pagesAtATime: number
): Stream.Stream<BackupProgress, Failure> =>
  Stream.callback<BackupProgress, Failure>((queue) => {
    const target = resolve(filename)
    const fail = (cause: unknown) => new BackupError({ pool: pools.settings.name, target, cause })
    const partial = `${target}.${randomUUID()}.partial`
    const copy = (connection: SqliteConnection.SqliteConnection) => {
      const reading = pools.file?.ages.get(connection)
      if (reading !== undefined) reading.isExempt = true
      const copied = Effect.andThen(
        write(connection, partial, pagesAtATime, queue, fail),
        // All at once, so that nobody ever finds half of it.
        Effect.try({ try: () => renameSync(partial, target), catch: fail })
      )
      return Effect.andThen(pin(connection, pools.settings.connection.busyTimeout), copied)
    }
    const remove = Effect.sync(() => rmSync(partial, { force: true }))
    const refusal = refuse(pools, target)
    if (refusal !== undefined) return Effect.fail(fail(new Error(refusal)))
    return pools.readers.use(copy, { label: "backup" }).pipe(
      Effect.ensuring(remove),
      Effect.andThen(Queue.end(queue))
    )
  }, { bufferSize: 16, strategy: "sliding" })

/** Begins a transaction, and has SQLite decide which state it sees: by itself that would be at the first read. */
const pin = (
  connection: SqliteConnection.SqliteConnection,
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
    catch: SqliteConnection.failure
  })
  return retryWhileLocked(once, busyTimeout)
}

/** An interrupt stops the copy after its next step, and waits for that: another thread works on the connection. */
const write = (
  connection: SqliteConnection.SqliteConnection,
  partial: string,
  pagesAtATime: number,
  queue: Queue.Enqueue<BackupProgress, Failure | Cause.Done>,
  fail: (cause: unknown) => BackupError
): Effect.Effect<void, BackupError> =>
  Effect.callback<void, BackupError>((resume) => {
    let isStopped = false
    const ended = new Promise<void>((resolve) => {
      const onProgress = (progress: BackupProgress) => {
        if (isStopped) throw new Error("the backup was interrupted")
        Queue.offerUnsafe(queue, { totalPages: progress.totalPages, remainingPages: progress.remainingPages })
      }
      SqliteConnection.handleOf(connection).backup(partial, pagesAtATime, onProgress).then(
        (totalPages) => {
          Queue.offerUnsafe(queue, { totalPages, remainingPages: 0 })
          resume(Effect.void)
        },
        (cause: unknown) => resume(Effect.fail(fail(cause)))
      ).finally(resolve)
    })
    return Effect.suspend(() => {
      isStopped = true
      return Effect.promise(() => ended)
    })
  })

/** Why there is no writing to that place, if there is none: it would destroy a database that somebody has open. */
const refuse = (pools: TwoPools, target: string): string | undefined => {
  const own = statSync(pools.settings.connection.filename, { throwIfNoEntry: false })
  const found = statSync(target, { throwIfNoEntry: false })
  if (found !== undefined && own !== undefined && found.ino === own.ino && found.dev === own.dev) {
    return "that is the database itself"
  }
  return existsSync(`${target}-wal`) ? "there is a database in use at that place: it has a log beside it" : undefined
}
