/** The operations of a SQLite database. */
import { Context, type Effect, type Stream } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions, ConnectionPool, ShutdownOptions, ShutdownReport } from "../../../ConnectionPool.ts"
import type { ConnectionStats, SlowStatement } from "../../../ConnectionStats.ts"
import type { LeaseExpiredError, PoolConfigError, PoolError } from "../../../PoolError.ts"
import type { TransactionError } from "../../../TransactionError.ts"
import type { BackupError, BatchError, ForeignKeysViolatedError, SnapshotExpiredError } from "../../SqlitePoolError.ts"
import type { SqliteReader, SqliteSyncReader } from "../../SqliteReader.ts"
import type { BackupOptions, BackupProgress } from "./backup.ts"
import type { BatchOptions, BatchProgress, BatchStatement } from "./batch.ts"
import type { CheckpointMode, CheckpointResult } from "./checkpoint.ts"
import type { SqliteConnection } from "./connection.ts"
import type { InProcessOptions, ReadOptions } from "./execution.ts"
import type { Commit, ObserveOptions } from "./observe.ts"
import type { RebuildOptions, TransactionOptions } from "./transaction.ts"
import type { Params, Row } from "./values.ts"

/** The numbers of all sides at one moment. */
export interface Stats {
  readonly writer: ConnectionStats
  /** For a database in memory, the same as `writer`. */
  readonly readers: ConnectionStats
  /** Not set without `workers`. */
  readonly workers?: ConnectionStats | undefined
  /** The size of the log, in bytes. */
  readonly walBytes: number
}

/** How the shutdown of each side went. */
export interface ShutdownReports {
  readonly readers: ShutdownReport
  readonly writer: ShutdownReport
  /** Not set without `workers`. */
  readonly workers?: ShutdownReport | undefined
}

/**
 * An open SQLite database.
 *
 * Any number of fibers may use it at the same time. `read` and `write` lend a connection for an effect. All other operations
 * are made of these two.
 */
export interface SqlitePool {
  /** The name of the database in errors, events, logs and metrics. */
  readonly name: string
  /**
   * Effect's client on this database. Choose it for single statements, and for schemas, resolvers, models and migrations of
   * `effect/sql`. Single statements that change rows at the same time share one commit (`groupCommit`). A statement that only
   * reads runs on a reader, any other on the writer. Statements in a
   * transaction run on the connection of the transaction.
   */
  readonly sql: SqlClient
  /** The absolute path of the file, or `":memory:"`. */
  readonly filename: string

  /**
   * Runs an effect with a connection that reads. Each statement sees everything that was committed before it. If several
   * statements must see the same state, use `snapshot`.
   *
   * Waits if all readers are in use. Never waits for writers. Inside a transaction or a `snapshot`, it reads on the
   * connection of that, and does not wait for a reader.
   *
   * With `{ execution: "worker" }` the reader is in a thread of its own, so a long query does not stop the event loop. With
   * `{ execution: "in-process" }` it has synchronous operations too. See `docs/workers.md`.
   */
  readonly read: {
    <A, E, R>(
      f: (reader: SqliteSyncReader) => Effect.Effect<A, E, R>,
      options: InProcessOptions
    ): Effect.Effect<A, E | PoolError<SqlError>, R>
    <A, E, R>(
      f: (reader: SqliteReader) => Effect.Effect<A, E, R>,
      options?: ReadOptions
    ): Effect.Effect<A, E | PoolError<SqlError>, R>
  }

  /**
   * Runs a synchronous function with a connection that reads. It costs less than `read`, for one or two statements. The
   * function uses operations whose names end in `Unsafe`. An error that the connection throws is a failure. Any other error
   * is a defect. If the function returns an Effect or a promise, that is a defect too, because nothing would wait for it.
   * The statements do not wait for the locks of other processes.
   */
  readonly readSync: <A>(
    f: (reader: SqliteSyncReader) => A,
    options?: AcquireOptions
  ) => Effect.Effect<A, SqlError | LeaseExpiredError | PoolError<SqlError>>

  /**
   * Runs an effect with the only connection that writes. Each statement is committed separately. Choose it to keep the
   * connection for several effects, and for statements that cannot run in a transaction. For a single statement choose `sql`,
   * and for several in one step `writeSync`: both share commits with other callers, and `write` does not.
   *
   * Waits for earlier callers, in order of arrival. A statement that meets the lock of another process waits for it, for
   * at most `busyTimeout`. Inside a transaction, it writes in the transaction; a transaction that only reads refuses it. A
   * fiber that writes inside its own `write` would wait for itself, so that fails with a `SelfDeadlockError`.
   */
  readonly write: <A, E, R>(
    f: (connection: SqliteConnection) => Effect.Effect<A, E, R>,
    options?: AcquireOptions
  ) => Effect.Effect<A, E | PoolError<SqlError>, R>

