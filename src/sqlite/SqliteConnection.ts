/**
 * One connection to a SQLite database, in this process, through Node's own `node:sqlite`; and how a pool opens them.
 *
 * SQLite works while the caller waits: a statement holds up the event loop for as long as it runs. It never waits for
 * the lock of another process: that is an error at once, and what to do about it is Effect's business.
 */
import { Array as Arr, Cause, Channel, type Duration, Effect, Exit, Result, Scope, Stream } from "effect"
import { SafeIntegers } from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as ConnectionFactory from "../ConnectionFactory.ts"
import { LeaseExpiredError } from "../PoolError.ts"
import type { Cursor } from "./internal/connection/cursor.ts"
import * as SqliteError from "./internal/connection/errors.ts"
import type { Handle } from "./internal/connection/handle.ts"
import * as Open from "./internal/connection/open.ts"
import { mayStartLater, retryWhileLocked } from "./internal/connection/retryWhileLocked.ts"
import type { Reading } from "./internal/file/pins.ts"
import * as Settings from "./internal/options/connection.ts"

/** What SQLite can be given. */
export type Param = null | string | number | bigint | boolean | ArrayBufferView | ArrayBuffer

/**
 * The parameters of a statement: in order for the placeholders `?` and `?1`, or by name for `:name`, `@name` and `$name`,
 * with or without the prefix.
 *
 * All are stored exactly, or refused before anything is run:
 *
 * - whole numbers (below 2^53) and bigints (of 64 bits) as INTEGER, other numbers as REAL, `Infinity` and -0 too
 * - booleans as the INTEGER 1 or 0
 * - text as TEXT, but not with half a surrogate pair in it
 * - bytes as BLOB: any view of an `ArrayBuffer`, or one as a whole
 * - `null` as NULL
 *
 * `undefined`, `NaN`, a `Date` or any other object, and a parameter too many or too few are errors.
 */
export type Params = ReadonlyArray<Param> | { readonly [name: string]: Param }

/**
 * What SQLite gives: bytes as `Uint8Array`, integers as `number`, or as `bigint` with `SafeIntegers`.
 *
 * Without `SafeIntegers`, an integer beyond 2^53 is an error; but in the rows that a statement gives which writes, it is a
 * `bigint`, for then all is done already.
 */
export type Value = null | string | number | bigint | Uint8Array

/**
 * A row: an object without a prototype, with a property for each column. Of several columns with the same name it has the
 * last; `values` has them all.
 */
export interface Row {
  readonly [column: string]: Value
}

/** What a statement did that gives no rows. */
export interface RunResult {
  /** Rows that it inserted, updated or deleted; not those that triggers or foreign keys did. 0 for other statements. */
  readonly changes: number
  /**
   * The rowid of the last row this connection has inserted; says something only right after an insert. A `bigint` with
   * `SafeIntegers`, and beyond 2^53.
   */
  readonly lastInsertRowid: number | bigint
}

export interface SyncOptions {
  /** Whether integers come as `bigint`. Default false: as `number`; for those beyond 2^53 see `Value`. */
  readonly safeIntegers?: boolean | undefined
}

/**
 * A connection to a SQLite database.
 *
 * Every operation is one step that nothing comes between, so several fibers may use it; but a transaction that one of
 * them has begun is everybody's. Each operation has a synchronous twin, which throws what the other fails with: for
 * `pool.useSync`, see `failure`.
 *
 * Fails with `SqlError` when SQLite refuses, and with `LeaseExpiredError`, without any I/O, when the connection was
 * leased from a pool and has been returned. Prepared statements are kept, so values belong into parameters.
 */
