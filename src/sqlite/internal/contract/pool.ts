/** The operations of a SQLite database. */
import { Context, type Effect, type Stream } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions, ConnectionPool, ShutdownOptions, ShutdownReport } from "../../../ConnectionPool.ts"
import type { ConnectionStats } from "../../../ConnectionStats.ts"
import type { LeaseExpiredError, PoolConfigError, PoolError } from "../../../PoolError.ts"
import type { TransactionError } from "../../../TransactionError.ts"
import type { BackupError, ForeignKeysViolatedError, SnapshotExpiredError } from "../../SqlitePoolError.ts"
import type { SqliteReader } from "../../SqliteReader.ts"
import type { BackupOptions, BackupProgress } from "./backup.ts"
import type { CheckpointMode, CheckpointResult } from "./checkpoint.ts"
import type { SqliteConnection } from "./connection.ts"
import type { RebuildOptions, TransactionOptions } from "./transaction.ts"
import type { Params, Row } from "./values.ts"

/** The numbers of both sides at one moment. */
export interface Stats {
  readonly writer: ConnectionStats
  /** In memory the same as `writer`. */
  readonly readers: ConnectionStats
  /** The size of the log, in bytes. */
  readonly walBytes: number
}

/** How the shutdown of each side went. */
export interface ShutdownReports {
  readonly readers: ShutdownReport
  readonly writer: ShutdownReport
}

/**
 * A SQLite database, open.
 *
 * Any number of fibers may use it at once. `read` and `write` lend a connection for an effect; the rest is made of that.
 */
export interface SqlitePool {
  /** The name of the database in errors, events, logs and metrics. */
  readonly name: string
  /**
   * Effect's client on this database, for all that is made for one: statements from templates, schemas, resolvers,
   * models, migrations. A statement that only reads runs on a reader, others on the writer, all of a transaction on its own.
   */
  readonly sql: SqlClient
  /** The file, absolute; or `":memory:"`. */
  readonly filename: string

  /**
   * Runs an effect with a connection that reads. It sees everything that was committed before it asks; each statement
   * sees the newest state. For several statements that are to see the same, see `snapshot`.
   *
   * Waits if all readers are in use, but never for writers, and never gets the writer. Within a transaction or a
   * `snapshot`, it reads in that, and does not wait.
   */
  readonly read: <A, E, R>(
    f: (reader: SqliteReader) => Effect.Effect<A, E, R>,
    options?: AcquireOptions
  ) => Effect.Effect<A, E | PoolError<SqlError>, R>

  /**
   * Runs a synchronous function with a connection that reads: `read` for a statement or two, at a lower price. The function
   * uses operations whose names end in `Unsafe`. What the connection throws is a failure. What else the function throws is a
   * defect, and so is an Effect or a promise that it returns, for nothing would wait for it. Nothing waits for the locks of
   * others.
   */
  readonly readSync: <A>(
    f: (reader: SqliteReader) => A,
    options?: AcquireOptions
  ) => Effect.Effect<A, SqlError | LeaseExpiredError | PoolError<SqlError>>

  /**
   * Runs an effect with the connection that writes, alone. Each statement is committed by itself.
   *
   * Waits for earlier callers, in order of arrival. A statement that meets the lock of another process waits for that, for
   * `busyTimeout`. Within a transaction, it writes in that; one that only reads refuses it. A fiber that writes within its own `write` would wait for
   * itself: that is a `SelfDeadlockError`.
   */
  readonly write: <A, E, R>(
    f: (connection: SqliteConnection) => Effect.Effect<A, E, R>,
    options?: AcquireOptions
  ) => Effect.Effect<A, E | PoolError<SqlError>, R>

  /**
   * Runs a synchronous function with the connection that writes, as a transaction: all that it does is stored when it
   * returns, and nothing if it throws. `write` at a lower price, see `readSync`; choose `write` to begin and end
   * transactions by hand, and for what cannot run in one.
   *
   * Waits in line as `write` does, and for the lock of another process before the function begins. Several that are asked
   * for at the same time share one commit (`groupCommit`). In rare cases, when that fails, the function runs again after
   * its first run was undone: it must have no effect outside of the database. Within a transaction it is a savepoint.
   */
  readonly writeSync: <A>(
    f: (connection: SqliteConnection) => A,
    options?: AcquireOptions
  ) => Effect.Effect<A, SqlError | LeaseExpiredError | PoolError<SqlError>>

