/**
 * Batches: a statement for many rows of parameters, or many statements, in one transaction or in a few.
 *
 * Rows run in steps of a few milliseconds, and between two steps the event loop has its turn. A row costs no Effect.
 */
import { Effect, type Fiber, Queue, type Scope, Stream } from "effect"
import { isSqlError, SqlError, UnknownError } from "effect/sql/SqlError"
import { show } from "../../../internal/options/show.ts"
import * as Alarm from "../../../internal/structures/timer.ts"
import type { LeaseExpiredError, PoolError } from "../../../PoolError.ts"
import type { TransactionError } from "../../../TransactionError.ts"
import { BatchError } from "../../SqlitePoolError.ts"
import { bind, type Params } from "../connection/binding.ts"
import type { Handle } from "../connection/handle.ts"
import { type Prepared, readSql } from "../connection/preparedStatements.ts"
import type { BatchProgress } from "../contract/batch.ts"
import { failure } from "../errors.ts"
import { invalidInput, returnsRows } from "../failures.ts"
import * as Progress from "../file/progress.ts"
import { type Batch as Settings, resolveBatch } from "../options/pool.ts"
import { StatementTexts, uncontrolled } from "../sql/statementKind.ts"
import type { Ran } from "../worker/batch.ts"
import { decodeFailure } from "../worker/failureData.ts"
import { encodeParams } from "../worker/params.ts"
import { bytesOf, bytesPerChunk } from "../worker/protocol.ts"
import type { WorkerLeased } from "../worker/workerConnection.ts"
import { fromIterable, fromStream, type Source, totalOf } from "./batchRows.ts"
import type { WithClient } from "./snapshot.ts"
import { handleIn, onWorker } from "./workerTransaction.ts"

export type Failure = BatchError | LeaseExpiredError | TransactionError | PoolError<SqlError>

/** Runs one statement for each row of `rows`; without `sql`, each row is a statement with its parameters. */
export const batch = <E, R>(
  pools: WithClient,
  sql: string | undefined,
  rows: unknown,
  options: unknown
): Stream.Stream<BatchProgress, E | Failure, R> =>
  Progress.stream<BatchProgress, E | Failure, R>(
    pools.writer.name,
    (reports) => Effect.withFiber((fiber) => run<E, R>(pools, sql, rows, options, reports, fiber)),
    1
  )