export interface SqliteConnection {
  /** Runs one statement, and gives the rows that it returns as objects. */
  readonly query: (sql: string, params?: Params) => Effect.Effect<ReadonlyArray<Row>, SqlError | LeaseExpiredError>
  /** Runs one statement, and gives the rows that it returns as arrays: faster, and nothing is lost of equal names. */
  readonly values: (
    sql: string,
    params?: Params
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<Value>>, SqlError | LeaseExpiredError>
  /** Runs one statement that changes something, and tells how many rows. Rows that it returns are dropped. */
  readonly run: (sql: string, params?: Params) => Effect.Effect<RunResult, SqlError | LeaseExpiredError>
  /**
   * Runs a script: any number of statements, without parameters. Stops at the first that fails; what those before it
   * did is done, so a script that changes much belongs into a transaction.
   */
  readonly exec: (script: string) => Effect.Effect<void, SqlError | LeaseExpiredError>
  /**
   * Runs one statement, and gives its rows one after the other. Choose it where there may be more of them than belong in
   * memory, or than anybody will read; `query` is faster.
   *
   * Reads 256 rows at a time, when they are asked for, and lets the event loop have its turn in between. As long as the
   * stream runs, it sees the database as it was when it began, and in WAL mode the log cannot be cut back. It ends,
   * however it ends, by ending the statement. One that runs on after the lease has ended, or its transaction, fails.
   */
  readonly stream: (sql: string, params?: Params) => Stream.Stream<Row, SqlError | LeaseExpiredError>
  /** Whether a transaction is open, asked of SQLite, which sometimes ends one by itself. */
  readonly isTransaction: Effect.Effect<boolean, SqlError | LeaseExpiredError>

  /** `query` at once; throws. */
  readonly queryUnsafe: (sql: string, params?: Params, options?: SyncOptions) => ReadonlyArray<Row>
  /** `values` at once; throws. */
  readonly valuesUnsafe: (sql: string, params?: Params, options?: SyncOptions) => ReadonlyArray<ReadonlyArray<Value>>
  /** `run` at once; throws. */
  readonly runUnsafe: (sql: string, params?: Params, options?: SyncOptions) => RunResult
  /** `exec` at once; throws. */
  readonly execUnsafe: (script: string) => void
  /** `isTransaction` at once; throws. */
  readonly isTransactionUnsafe: () => boolean
}

/** How to open a database. An option that is unknown or cannot be is a `SqlError` when it is opened. */
export interface Options {
  /**
   * The file, which is created if need be (its folder is not); or `":memory:"`. No URI.
   *
   * Each connection to `":memory:"` has a database of its own, which is gone when it is closed. A pool over `factory` has
   * only one of them, whatever `max` is, and keeps it if `min` is 1, and `maxLifetime` and `maxUses` infinite; `SqlitePool`
   * sees to all that.
   */
  readonly filename: string
  /**
   * Whether the file is only read. It has to exist then, and what is said below of writing is of no effect. In WAL mode
   * even a reader needs a folder that it can write to. Default false.
   */
  readonly readOnly?: boolean | undefined
  /**
   * How transactions are made safe. Opening fails if the file system does not do what is asked here. Default `"wal"`, in
   * which readers and a writer do not hinder each other; `":memory:"` only has `"memory"`.
   */
  readonly journalMode?: "wal" | "delete" | "truncate" | "persist" | "memory" | undefined
  /**
   * When to wait for the disk. Default `"normal"`: in WAL mode a loss of power may cost the last transactions, but never
   * harms the file; `"full"` loses none, and commits many times slower.
   */
  readonly synchronous?: "off" | "normal" | "full" | "extra" | undefined
  /** Whether foreign keys are enforced. Default true. */
  readonly foreignKeys?: boolean | undefined
  /** Bytes to which the log is cut back when it is used from the start again; `Infinity` for never. Default 64 MiB. */
  readonly journalSizeLimit?: number | undefined
  /** Pages in the log after which a commit moves them to the file; 0 for never. Default 1000. */
  readonly walAutocheckpoint?: number | undefined
  /** Memory for pages of the file, in KiB. Default 8000. */
  readonly cacheSize?: number | undefined
  /** Where temporary tables are. Default `"memory"`. */
  readonly tempStore?: "memory" | "file" | undefined
  /** Bytes of a page, a power of two from 512 to 65536. Of effect only on a new file. Default: as it is. */
  readonly pageSize?: number | undefined
  /** Whether the file shrinks when something is deleted. `"none"` can be left only on a new file. Default: as it is. */
  readonly autoVacuum?: "none" | "full" | "incremental" | undefined
  /**
   * Whether what is in the schema (views, triggers, defaults) may call functions that could do harm. Default false, which
   * suits files that come from elsewhere.
   */
  readonly trustedSchema?: boolean | undefined
  /**
   * How long opening goes on trying, every millisecond or so, while another process has a lock on the file. Zero: once.
   * Statements do not wait for locks; those of a `SqlitePool` do. Default 5 seconds.
   */
  readonly busyTimeout?: Duration.Input | undefined
  /**
   * Prepared statements to keep, those used last. 0 for none. Default 200. Of their texts, at most 4 MiB are kept: a longer
   * one is compiled each time.
   */
  readonly statementCacheSize?: number | undefined
  /**
   * Runs with each connection before it is lent for the first time, after its pragmas, and again whenever it was opened
   * anew: to attach a database, to load an extension, to set a pragma that has no option, to make a temporary table.
   *
   * What it sets is how the connection is whenever it is lent: what a lease changes of it is undone when the lease ends.
   * Fails as opening does: what it fails with is the error of the connect attempt, and so is a transaction that it leaves
   * open. Waits for the locks of others for `busyTimeout`, and has to end within the pool's `connectTimeout`. Default:
   * nothing.
   *
   * A transaction that writes to the database and to an attached one is atomic in each of them, but not over both: in WAL
   * mode a crash at the wrong moment leaves one with it and the other without. Each file attached is opened once more on
   * each connection, which costs two or three descriptors.
   *
   * ```ts
   * import { SqlitePool } from "effect-connection-pool/sqlite"
   *
   * export const Database = SqlitePool.layer({
   *   filename: "app.db",
   *   onOpen: (connection) => connection.exec("attach 'archive.db' as archive; pragma recursive_triggers = on")
   * })
   * ```
   */
  readonly onOpen?:
    | ((connection: SqliteConnection, opening: Opening) => Effect.Effect<unknown, unknown>)
    | undefined
}

/** What `onOpen` is told of the connection. */
export interface Opening {
  /** Whether the connection only reads, as those for `SqlitePool.read`. */
  readonly isReader: boolean
  /** Loads an extension of SQLite from a file, on this connection. SQL itself may not load any. */
  readonly loadExtension: (path: string) => Effect.Effect<void, SqlError>
}

/**
 * A factory for a pool of connections to one database, all of which may write. Where many fibers use one file, choose
 * `SqlitePool`: there, those who write do not meet in SQLite's lock.
 *
 * A connection that comes back inside a transaction is rolled back before anybody else gets it. One on which somebody
 * has changed a setting (`pragma foreign_keys = off`), attached a database or made a temporary table is opened anew; a
 * connection to `":memory:"` gets back the settings of `Options`. After a failure of the disk it is replaced. There is
 * no `validate`: a file does not go away as a server does.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ConnectionPool } from "effect-connection-pool"
 * import { SqliteConnection } from "effect-connection-pool/sqlite"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const pool = yield* ConnectionPool.make({ factory: SqliteConnection.factory({ filename: "app.db" }), max: 4 })
 *   yield* pool.use((connection) => connection.exec("create table if not exists users(id integer primary key, name)"))
 *   yield* pool.use((connection) => connection.run("insert into users(name) values (?)", ["Ada"]))
 *   return yield* pool.use((connection) => connection.query("select * from users where name = :name", { name: "Ada" }))
 * }))
 * ```
 */
export const factory = (options: Options): ConnectionFactory.ConnectionFactory<SqliteConnection, SqlError> =>
  Result.match(Settings.resolve(options), {
    onFailure: (error) => factoryOf(Effect.fail(error), false),
    onSuccess: (settings) => factoryOf(settings.isMemory ? alone(openWith(settings)) : openWith(settings), false)
  })

/** Refuses a second connection while there is one: it would have another database, and an empty one. */
const alone = (
  connect: Effect.Effect<SqliteConnection, SqlError, Scope.Scope>
): Effect.Effect<SqliteConnection, SqlError, Scope.Scope> => {
  let isOpen = false
  const enter = Effect.suspend(() => {
    if (isOpen) return Effect.fail(SqliteError.unconnected("open", memoryIsTaken))
    isOpen = true
    return Effect.void
  })
  const leave = Effect.sync(() => {
    isOpen = false
  })
  return Effect.andThen(Effect.acquireRelease(enter, () => leave), connect)
}

const memoryIsTaken = "the SQLite database \":memory:\" has one connection, and it is open: max of its pool has to be 1"

/**
 * A factory over a way to open connections. With `waits`, a statement outside a transaction that meets the lock of
 * another process is tried again for `busyTimeout`; for those that throw there is no waiting.
 *
 * @internal
 */
export const factoryOf = (
  connect: Effect.Effect<SqliteConnection, SqlError, Scope.Scope>,
  waits: boolean
): ConnectionFactory.ConnectionFactory<SqliteConnection, SqlError> =>
  ConnectionFactory.make<SqliteConnection, SqlError>({
    connect,
    isAlive: (connection) => handleOf(connection).isUsable,
    needsReset: (connection) => handleOf(connection).needsReset,
    isInTransaction: (connection) => handleOf(connection).isTransaction("lease"),
    reset: (connection) => Open.reset(handleOf(connection), lendToOnOpen),
    beginLease: (connection, pool) => new Leased(handleOf(connection), waits, pool),
    endLease: (lent) => (lent as Leased).expire(),
    // There is no network to lose: what a statement fails with says nothing about its connection.
    judge: () => "healthy",
    isTransient: (error) => SqliteError.isLock(codeOf(error))
  })

/**
 * Opens one connection for the current scope, which closes it.
 *
 * Choose it where one is enough, as in a migration; choose a pool over `factory` where fibers share. Fails with a message
 * that names the file and says what is wrong with it, and leaves nothing open. Waits for the locks of others for
 * `busyTimeout`.
 */
export const open = (options: Options): Effect.Effect<SqliteConnection, SqlError, Scope.Scope> => {
  const settings = Settings.resolve(options)
  return Result.isFailure(settings)
    ? Effect.fail(settings.failure)
    : Effect.map(
      Open.open(settings.success, true, lendToOnOpen, Open.closeAndLog),
      (handle) => new Leased(handle, false, undefined)
    )
}

/**
 * `open` with options that were checked. `isFirst` is whether nobody in this process is known to have the file open.
 *
 * @internal
 */
export const openWith = (
  settings: Settings.Settings,
  isFirst = true
): Effect.Effect<SqliteConnection, SqlError, Scope.Scope> =>
  Effect.map(Open.open(settings, isFirst, lendToOnOpen), (handle) => new Leased(handle, false, undefined))

const lendToOnOpen: Open.Lend = (handle) => {
  const connection = new Leased(handle, true, undefined)
  return { connection, end: () => connection.expire("onOpen has ended") }
}

/**
 * SQLite's extended result code behind a `SqlError`, if it came from SQLite: 5 for a database that is locked, 2067 for a
 * value that is there already. All are on https://sqlite.org/rescode.html. Nothing for any other error.
 */
export const codeOf: (error: unknown) => number | undefined = SqliteError.codeOf

/**
 * What a synchronous operation threw, as the failure that it is. Anything else it throws again: that is a defect.
 *
 * ```ts
 * import type { ConnectionPool } from "effect-connection-pool"
 * import { SqliteConnection } from "effect-connection-pool/sqlite"
 *
 * declare const pool: ConnectionPool.ConnectionPool<SqliteConnection.SqliteConnection>
 *
 * export const users = pool.useSync({
 *   try: (connection) => connection.queryUnsafe("select * from users"),
 *   catch: SqliteConnection.failure
 * })
 * ```
 */
export const failure = (thrown: unknown): SqlError | LeaseExpiredError => {
  if (isSqlError(thrown) || thrown instanceof LeaseExpiredError) return thrown
  throw thrown
}

/** What one lease sees of a handle; what `open` gives sees it for as long as it is open. */
class Leased implements SqliteConnection {
  #handle: Handle | undefined
  readonly #waits: boolean
  readonly #pool: string | undefined
  /** Why it was ended, if it was ended from outside. */
  #reason: string | undefined
  /** What watches its age, if anything does. */
  reading: Reading | undefined = undefined

