/**
 * Takes care of a database file in the background: cuts the log back when it has grown, and replaces all connections
 * after the file was moved or replaced.
 *
 * SQLite moves the log to the file by itself. But it can restart the log only while no connection reads in it, and it
 * never makes the log shorter. If reads overlap all the time, that moment never comes:
 * https://sqlite.org/wal.html#avoiding_excessively_large_wal_files.
 */
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { leftText, statementText } from "../../../internal/holder.ts"
import * as Door from "../../../internal/pool/door.ts"
import { callerText } from "../../../internal/pool/log.ts"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import { moveAhead, truncate } from "./checkpoint.ts"
import type { SharedFile } from "./connections.ts"
import type { Sides } from "./sides.ts"

/** The longest time for which new writes and new pins have to wait, so that the present pins can end. */
const barrierMillis = 250

/** The time until the next try after the log could not be cut back. */
const retryMillis = 1000

/** Runs until it is interrupted. Holds no timer while there is nothing to do. */
export const run = Effect.fnUntraced(function*(sides: Sides, file: SharedFile): Effect.fn.Return<never> {
  const shrink = shrinkWal(sides, file)
  const warn = (message: string) => Effect.annotateLogs(Effect.logWarning(message), "pool", sides.settings.name)
  let isWarned = false
  /** Whether the log could not be cut back the last time. */
  let isRepeated = false
  for (;;) {
    yield* file.attention.await
    file.attention.closeUnsafe()
    // The end of a lease has woken this fiber, and has to be completed first.
    yield* Effect.yieldNow
    const left = file.takeLeft()
    if (left !== undefined) {
      yield* warn(`${left}: all connections to it are closed`)
      if (sides.workers !== undefined) yield* sides.workers.recycle
      yield* sides.readers.recycle
      yield* sides.writer.recycle
    }
    if (!file.isWalLong) continue
    // A thread would find no more than a moment ago.
    if (!isRepeated) yield* moveAhead(sides)
    const why = yield* shrink
    isRepeated = why !== undefined
    if (why === undefined) isWarned = false
    else {
      if (!isWarned && file.file.walBytes > sides.settings.walLimit) {
        isWarned = true
        yield* warn(`the log of the SQLite database is longer than walLimit, ${file.file.walBytes} bytes: ${why}`)
      }
      yield* Effect.sleep(retryMillis)
      file.attention.openUnsafe()
    }
  }
})

/** Cuts the log back, or returns why it could not. If the pool does not lend at the moment, the next try comes later. */
const shrinkWal = (sides: Sides, file: SharedFile): Effect.Effect<string | undefined> => {
  const { writer } = sides
  // No transaction is open on this connection. If the log is pinned, it is by a reader.
  const cut = (connection: SqliteConnection): Effect.Effect<string | undefined, SqlError | LeaseExpiredError> =>
    Effect.map(truncate(connection), ({ isComplete }) => {
      if (isComplete) return undefined
      return file.isPinned ? pinnedBy(sides, file) : "another process reads in it"
    })
  const unpinned: Effect.Effect<void> = Effect.suspend(() =>
    file.isPinned ? Effect.andThen(Effect.sleep("1 millis"), unpinned) : Effect.void
  )
  const onceUnpinned = Effect.timeoutOption(unpinned, barrierMillis)
  const body = Effect.fnUntraced(function*(connection: SqliteConnection) {
    const why = yield* cut(connection)
    if (why === undefined) return undefined
    const age = file.pins.oldestMillis(file.pins.now())
    // A lease that has pinned for so long will probably not end soon. If there is none, one may have ended since, in a thread.
    if (age !== undefined && age > barrierMillis) return why
    return yield* Effect.acquireUseRelease(
      file.gate.close,
      () => Effect.andThen(onceUnpinned, cut(connection)),
      () => file.gate.open
    )
  })
  return Effect.catch(writer.use(body, { label: "checkpoint" }), ({ message }) => Effect.succeed(message))
}

/** The read that has pinned a state for longest, and so keeps the log from being cut back. */
const pinnedBy = ({ readers, workers }: Sides, { pins }: SharedFile): string => {
  const [oldest] = pins.pinning(pins.now())
  const ofWorkers = workers && Door.of(workers)
  const holder = oldest === undefined
    // A thread tells whether it pins a state only when a statement has ended.
    ? ofWorkers?.holders(mostLookedAt).find(({ statement }) => statement?.isRunning === true)
    : Door.of(readers)?.holderOf(oldest.leased) ?? ofWorkers?.holderOf(oldest.leased)
  if (holder !== undefined) {
    return `a read pins it: ${callerText(holder)} has held connection ${holder.connection} for ${
      Math.round(holder.heldMillis)
    } ms${statementText(holder)}`
  }
  const [left] = ofWorkers?.abandoned(1) ?? []
  return left === undefined ? "a read pins it" : `a read whose caller has left pins it: ${leftText(left)}`
}

const mostLookedAt = 100