  /**
   * Runs a synchronous function with the connection that writes, as a transaction. Its work is committed when it returns,
   * and undone if it throws. It costs less than `write`: see `readSync`. Choose it for several statements in one step. Choose
   * `write` to begin and end transactions by hand, and for statements that cannot run in a transaction.
   *
   * Waits in line as `write` does. Waits for the lock of another process before the function begins. Calls that are made at
   * the same time share one commit (`groupCommit`). If that commit fails, all the functions are undone and run again one
   * by one. So a function must have no effect outside the database. Inside a transaction it is a savepoint.
   */
  readonly writeSync: <A>(
    f: (connection: SqliteConnection) => A,
    options?: AcquireOptions
  ) => Effect.Effect<A, SqlError | LeaseExpiredError | PoolError<SqlError>>

  /**
   * Runs an effect as a transaction: commits when it succeeds, and rolls back when it fails, dies or is interrupted.
   * Every `read`, `write` and `sql` of the effect is part of the transaction, also inside the services that it calls. No
   * connection has to be passed around. Inside another transaction it is a savepoint.
   *
   * Holds the connection that writes until it ends, or a reader with `readOnly`. See `Transaction` for the rules of all
   * transactions, and `TransactionError` for their failures.
   */
  readonly transaction: {
    <A, E, R>(
      effect: Effect.Effect<A, E, R>,
      options?: TransactionOptions
    ): Effect.Effect<A, E | TransactionError | PoolError<SqlError>, R>
    <A, E, R>(
      effect: Effect.Effect<A, E, R>,
      options: RebuildOptions
    ): Effect.Effect<A, E | TransactionError | ForeignKeysViolatedError | PoolError<SqlError>, R>
  }

  /**
   * Runs one statement for many rows of parameters, or many statements, in one transaction: for imports. A million rows take
   * about as long as with `node:sqlite` itself, and the event loop stays free: rows run for some milliseconds at once. Choose
   * it for more than some hundred rows; for fewer, `writeSync` or `transaction` is as good.
   *
   * `rows` is an iterable or a `Stream`, which is pulled as its rows are needed. The stream of the batch has the progress: about
   * ten times a second, after each commit, and at the end. The rows are stored when it ends: use `Stream.runDrain`, or
   * `Stream.runLast` for the numbers. The work does not wait for the reader of the progress, who gets the newest when he is slow.
   * If the stream is not run to its end, or is interrupted, everything is undone.
   *
   * Fails with `BatchError` if a row cannot be run: it has the index of the row, and nothing of the transaction is stored. With
   * `commitEvery`, the rows of earlier transactions stay. A failure of the stream of rows is the failure of the batch, with
   * everything undone too. All other failures are those of `transaction`.
   *
   * Waits in line and for the locks of other processes as `transaction` does. Holds the connection that writes from the first
   * row to the commit, also while it waits for rows of a slow stream: fetch them first, or use `commitEvery`. Inside a
   * transaction it is a savepoint. In the `write` of its own fiber it would wait for that, until `acquireTimeout`.
   *
   * A stream of rows that reads this database reads on a reader, and does not see the batch; in memory it does. After the
   * commit of a long batch, other threads bring the log to the disk and move it to the file, so the end takes a moment more.
   *
   * ```ts
   * import { Console, Effect, Stream } from "effect"
   * import { SqlitePool } from "effect-connection-pool/sqlite"
   *
   * const people = function*() {
   *   for (let id = 0; id < 1_000_000; id++) yield [id, `name ${id}`]
   * }
   *
   * export const program = Effect.gen(function*() {
   *   const pool = yield* SqlitePool.SqlitePool
   *   yield* pool.batch("insert into person(id, name) values (?, ?)", people()).pipe(
   *     Stream.runForEach(({ rows }) => Console.log(`${rows} rows`)),
   *     Effect.catchTag("BatchError", ({ cause, row }) => Console.error(`row ${row}: ${cause.message}`))
   *   )
   *   // Different statements: each with its parameters.
   *   yield* Stream.runDrain(pool.batch([
   *     ["insert into person(id, name) values (?, ?)", [-1, "Ada"]],
   *     ["delete from person where id = :id", { id: 7 }]
   *   ]))
   * })
   * ```
   */
  readonly batch: {
    <E = never, R = never>(
      sql: string,
      rows: Iterable<Params> | Stream.Stream<Params, E, R>,
      options?: BatchOptions
    ): Stream.Stream<BatchProgress, E | BatchError | LeaseExpiredError | TransactionError | PoolError<SqlError>, R>
    <E = never, R = never>(
      statements: Iterable<BatchStatement> | Stream.Stream<BatchStatement, E, R>,
      options?: BatchOptions
    ): Stream.Stream<BatchProgress, E | BatchError | LeaseExpiredError | TransactionError | PoolError<SqlError>, R>
  }