const run = Effect.fnUntraced(function*<E, R>(
  pools: WithClient,
  sql: string | undefined,
  rows: unknown,
  options: unknown,
  reports: Progress.Reports<BatchProgress, E | Failure>,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.fn.Return<void, E | Failure, R | Scope.Scope> {
  const { client: { transactor }, settings: { connection: { isMemory }, name } } = pools
  const isInside = transactor.connectionOf(fiber) !== undefined
  const settings = yield* Effect.fromResult(resolveBatch(name, options, rows, isInside))
  const { now } = Alarm.make(fiber.context, () => {})
  const work = new Work({ name, sql, settings, isInside, isMemory, now, total: totalOf(rows), reports })
  if (sql !== undefined) yield* Effect.try({ try: () => readSql("batch", sql), catch: (thrown) => work.failed(thrown) })
  // In memory there is only one connection, so a stream that reads the database reads in the transaction.
  const readsInside = isMemory && Stream.isStream(rows)
  const source: Source<E | BatchError, R> = Stream.isStream(rows)
    ? yield* fromStream(rows as Stream.Stream<unknown, E, R>, readsInside ? undefined : yield* Effect.context<R>())
    : yield* fromIterable(rows as Iterable<unknown>, now, (thrown) => work.noRow(thrown))
  for (;;) {
    // Nothing is held while the first rows are awaited, and those after a commit.
    if (!work.hasRows && !work.hasEnded && !readsInside) work.take(yield* source)
    if (!work.hasRows && !work.owesCheckpoint && (work.hasEnded || !readsInside)) break
    yield* transactor.transaction(transaction(transactor, work, source), settings.transaction)
    work.committed()
  }
  work.report()
})

/** One transaction of a batch. */
const transaction = <E, R>(transactor: WithClient["client"]["transactor"], work: Work, source: Source<E, R>) =>
  Effect.withFiber((fiber) => {
    const connection = transactor.connectionOf(fiber)!
    const step = (f: (handle: Handle) => void) =>
      connection.step("batch", (connection) => f(handleIn(connection, "batch")), (thrown) => work.failed(thrown))
    const inThread = onWorker(connection)
    const some = inThread === undefined
      ? step((handle) => work.some(handle))
      : inThread.steps("batch", (worker) => work.send(worker))
    return Effect.gen(function*() {
      work.begin()
      for (;;) {
        while (work.hasRows && !work.isFull) {
          yield* some
          if (work.isTimeUp) {
            // Timers and sockets have their turn too: the scheduler goes on with a task of its own.
            yield* Effect.yieldNow
            work.nextSlice()
          }
        }
        if (work.isFull || work.hasEnded) break
        work.take(yield* source)
      }
      if (inThread === undefined) yield* step((handle) => work.end(handle))
    })
  })

interface WorkOptions {
  readonly name: string
  readonly sql: string | undefined
  readonly settings: Settings
  readonly isInside: boolean
  readonly isMemory: boolean
  /** The time in milliseconds. */
  readonly now: () => number
  readonly total: number | undefined
  readonly reports: Queue.Enqueue<BatchProgress>
}

/** How long rows run at once, and how many at most: the clock of a test may stand still. */
const sliceMillis = 3
const mostInSlice = 10_000

/** The number of rows that are sent at once to a thread, at most, and the size of a row that is no array, about. */
const mostInMessage = 1000
const bytesOfOther = 256

/** The time between two reports. */
const reportMillis = 100

/** The clock is looked at so often that this time passes in between, but at most after so many rows. */
const lookMillis = 0.25
const mostBetweenLooks = 64

/** The state of one batch. */
class Work {
  readonly #options: WorkOptions
  readonly #texts = new StatementTexts()
  readonly #begunAt: number
  /** The rows at hand, the index of the next one, and the number of rows before them. */
  #rows: ReadonlyArray<unknown> = []
  #at = 0
  #before = 0
  /** Whether no rows follow those at hand. */
  hasEnded = false
  #stored = 0
  #changes = 0
  /** The changes on the connection before those that are not counted yet; not set before the first row of a transaction. */
  #countedTo: number | undefined
  /** The number of rows at which the transaction is committed. */
  #full = Infinity
  isTimeUp = false
  #sliceBegunAt = 0
  #lookedAt = 0
  /** The number of rows until the next look at the clock, and between two looks. */
  #untilLook = 1
  #betweenLooks = 1
  #inSlice = 0
  #slices = 0
  #reportedAt: number
  /** The rows and the stored rows of the last report. */
  #reported = ""
  #isLogLong = false

  constructor(options: WorkOptions) {
    this.#options = options
    this.#begunAt = this.#reportedAt = options.now()
  }

  get #done(): number {
    return this.#before + this.#at
  }

  get hasRows(): boolean {
    return this.#at < this.#rows.length
  }

  get isFull(): boolean {
    return this.#done >= this.#full
  }

  /** Whether the last transaction has left a long log, because it was not known to be the last. */
  get owesCheckpoint(): boolean {
    return this.#isLogLong && this.hasEnded
  }

  take(rows: ReadonlyArray<unknown> | undefined): void {
    this.#before = this.#done
    this.#at = 0
    this.#rows = rows ?? []
    this.hasEnded = rows === undefined
  }

  begin(): void {
    this.#full = this.#done + this.#options.settings.commitEvery
    this.#countedTo = undefined
    this.#startSlice()
  }

  nextSlice(): void {
    this.#slices++
    this.#startSlice()
  }

  #startSlice(): void {
    this.isTimeUp = false
    this.#inSlice = 0
    this.#sliceBegunAt = this.#lookedAt = this.#options.now()
  }

  /** Runs rows until none is at hand, the transaction is full, or the time is up. */
  some(handle: Handle): void {
    this.#prepare(handle)
    while (this.hasRows && !this.isFull && !this.isTimeUp) {
      const { sql = sqlOf(this.#rows[this.#at]) } = this.#options
      if (this.#texts.kindOf(sql) === "control") throw uncontrolled(sql, "batch")
      handle.repeat("batch", sql, (prepared) => this.#repeat(prepared, sql))
    }
    if (this.#options.now() - this.#reportedAt < reportMillis) return
    this.#count(handle)
    this.report()
  }

  /** Runs the next rows on a connection in a thread, with one message. */
  send(worker: WorkerLeased): Effect.Effect<void, BatchError | LeaseExpiredError> {
    return Effect.suspend(() => {
      const { settings, sql } = this.#options
      let rows: ReadonlyArray<unknown>
      try {
        rows = this.#encoded()
      } catch (thrown) {
        return Effect.fail(this.failed(thrown))
      }
      const ran = worker.control("batch", "batch", () => [sql, rows, settings.cacheSize])
      return Effect.matchEffect(ran, {
        onFailure: (error) => Effect.fail(this.failed(error)),
        onSuccess: (value) => this.#sent(value as Ran)
      })
    })
  }

  #sent({ changes, done, failure }: Ran): Effect.Effect<void, BatchError | LeaseExpiredError> {
    this.#at += done
    this.#changes += changes
    if (failure !== undefined) return Effect.fail(this.failed(decodeFailure(failure)))
    if (this.#options.now() - this.#reportedAt >= reportMillis) this.report()
    return Effect.void
  }

  /** The next rows as they are sent. If the first of them cannot be sent, it throws the reason. */
  #encoded(): ReadonlyArray<unknown> {
    const { sql } = this.#options
    const encoded: Array<unknown> = []
    const end = Math.min(this.#rows.length, this.#full - this.#before, this.#at + mostInMessage)
    try {
      for (let at = this.#at, bytes = 0; at < end && bytes < bytesPerChunk; at++) {
        const row = this.#rows[at]
        const text = sql ?? sqlOf(row)
        if (this.#texts.kindOf(text) === "control") throw uncontrolled(text, "batch")
        const params = sql === undefined ? (row as ReadonlyArray<unknown>)[1] : row
        bytes += Array.isArray(params) ? bytesOf(params) : bytesOfOther
        const sent = encodeParams(params)
        encoded.push(sql === undefined ? [text, sent] : sent)
      }
    } catch (thrown) {
      if (encoded.length === 0) throw thrown
    }
    return encoded
  }

  /** Runs the next rows that have the same statement. */
  #repeat({ statement, text }: Prepared, sql: string): void {
    if (statement.columns().length > 0) throw returnsRows()
    const rows = this.#rows
    const isSingle = this.#options.sql !== undefined
    const end = Math.min(rows.length, this.#full - this.#before)
    for (let at = this.#at; at < end; at++) {
      const row = rows[at]
      if (!isSingle && sqlOf(row) !== sql) return
      const params = isSingle ? row : (row as ReadonlyArray<unknown>)[1]
      // There are no rows to return. `get` is faster than `run`, which makes an object.
      statement.get(...bind("batch", text, params as Params | undefined))
      this.#at = at + 1
      if (--this.#untilLook === 0 && this.#look()) return
    }
  }

  /** Looks at the clock. Returns whether the time is up. */
  #look(): boolean {
    const now = this.#options.now()
    this.#inSlice += this.#betweenLooks
    this.#betweenLooks = now - this.#lookedAt < lookMillis
      ? Math.min(this.#betweenLooks * 2, mostBetweenLooks)
      : Math.max(this.#betweenLooks >> 1, 1)
    this.#untilLook = this.#betweenLooks
    this.#lookedAt = now
    this.isTimeUp = now - this.#sliceBegunAt >= sliceMillis || this.#inSlice >= mostInSlice
    return this.isTimeUp
  }

  /** Before the commit. */
  end(handle: Handle): void {
    this.#prepare(handle)
    this.#count(handle)
    const { bulk } = handle.session
    bulk.isContinued = !this.hasEnded
    this.#isLogLong = bulk.isOn && bulk.isContinued
  }

  committed(): void {
    if (!this.#options.isInside) this.#stored = this.#done
    this.report()
  }

  /** Reports the progress, unless it was reported already. */
  report(): void {
    const { now, reports, total } = this.#options
    const state = `${this.#done} ${this.#stored}`
    if (state === this.#reported) return
    this.#reported = state
    this.#reportedAt = now()
    Queue.offerUnsafe(reports, {
      rows: this.#done,
      stored: this.#stored,
      changes: this.#changes,
      total,
      elapsedMillis: this.#reportedAt - this.#begunAt
    })
  }

  /** The error for what the step of a row has thrown. */
  failed(thrown: unknown): BatchError | LeaseExpiredError {
    const cause = failure(thrown)
    return isSqlError(cause) ? this.#failed(cause) : cause
  }

  /** The error for an iterable that has thrown instead of giving the next row. */
  noRow(thrown: unknown): BatchError {
    const why = thrown instanceof Error ? thrown.message : show(thrown)
    const message = `the rows could not be read: ${why}`
    return this.#failed(new SqlError({ reason: new UnknownError({ cause: thrown, message, operation: "batch" }) }))
  }

  #failed(cause: SqlError): BatchError {
    return new BatchError({ pool: this.#options.name, row: this.#done, stored: this.#stored, cause })
  }

  #prepare(handle: Handle): void {
    // A transaction of a few rows needs no other settings.
    if (this.#slices > 0 && !this.#options.isMemory) handle.session.beginBulk(this.#options.settings.cacheSize)
    this.#countedTo ??= changesOn(handle)
  }

  #count(handle: Handle): void {
    const changes = changesOn(handle)
    this.#changes += changes - this.#countedTo!
    this.#countedTo = changes
  }
}

const sqlOf = (row: unknown): string => {
  if (Array.isArray(row) && typeof row[0] === "string" && row.length <= 2) return row[0]
  throw invalidInput("batch", `batch: ${show(row)} is no statement: it must be [sql] or [sql, parameters]`)
}

const changesOn = (handle: Handle): number => {
  const [row] = handle.rows("batch", "select total_changes()", undefined, true, false)
  return (row as readonly [number])[0]
}