  /**
   * Runs an effect as a transaction: commits when it succeeds, and rolls back when it fails, dies or is interrupted.
   * Everything in it that uses this database, be it `read`, `write`, `sql` or a service that knows no more than that, is
   * part of it, without a connection being passed around. Inside another transaction it is a savepoint.
   *
   * Holds the connection that writes until it ends; with `readOnly`, a reader. See `Transaction` for all that transactions
   * have in common, and `TransactionError` for how they end.
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
   * Runs an effect in which everything that reads sees the same state of the database: that of its beginning, with all
   * that was committed by then. Others go on writing meanwhile; what is written in the effect itself is refused.
   *
   * It is a transaction that only reads, with a limit: the log of the database grows until it ends, so it fails with
   * `SnapshotExpiredError` after `maxReadAge`. Holds one reader. Within a transaction it is part of that.
   */
  readonly snapshot: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: AcquireOptions
  ) => Effect.Effect<A, E | TransactionError | SnapshotExpiredError | PoolError<SqlError>, R>

  /**
   * The rows of one statement that reads, as a stream: for more rows than belong in memory.
   *
   * Holds one reader from its first row to its end, and sees one state of the database; `maxReadAge` is a limit here too,
   * after which it fails. Reads on only when rows are asked for. For a few rows, `read` is faster.
   */
  readonly stream: (
    sql: string,
    params?: Params,
    options?: AcquireOptions
  ) => Stream.Stream<Row, SqlError | LeaseExpiredError | PoolError<SqlError>>

  /**
   * Copies the database, in the state of this moment, to a file, while it goes on being used; the stream tells how far
   * it is, and the copy is complete when it ends: `Stream.runDrain`. The work is done in another thread.
   *
   * The file appears when it is complete, and replaces one that was there; it must not be in use. A link is followed.
   * Interrupting the stream ends the copy after its next step, and leaves nothing behind.
   *
   * Fails with `BackupError`, which says why, if the file cannot be written, or must not be: it is a file of the database
   * itself, or has a `-wal`, `-shm` or `-journal` beside it. Fails with `PoolClosedError` when the pool is shut down
   * meanwhile. The next backup to that file removes what a killed process has left of a copy
   * (`<file>.<id>.partial`).
   */
  readonly backup: (
    filename: string,
    options?: BackupOptions
  ) => Stream.Stream<BackupProgress, BackupError | SqlError | LeaseExpiredError | PoolError<SqlError>>

  /**
   * Moves the log to the file, which SQLite does by itself every thousand pages or so; `"truncate"`, the default, cuts it
   * back to nothing as well. Pages that cannot be moved because a reader needs the log are in the result. Holds up the event
   * loop while it writes.
   */
  readonly checkpoint: (
    mode?: CheckpointMode
  ) => Effect.Effect<CheckpointResult, SqlError | LeaseExpiredError | PoolError<SqlError>>

  /** The numbers of this moment. */
  readonly stats: Effect.Effect<Stats>

  /**
   * The pool of the connection that writes, for whatever works on a `ConnectionPool`: health checks, metrics, events, who
   * holds what. Statements belong into `write`, which knows of transactions. In memory, its connection is not replaced:
   * `recycle` and `invalidate` do nothing.
   */
  readonly writer: ConnectionPool<SqliteConnection, SqlError>

  /** The pool of the connections that read, likewise. In memory the same as `writer`. */
  readonly readers: ConnectionPool<SqliteConnection, SqlError>

  /**
   * The pools that there are: both, or `writer` alone where it is the same as `readers`. With them, this database is what
   * a `HealthChecker` watches: `HealthChecker.make(db)`.
   */
  readonly sides: {
    readonly writer: ConnectionPool<SqliteConnection, SqlError>
    readonly readers?: ConnectionPool<SqliteConnection, SqlError>
  }

  /**
   * Shuts the database down: first the readers, then the writer, so that the log is moved to the file and deleted.
   *
   * Each of the two shuts down as `ConnectionPool.shutdown` says, and waits for its leases for `drainTimeout`: that of
   * this call, or that of the options. The end of the scope or of the layer does the same.
   */
  readonly shutdown: {
    (): Effect.Effect<ShutdownReports>
    (options: ShutdownOptions | undefined): Effect.Effect<ShutdownReports, PoolConfigError>
  }
}

/** The database of an application that has one. For several, see `Service`. */
export const SqlitePool: Context.Service<SqlitePool, SqlitePool> = Context.Service<SqlitePool>(
  "effect-connection-pool/SqlitePool"
)