  constructor(handle: Handle, waits: boolean, pool: string | undefined) {
    this.#handle = handle
    this.#waits = waits
    this.#pool = pool
  }

  expire(reason?: string): void {
    this.#handle = undefined
    this.#reason ??= reason
  }

  handle(operation: string): Handle {
    if (this.#handle === undefined) throw this.#expired(operation)
    return this.#handle
  }

  /** For how long to try again what met a lock, if it may be tried again: not in a transaction, where it would not help. */
  patience(thrown: unknown): number {
    if (!this.#waits || this.#handle === undefined || !mayStartLater(codeOf(thrown))) return 0
    return this.#handle.isTransaction("wait") ? 0 : this.#handle.settings.busyTimeout
  }

  /** Why it was ended, if it was ended from outside. */
  get reason(): string | undefined {
    return this.#reason
  }

  #expired(operation: string): LeaseExpiredError {
    return new LeaseExpiredError({
      ...(this.#pool === undefined ? undefined : { pool: this.#pool }),
      operation,
      ...(this.#reason === undefined ? undefined : { reason: this.#reason })
    })
  }

  query(sql: string, params?: Params) {
    return attempt(
      (bigInts) => this.handle("query").rows("query", sql, params, false, bigInts) as Array<Row>,
      this
    )
  }

  values(sql: string, params?: Params) {
    return attempt(
      (bigInts) => this.handle("values").rows("values", sql, params, true, bigInts) as Array<Array<Value>>,
      this
    )
  }

  run(sql: string, params?: Params) {
    return attempt((bigInts) => this.handle("run").run("run", sql, params, bigInts), this)
  }

  exec(script: string) {
    if (!this.#waits) return attempt(() => this.handle("exec").exec("exec", script))
    // What of the script is done is not done again.
    return Effect.suspend(() => {
      const progress = { done: 0 }
      return attempt(() => this.handle("exec").exec("exec", script, progress), this)
    })
  }

  stream(sql: string, params?: Params) {
    return this.streamAs(sql, params, false)
  }

  /** With `isAlone`, what would be gone with the lease is refused. */
  streamAs(
    sql: string,
    params: Params | undefined,
    isAlone: boolean
  ): Stream.Stream<Row, SqlError | LeaseExpiredError> {
    return Stream.fromChannel(Channel.fromTransformBracket((_, __, scope) => {
      let cursor: Cursor | undefined
      const read = attempt(() => {
        this.handle("stream")
        return cursor!.read(rowsAtATime) as Array<Row>
      }).pipe(Effect.flatMap((rows) => Arr.isArrayNonEmpty(rows) ? Exit.succeed(rows) : Cause.done()))
      const open = attempt((bigInts) => {
        const opened = this.handle("stream").cursor("stream", sql, params, bigInts, isAlone)
        cursor = opened
        let isFirst = true
        return Effect.suspend(() => {
          if (!isFirst && opened.isOpen) return Effect.andThen(Effect.yieldNow, read)
          isFirst = false
          return read
        })
      })
      // The other way round there would be a step between the two, in which an interrupt leaves the cursor open.
      return Effect.andThen(Scope.addFinalizer(scope, Effect.sync(() => cursor?.close())), open)
    }))
  }

  get isTransaction() {
    return attempt(() => this.handle("isTransaction").isTransaction("isTransaction"))
  }

  queryUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    return this.handle("queryUnsafe").rows("queryUnsafe", sql, params, false, wantsBigInts(options)) as Array<Row>
  }

  valuesUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    const rows = this.handle("valuesUnsafe").rows("valuesUnsafe", sql, params, true, wantsBigInts(options))
    return rows as Array<Array<Value>>
  }

  runUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    return this.handle("runUnsafe").run("runUnsafe", sql, params, wantsBigInts(options))
  }

  execUnsafe(script: string) {
    this.handle("execUnsafe").exec("execUnsafe", script)
  }

  isTransactionUnsafe() {
    return this.handle("isTransactionUnsafe").isTransaction("isTransactionUnsafe")
  }
}

const rowsAtATime = 256

const wantsBigInts = (options: SyncOptions | undefined): boolean => options?.safeIntegers === true

/** Runs an operation in one step. If that meets a lock, `lent` knows whether to try again. */
const attempt = <A>(
  operation: (bigInts: boolean) => A,
  lent?: Leased
): Effect.Effect<A, SqlError | LeaseExpiredError> =>
  Effect.withFiber((fiber) => {
    const bigInts = fiber.getRef(SafeIntegers)
    try {
      return Exit.succeed(operation(bigInts))
    } catch (thrown) {
      const patience = lent === undefined ? 0 : lent.patience(thrown)
      return patience === 0
        ? Exit.fail(failure(thrown))
        : retryWhileLocked(Effect.try({ try: () => operation(bigInts), catch: failure }), patience, {
          isWorthwhile: mayStartLater
        })
    }
  })

/**
 * What is below a connection: all of the factory's are of this class. Throws once the lease has ended; the connection that
 * the pool keeps never expires.
 *
 * @internal
 */
export const handleOf = (connection: SqliteConnection, operation = "lease"): Handle =>
  (connection as Leased).handle(operation)

/**
 * A statement's rows on a connection that is taken for this statement only: what would be gone with it is refused.
 *
 * @internal
 */
export const streamOn = (
  connection: SqliteConnection,
  sql: string,
  params: Params | undefined,
  isAlone: boolean
): Stream.Stream<Row, SqlError | LeaseExpiredError> => (connection as Leased).streamAs(sql, params, isAlone)

/**
 * What watches the age of a lease, if anything does.
 *
 * @internal
 */
export const readingOf = (lent: SqliteConnection): Reading | undefined => (lent as Leased).reading

/**
 * Why a lease was ended from outside, if it was.
 *
 * @internal
 */
export const reasonOf = (lent: SqliteConnection): string | undefined => (lent as Leased).reason

/** @internal */
export const setReading = (lent: SqliteConnection, reading: Reading): void => {
  ;(lent as Leased).reading = reading
}

/**
 * Ends a lease from outside, and with it what is open on the connection. Whoever uses the lease on is told why.
 *
 * @internal
 */
export const revoke = (lent: SqliteConnection, reason: string): void => {
  const handle = handleOf(lent)
  ;(lent as Leased).expire(reason)
  handle.closeCursors()
  handle.rollback("revoke")
}
