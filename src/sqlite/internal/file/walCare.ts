/**
 * Sees to the file of a database in the background: cuts the log back when it has grown, and leaves a file that is not at
 * its place any more.
 *
 * SQLite moves the log to the file by itself, but can begin it anew only when nobody reads in it, and never makes it
 * shorter. Where reads overlap all the time that moment does not come by itself.
 */
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import type * as SqliteConnection from "../../SqliteConnection.ts"
import type { TwoPools } from "../pools.ts"
import { truncate } from "./checkpoint.ts"
import type { SharedFile } from "./connections.ts"

/**
 * For how long writers are held up, at most, and those who want to hold on to a state of the database, for those to end who
 * do. In milliseconds.
 */
const patience = 250

/** The pause after the log could not be cut back. In milliseconds. */
const pause = 1000

/** Goes on until it is interrupted; without anything to do, it holds no timer. */
export const run = Effect.fnUntraced(function*(pools: TwoPools, file: SharedFile): Effect.fn.Return<never> {
  const shrink = shrinkWal(pools, file)
  const warn = (message: string) => Effect.annotateLogs(Effect.logWarning(message), "pool", pools.settings.name)
  let isWarned = false
  for (;;) {
    yield* file.attention.await
    file.attention.closeUnsafe()
    // Woken from the middle of the end of a lease.
    yield* Effect.yieldNow
    const left = file.takeLeft()
    if (left !== undefined) {
      yield* warn(`${left}: all connections to it are closed`)
      yield* pools.readers.recycle
      yield* pools.writer.recycle
    }
    if (!file.isWalLong) continue
    if (yield* shrink) isWarned = false
    else {
      if (!isWarned && file.file.walBytes > pools.settings.walLimit) {
        isWarned = true
        const why = file.isPinned ? "a read holds on to it" : "another process reads in it"
        yield* warn(`the log of the SQLite database is longer than walLimit, ${file.file.walBytes} bytes: ${why}`)
      }
      yield* Effect.sleep(pause)
      file.attention.openUnsafe()
    }
  }
})

/** Cuts the log back, and answers whether it did. A pool that does not lend at the moment is asked again later. */
const shrinkWal = (pools: TwoPools, file: SharedFile): Effect.Effect<boolean> => {
  const { writer } = pools
  const cut = (connection: SqliteConnection.SqliteConnection): Effect.Effect<boolean, SqlError | LeaseExpiredError> =>
    Effect.map(truncate(connection), ({ isComplete }) => isComplete)
  const unpinned: Effect.Effect<void> = Effect.suspend(() =>
    file.isPinned ? Effect.andThen(Effect.sleep("1 millis"), unpinned) : Effect.void
  )
  const onceUnpinned = Effect.timeoutOption(unpinned, patience)
  const body = Effect.fnUntraced(function*(connection: SqliteConnection.SqliteConnection) {
    if (yield* cut(connection)) return true
    const age = file.ages.oldestPin(file.ages.now())
    // One that has read for so long will not end just now.
    if (age === undefined || age > patience) return false
    return yield* Effect.acquireUseRelease(
      file.gate.close,
      () => Effect.andThen(onceUnpinned, cut(connection)),
      () => file.gate.open
    )
  })
  return Effect.catch(writer.use(body, { label: "checkpoint" }), () => Effect.succeed(false))
}