  /**
   * Runs an effect in which every read sees the same state of the database: the state at its beginning. Other fibers may
   * write meanwhile, but writes of the effect itself are refused.
   *
   * It is a transaction that only reads, with a limit: it fails with `SnapshotExpiredError` after `maxReadAge`, because the
   * log of the database grows until it ends. Holds one reader. Inside a transaction it is part of that transaction.
   *
   * With `{ execution: "worker" }`, or where reads run on workers anyway, its reader is in a thread. Then its statements run
   * one after the other, and each waits for its turn, at most for `acquireTimeout`. Its synchronous operations fail.
   */
  readonly snapshot: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: ReadOptions
  ) => Effect.Effect<A, E | TransactionError | SnapshotExpiredError | PoolError<SqlError>, R>

  /**
   * Returns the rows of one statement that reads as a stream. Choose it for more rows than fit in memory.
   *
   * Holds one reader from its first row to its end, and sees one state of the database. Fails after `maxReadAge`, as
   * `snapshot` does. Reads more rows only when they are asked for. For a few rows, `read` is faster.
   */
  readonly stream: (
    sql: string,
    params?: Params,
    options?: ReadOptions
  ) => Stream.Stream<Row, SqlError | LeaseExpiredError | PoolError<SqlError>>

  /**
   * Observes a query: returns its result at once, and again after each commit that touched what it reads.
   *
   * The query is one statement with its parameters, or any effect that reads: a statement of `sql`, `read`, models, resolvers,
   * several of them. An effect runs in a `snapshot`, so all that it reads is of one state, and writes are refused. SQLite
   * itself says which tables a query reads and a commit has changed, with views, triggers and foreign keys.
   * A commit of another process names no tables, so every query runs again after it: see `observeInterval`.
   *
   * A result is never of a state that was not committed. A slow reader gets the newest result: the query runs when the reader
   * asks for the next one. There may be more results than changes; with `distinct`, none equals the one before it.
   *
   * Holds no connection between the runs. Inside a transaction it sees only what is committed, as outside. A query that fails
   * ends the stream with its error; `Stream.retry` observes again. The stream never ends by itself. A shutdown, also of
   * `readers` or `writer` alone, ends it with `PoolClosedError`.
   *
   * ```ts
   * import { Console, Effect, Stream } from "effect"
   * import { SqlitePool } from "effect-connection-pool/sqlite"
   *
   * export const program = Effect.gen(function*() {
   *   const pool = yield* SqlitePool.SqlitePool
   *   // One statement.
   *   const open = pool.observe("select id, title from task where done = ?", [false])
   *   // All reads of an effect, of one state.
   *   const { sql } = pool
   *   const overview = pool.observe(
   *     Effect.all({ tasks: sql`select count(*) as n from task`, people: sql`select name from person` }),
   *     { distinct: true }
   *   )
   *   yield* Stream.runForEach(Stream.merge(open, overview), Console.log)
   * })
   * ```
   */
  readonly observe: {
    (
      sql: string,
      params?: Params,
      options?: ObserveOptions<ReadonlyArray<Row>>
    ): Stream.Stream<ReadonlyArray<Row>, SqlError | LeaseExpiredError | PoolError<SqlError>>
    <A, E, R>(
      query: Effect.Effect<A, E, R>,
      options?: ObserveOptions<A>
    ): Stream.Stream<A, E | TransactionError | SnapshotExpiredError | PoolError<SqlError>, R>
  }

  /**
   * The commits from now on: which tables they have changed, when, and who has committed. Choose it to drop what a cache holds,
   * or to tell others. For the results of a query, choose `observe`.
   *
   * A slow reader gets every change: from the 1025th commit on that it has not read, one `Commit` stands for several. It
   * may also get commits that have changed nothing. A shutdown, also of `writer` alone, ends the stream.
   */
  readonly commits: Stream.Stream<Commit>

  /**
   * Copies the present state of the database to a file, while the database stays in use. The stream reports the progress,
   * and the copy is complete when the stream ends: use `Stream.runDrain`. The work is done in another thread.
   *
   * The file appears when it is complete. It replaces an existing file, which must not be in use. A link is followed. An
   * interrupt ends the copy after its next step, and removes it.
   *
   * Fails with `BackupError`, which says why, if the file cannot be written, is a file of the database itself, or has a
   * `-wal`, `-shm` or `-journal` beside it. Fails with `PoolClosedError` if the pool is shut down meanwhile. A killed process
   * leaves a partial copy (`<file>.<id>.partial`). The next backup to that file removes it.
   */
  readonly backup: (
    filename: string,
    options?: BackupOptions
  ) => Stream.Stream<BackupProgress, BackupError | SqlError | LeaseExpiredError | PoolError<SqlError>>

  /**
   * Moves the pages of the log to the file. SQLite does that by itself about every thousand pages. The default mode,
   * `"truncate"`, also cuts the log back to zero bytes. A reader that needs the log can keep pages from being moved: the
   * result says how many were moved. Another thread moves most of a log that is longer than 8 MiB. The rest, and a shorter log,
   * blocks the event loop, unless the writer is in a thread. An interrupt waits for that thread. With `readOnly` or `immutable`, it fails with a
   * `SqlError` whose reason is `AuthorizationError`.
   */
  readonly checkpoint: (
    mode?: CheckpointMode
  ) => Effect.Effect<CheckpointResult, SqlError | LeaseExpiredError | PoolError<SqlError>>

  /** The numbers of this moment. */
  readonly stats: Effect.Effect<Stats>

  /**
   * The slow statements of all sides, those that took longest in total first. It is empty without `slowStatement`. `pool`
   * is the name of the side.
   *
   * A statement takes as long as SQLite works for it: without the time in line, for a lock of another process, or between
   * the rows of a stream. In a group, each statement counts by itself, and the common commit is the statement `commit`.
   * Statements of `SqliteConnection.withHandle` are not seen, nor is the work of `backup`.
   */
  readonly slowStatements: Effect.Effect<ReadonlyArray<SlowStatement>>

  /**
   * The texts of `sql` that `execution: "auto"` runs on workers now, because they were slow, without their parameters. It knows
   * the last 1000 texts. Empty where `execution` is not `"auto"`.
   */
  readonly movedToWorkers: Effect.Effect<ReadonlyArray<string>>

  /**
   * The pool of the connection that writes. Choose it for the operations of a `ConnectionPool`: health checks, metrics,
   * events, holders. For statements use `write`, which joins transactions. In memory, the connection is never replaced:
   * `recycle` and `invalidate` do nothing. With `readOnly` or `immutable`, it is the same as `readers`.
   */
  readonly writer: ConnectionPool<SqliteConnection, SqlError>

  /**
   * The pool of the connections that read. Choose it for the same operations. In memory, and with `readOnly` or `immutable`,
   * it is the same as `writer`.
   */
  readonly readers: ConnectionPool<SqliteConnection, SqlError>

  /**
   * The pool of the workers: readers in threads. Choose it for the same operations. Not set without `workers`. A statement
   * that cannot be stopped keeps its connection `abandoned` after its caller has gone.
   */
  readonly workers?: ConnectionPool<SqliteReader, SqlError> | undefined

  /**
   * The pools of the database; only `writer` if it is `readers` too. Because of them, a `HealthChecker` can watch the
   * database: `HealthChecker.make(db)`.
   */
  readonly sides: {
    readonly writer: ConnectionPool<SqliteConnection, SqlError>
    readonly readers?: ConnectionPool<SqliteConnection, SqlError>
    readonly workers?: ConnectionPool<SqliteReader, SqlError>
  }

  /**
   * Shuts the database down: first the workers and the readers, then the writer, so that the log is moved to the file and deleted.
   *
   * Each side shuts down like `ConnectionPool.shutdown`, and waits for its leases for the `drainTimeout` of this call or, by
   * default, of the options. The end of the scope or of the layer does the same.
   */
  readonly shutdown: {
    (): Effect.Effect<ShutdownReports>
    (options: ShutdownOptions | undefined): Effect.Effect<ShutdownReports, PoolConfigError>
  }
}

/** The service of an application with one database. For several databases, see `Service`. */
export const SqlitePool: Context.Service<SqlitePool, SqlitePool> = Context.Service<SqlitePool>(
  "effect-connection-pool/SqlitePool"
)
