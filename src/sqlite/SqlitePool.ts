/**
 * A SQLite database for many fibers: one connection that writes, and others that read beside it.
 *
 * SQLite lets one write at a time, and in WAL mode any number read meanwhile. Here those who write wait in line, in the
 * order in which they came, where they can be seen, interrupted and timed out, and never inside SQLite, where they would
 * hold up everything. Those who read do not wait for them at all.
 */
import { type Config, Context, type Duration, Effect, Layer, Result, type Scope, Stream } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { AcquireOptions, ConnectionPool, ShutdownReport } from "../ConnectionPool.ts"
import type { ConnectionStats } from "../ConnectionStats.ts"
import * as Calls from "../internal/options/call.ts"
import { unwrap } from "../internal/options/environment.ts"
import * as HeardReactivity from "../internal/transaction/reactivity.ts"
import type { ConnectError, LeaseExpiredError, PoolConfigError, PoolError } from "../PoolError.ts"
import type * as Transaction from "../Transaction.ts"
import { TransactionCommitError, type TransactionError } from "../TransactionError.ts"
import type { Decorate } from "./internal/client/client.ts"
import * as Snapshot from "./internal/client/snapshot.ts"
import type { Held } from "./internal/client/targets.ts"
import { ReaderView } from "./internal/connection/readerView.ts"
import * as Refusal from "./internal/connection/refusal.ts"
import type { BackupOptions, BackupProgress } from "./internal/contract/backup.ts"
import type { CheckpointMode, CheckpointResult } from "./internal/contract/checkpoint.ts"
import type { Isolation } from "./internal/contract/transaction.ts"
import * as Backup from "./internal/file/backup.ts"
import * as Checkpoint from "./internal/file/checkpoint.ts"
import { tidied } from "./internal/file/tidied.ts"
import * as FileCare from "./internal/file/walCare.ts"
import * as PoolSettings from "./internal/options/pool.ts"
import * as Pools from "./internal/pools.ts"
import * as SqliteConnection from "./SqliteConnection.ts"
import { type BackupError, ForeignKeysViolatedError, type SnapshotExpiredError } from "./SqlitePoolError.ts"
import type { SqliteReader } from "./SqliteReader.ts"

export type { BackupOptions, BackupProgress } from "./internal/contract/backup.ts"
export type { CheckpointMode, CheckpointResult } from "./internal/contract/checkpoint.ts"
export type { Isolation } from "./internal/contract/transaction.ts"

/**
 * The options of a database. All but `filename` have defaults; invalid ones are refused with a `PoolConfigError`
 * that lists every problem, before anything is opened.
 */
export interface Options extends
  Pick<
    SqliteConnection.Options,
    | "filename"
    | "synchronous"
    | "foreignKeys"
    | "journalSizeLimit"
    | "walAutocheckpoint"
    | "cacheSize"
    | "tempStore"
    | "pageSize"
    | "autoVacuum"
    | "trustedSchema"
    | "statementCacheSize"
    | "onOpen"
  >
{
  /** What the database is called in errors, events, logs and metrics. Default `"sqlite"`. */
  readonly name?: string | undefined
  /**
   * Connections that read, at most. They are opened as they are needed. As SQLite reads while the caller waits, more do
   * not read faster; they let more hold a snapshot or a stream at the same time. Default 4, floor 1. Of no effect in
   * memory, where there is one connection.
   */
  readonly readers?: number | undefined
  /**
   * How long a statement outside a transaction, and opening a connection, goes on trying while another process has a lock
   * on the file. Other fibers run meanwhile. Default 5 seconds, floor 0: tried once.
   */
  readonly busyTimeout?: Duration.Input | undefined
  /** The deadline for a connection: the line and opening one together. Default 30 seconds. */
  readonly acquireTimeout?: Duration.Input | undefined
  /** Callers in line at most, for the writer and for the readers; one more is refused at once. Default `Infinity`, floor 1. */
  readonly maxWaiting?: number | undefined
  /** How long a reader may be idle before it is closed. Default 10 minutes. */
  readonly idleTimeout?: Duration.Input | undefined
  /** A connection held for longer than this is reported as a possible leak. Default 1 minute. */
  readonly leakThreshold?: Duration.Input | undefined
  /** How long a shutdown waits for those who have a connection before it interrupts them. Default 10 seconds, floor 0. */
  readonly drainTimeout?: Duration.Input | undefined
  /** The deadline of closing one connection. Default 5 seconds. */
  readonly closeTimeout?: Duration.Input | undefined
  /**
   * How long a reader may hold on to one state of the database: in a snapshot, in another transaction that only reads, or
   * with a stream. After that it is ended, and fails, because the log grows as long as it goes on. Default 5 minutes, or
   * `Infinity`. Of no effect in memory.
   */
  readonly maxReadAge?: Duration.Input | undefined
  /**
   * The size of the log, in bytes, that it should not pass. From half of that on it is cut back to nothing as soon as
   * nobody reads in it; if that moment does not come by itself, those who want to write, or to begin a snapshot or a
   * stream, are held up for it, for a quarter of a second at most. Default 64 MiB, floor 1 MiB, or `Infinity`. Of no
   * effect in memory.
   */
  readonly walLimit?: number | undefined
  /** For `sql`: names of columns as they are to appear in rows. Default: as they are. */
  readonly transformResultNames?: ((name: string) => string) | undefined
  /** For `sql`: identifiers as they are to appear in SQL. Default: as they are. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
  /** For `sql`: more attributes of its spans. */
  readonly spanAttributes?: Readonly<Record<string, unknown>> | undefined
}

/** What `read`, `write` and the others fail with besides the failures of their bodies: there is no connection. */
export type NoConnection = PoolError<SqlError>

/** The numbers of both sides at one moment. */
export interface Stats {
  readonly writer: ConnectionStats
  /** In memory the same as `writer`. */
  readonly readers: ConnectionStats
  /** The size of the log, in bytes. */
  readonly walBytes: number
}

/** The pool of one side of the database. */
export type Side = ConnectionPool<SqliteConnection.SqliteConnection, SqlError>

/** What one transaction may ask for. */
export interface TransactionOptions extends Transaction.Options<Isolation> {
  /**
   * When foreign keys are checked: `"deferred"` when the transaction is committed, so that rows may be written in any order;
   * a violation is a `TransactionCommitError` then. Default: as the schema says, mostly after each statement. See
   * `RebuildOptions` for `"off"`.
   */
  readonly foreignKeys?: "deferred" | undefined
}

/**
 * What a transaction may ask for that rebuilds a table, which SQLite's `alter table` cannot change: with foreign keys
 * `"off"`, its parent can be dropped and made anew without its children being deleted.
 *
 * Before the commit all foreign keys of the database are checked. If rows violate them that did not before, nothing is
 * committed, and the transaction fails with `ForeignKeysViolatedError`, which lists them. Only the outermost transaction may
 * ask for this.
 */
export interface RebuildOptions extends Omit<TransactionOptions, "foreignKeys"> {
  readonly foreignKeys: "off" | "deferred" | undefined
}

/**
 * A SQLite database, open.
 *
 * Any number of fibers may use it at once. `read` and `write` lend a connection for an effect; the rest is made of that.
 */
export interface SqlitePool {
  /** What the database is called. */
  readonly name: string
  /**
   * Effect's client on this database, for all that is made for one: statements from templates, schemas, resolvers,
   * models, migrations. What only reads runs on a reader, the rest on the writer, and within a transaction on that one's.
   */
  readonly sql: SqlClient.SqlClient
  /** The file, absolute; or `":memory:"`. */
  readonly filename: string

  /**
   * Runs an effect with a connection that reads. It sees everything that was committed before it asks; each statement
   * sees the newest state. For several statements that are to see the same, see `snapshot`.
   *
   * Waits if all readers are lent, but never for those who write, and never gets the writer. Within a transaction or a
   * `snapshot`, it reads in that, and does not wait.
   */
  readonly read: <A, E, R>(
    f: (reader: SqliteReader) => Effect.Effect<A, E, R>,
    options?: AcquireOptions
  ) => Effect.Effect<A, E | NoConnection, R>

  /**
   * Runs a synchronous function with a connection that reads: `read` for a statement or two, at a lower price. What the
   * connection throws is a failure; what else the function throws is a defect. Nothing waits for the locks of others.
   */
  readonly readSync: <A>(
    f: (reader: SqliteReader) => A,
    options?: AcquireOptions
  ) => Effect.Effect<A, SqlError | LeaseExpiredError | NoConnection>

  /**
   * Runs an effect with the connection that writes, while nobody else has it. Each statement is committed by itself.
   *
   * Waits for those who came before, in order. A statement that meets the lock of another process waits for that, for
   * `busyTimeout`. Within a transaction, it writes in that; one that only reads refuses it. A fiber that writes within its own `write` would wait for
   * itself: that is a `SelfDeadlockError`.
   */
  readonly write: <A, E, R>(
    f: (connection: SqliteConnection.SqliteConnection) => Effect.Effect<A, E, R>,
    options?: AcquireOptions
  ) => Effect.Effect<A, E | NoConnection, R>

  /** Runs a synchronous function with the connection that writes: `write` at a lower price. See `readSync`. */
  readonly writeSync: <A>(
    f: (connection: SqliteConnection.SqliteConnection) => A,
    options?: AcquireOptions
  ) => Effect.Effect<A, SqlError | LeaseExpiredError | NoConnection>

  /**
   * Runs an effect as a transaction: commits when it succeeds, and rolls back when it fails, dies or is interrupted.
   * Everything in it that uses this database, be it `read`, `write`, `sql` or a service that knows no more than that, is
   * part of it, without a connection being passed around. Inside another transaction it is a savepoint.
   *
   * Has the connection that writes until it ends; with `readOnly`, a reader. What else there is to know of transactions
   * is in `Transaction`, and how they end in `TransactionError`.
   */
  readonly transaction: {
    <A, E, R>(
      effect: Effect.Effect<A, E, R>,
      options?: TransactionOptions
    ): Effect.Effect<A, E | TransactionError | NoConnection, R>
    <A, E, R>(
      effect: Effect.Effect<A, E, R>,
      options: RebuildOptions
    ): Effect.Effect<A, E | TransactionError | ForeignKeysViolatedError | NoConnection, R>
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
  ) => Effect.Effect<A, E | TransactionError | SnapshotExpiredError | NoConnection, R>

  /**
   * The rows of one statement that reads, as a stream: for more rows than belong in memory.
   *
   * Holds one reader from its first row to its end, and sees one state of the database; `maxReadAge` is a limit here too,
   * after which it fails. Reads on only when rows are asked for. For a few rows, `read` is faster.
   */
  readonly stream: (
    sql: string,
    params?: SqliteConnection.Params,
    options?: AcquireOptions
  ) => Stream.Stream<SqliteConnection.Row, SqlError | LeaseExpiredError | NoConnection>

  /**
   * Copies the database, in the state of this moment, to a file, while it goes on being used; the stream tells how far
   * it is, and the copy is complete when it ends: `Stream.runDrain`. The work is done in another thread.
   *
   * The file appears when it is complete, and replaces one that was there; it must not be in use. A link is followed.
   * Interrupting the stream ends the copy after its next step, and leaves nothing behind.
   *
   * Fails with `BackupError`, which says why, if the file cannot be written, or must not be: it is a file of the database
   * itself, or has a `-wal`, `-shm` or `-journal` beside it. Fails with `PoolClosedError` when the pool is shut down
   * meanwhile. What a process that was killed has left of a copy (`<file>.<id>.partial`) is removed by the next backup to
   * that file.
   */
  readonly backup: (
    filename: string,
    options?: BackupOptions
  ) => Stream.Stream<BackupProgress, BackupError | SqlError | LeaseExpiredError | NoConnection>

  /**
   * Moves the log to the file, which SQLite does by itself every thousand pages or so; `"truncate"`, the default, cuts it
   * back to nothing as well. What cannot be done because somebody reads in the log, the result says. Holds up the event
   * loop while it writes.
   */
  readonly checkpoint: (
    mode?: CheckpointMode
  ) => Effect.Effect<CheckpointResult, SqlError | LeaseExpiredError | NoConnection>

  /** The numbers of this moment. */
  readonly stats: Effect.Effect<Stats>

  /**
   * The pool of the connection that writes, for whatever works on a `ConnectionPool`: health checks, metrics, events, who
   * holds what. Statements belong into `write`, which knows of transactions. In memory, its connection is not replaced:
   * `recycle` and `invalidate` do nothing.
   */
  readonly writer: Side

  /** The pool of the connections that read, likewise. In memory the same as `writer`. */
  readonly readers: Side

  /**
   * The pools that there are: both, or `writer` alone where it is the same as `readers`. With them, this database is what
   * a `HealthChecker` watches: `HealthChecker.make(db)`.
   */
  readonly sides: { readonly writer: Side; readonly readers?: Side }

  /**
   * Ends the database: first the readers, then the writer, so that the log is moved to the file and deleted. Each goes
   * down as `ConnectionPool.shutdown` says. The end of the scope or the layer does the same.
   */
  readonly shutdown: Effect.Effect<{ readonly readers: ShutdownReport; readonly writer: ShutdownReport }>
}

/** The database of an application that has one. For several, see `Service`. */
export const SqlitePool: Context.Service<SqlitePool, SqlitePool> = Context.Service<SqlitePool>(
  "effect-connection-pool/SqlitePool"
)

/**
 * A database for the current scope, which closes it.
 *
 * Opens the connection that writes, which creates the file if need be (but not its folder), and fails with a
 * `ConnectError` that says what is wrong with the file; nothing is left open then. While another process has a lock on
 * it, tries until `acquireTimeout`.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const pool = yield* SqlitePool.make({ filename: "app.db" })
 *   yield* pool.write((connection) => connection.exec("create table if not exists users(id integer primary key, name)"))
 *   yield* pool.write((connection) => connection.run("insert into users(name) values (?)", ["Ada"]))
 *   return yield* pool.read((reader) => reader.query("select * from users where name = ?", ["Ada"]))
 * }))
 * ```
 */
export const make = (
  options: Options
): Effect.Effect<SqlitePool, PoolConfigError | ConnectError<SqlError>, Scope.Scope> =>
  Effect.suspend(() => {
    const settings = PoolSettings.resolve(options)
    return Result.isFailure(settings)
      ? Effect.fail(settings.failure)
      : Effect.map(makeWith(settings.success), ({ pool }) => pool)
  })

/**
 * `make` with options that were checked, and what is behind the pool.
 *
 * @internal
 */
export const makeWith = Effect.fnUntraced(function*(settings: PoolSettings.PoolSettings, decorate?: Decorate) {
  const pools = yield* Pools.make(settings, decorate)
  if (pools.file !== undefined) yield* Effect.forkScoped(FileCare.run(pools, pools.file))
  return { pool: fromPools(pools), pools }
})

/**
 * A database as a layer: `make` for as long as the layer lives. Provides Effect's `SqlClient` as well.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 *
 * export const users = Effect.gen(function*() {
 *   const pool = yield* SqlitePool.SqlitePool
 *   return yield* pool.read((reader) => reader.query("select * from users"))
 * })
 *
 * export const Database = SqlitePool.layer({ filename: "app.db", readers: 8 })
 * ```
 */
export const layer = (
  options: Options
): Layer.Layer<SqlitePool | SqlClient.SqlClient, PoolConfigError | ConnectError<SqlError>> =>
  HeardReactivity.inLayer(Layer.effectContext(Effect.map(make(options), withClient)))

/**
 * `layer`, with options from the configuration: all of them with `config`, or each with a `Config` of its own.
 *
 * Fails with a `ConfigError` that lists every variable that is not set or is not what it must be.
 *
 * ```ts
 * import { Config } from "effect"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 *
 * // Every option from the environment: DB_FILENAME, DB_READERS, DB_BUSY_TIMEOUT and so on.
 * export const Database = SqlitePool.layerConfig(SqlitePool.config("DB"))
 *
 * export const Archive = SqlitePool.layerConfig({
 *   filename: Config.String("ARCHIVE_FILE"),
 *   readers: Config.succeed(2)
 * })
 * ```
 */
export const layerConfig = (
  config: Config.Wrap<Options>
): Layer.Layer<
  SqlitePool | SqlClient.SqlClient,
  Config.ConfigError | PoolConfigError | ConnectError<SqlError>
> =>
  HeardReactivity.inLayer(
    Layer.effectContext(Effect.map(Effect.flatMap(unwrap<Options>(config), make), withClient))
  )

/** The pool, and its client for all that asks for one. */
const withClient = (pool: SqlitePool): Context.Context<SqlitePool | SqlClient.SqlClient> =>
  Context.make(SqlitePool, pool).pipe(Context.add(SqlClient.SqlClient, pool.sql))

/** The options of a database whose file is nobody's business. */
export type TemporaryOptions = Omit<Options, "filename">

/**
 * A new, empty database in a temporary folder, which is deleted with the current scope: everything a database in a file
 * does, for tests. Does not wait for the disk.
 */
export const makeTemporary = (
  options?: TemporaryOptions
): Effect.Effect<SqlitePool, PoolConfigError | ConnectError<SqlError>, Scope.Scope> =>
  Effect.gen(function*() {
    const resolve = yield* Effect.fromResult(PoolSettings.resolveTemporary(options === undefined ? {} : options))
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-connection-pool-"))),
      (folder) => tidied(`the folder ${folder}`, () => rmSync(folder, { recursive: true, force: true }))
    )
    const { pool } = yield* makeWith(resolve(join(folder, "temporary.db")))
    return pool
  })

/**
 * `makeTemporary` as a layer.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 *
 * export const test = Effect.gen(function*() {
 *   const pool = yield* SqlitePool.SqlitePool
 *   yield* pool.write((connection) => connection.exec("create table t(a); insert into t values (1)"))
 *   return yield* pool.read((reader) => reader.values("select a from t"))
 * }).pipe(Effect.provide(SqlitePool.layerTemporary()))
 * ```
 */
export const layerTemporary = (
  options?: TemporaryOptions
): Layer.Layer<SqlitePool | SqlClient.SqlClient, PoolConfigError | ConnectError<SqlError>> =>
  HeardReactivity.inLayer(Layer.effectContext(Effect.map(makeTemporary(options), withClient)))

/**
 * Every option from the configuration, under a prefix: with `SqlitePool.config("DB")`, `DB_FILENAME=app.db`,
 * `DB_READERS=8`, `DB_BUSY_TIMEOUT=2s`, `DB_WAL_LIMIT=64MiB`. `FILENAME` has to be set; what else is not keeps its default.
 * One `ConfigError` lists every variable that is not what it must be. Variables that are no options are left alone.
 */
export const config = (prefix?: string): Config.Config<Options> => PoolSettings.config(prefix) as Config.Config<Options>

/** A service that is a database: the class that `Service` makes. */
export interface ServiceClass<Self, Id extends string> extends Context.ServiceClass<Self, Id, SqlitePool> {
  /** The database as a layer: `make` with these options. */
  readonly layer: (options: Options) => Layer.Layer<Self, PoolConfigError | ConnectError<SqlError>>
  /** `layer`, with options from the configuration: see `layerConfig`. */
  readonly layerConfig: (
    config: Config.Wrap<Options>
  ) => Layer.Layer<Self, Config.ConfigError | PoolConfigError | ConnectError<SqlError>>
  /** An empty database as a layer, for tests: see `makeTemporary`. */
  readonly layerTemporary: (options?: TemporaryOptions) => Layer.Layer<Self, PoolConfigError | ConnectError<SqlError>>
}

/**
 * A database as a service of its own: one class for each, in an application that has several.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 *
 * export class Orders extends SqlitePool.Service<Orders>()("app/Orders") {}
 * export class Archive extends SqlitePool.Service<Archive>()("app/Archive") {}
 *
 * export const program = Effect.gen(function*() {
 *   const orders = yield* Orders
 *   return yield* orders.read((reader) => reader.query("select * from orders"))
 * }).pipe(Effect.provide([Orders.layer({ filename: "orders.db" }), Archive.layer({ filename: "archive.db" })]))
 * ```
 */
export const Service = <Self>() => <const Id extends string>(id: Id): ServiceClass<Self, Id> => {
  const service = Context.Service<Self, SqlitePool>()(id)
  return Object.assign(service, {
    layer: (options: Options) => HeardReactivity.inLayer(Layer.effect(service, make(options))),
    layerConfig: (config: Config.Wrap<Options>) =>
      HeardReactivity.inLayer(Layer.effect(service, Effect.flatMap(unwrap<Options>(config), make))),
    layerTemporary: (options?: TemporaryOptions) =>
      HeardReactivity.inLayer(Layer.effect(service, makeTemporary(options)))
  }) as unknown as ServiceClass<Self, Id>
}

const fromPools = (pools: Pools.Pools): SqlitePool => {
  const { client, file, readers, settings, writer } = pools

  const refusal = Refusal.ofReader(settings.name)
  const viewOf = (connection: SqliteConnection.SqliteConnection) => new ReaderView(connection, refusal)

  /** In memory there is no other connection: what can be done within is done on this one. */
  const holding = <A, E, R>(
    side: Held["side"],
    connection: SqliteConnection.SqliteConnection,
    effect: Effect.Effect<A, E, R>
  ) => Effect.provideService(effect, pools.held, { side, connection })

  const [use, useSync]: [SqlitePool["read"], SqlitePool["readSync"]] = file === undefined
    ? [
      (f, options) => readers.use((connection) => holding("read", connection, f(viewOf(connection))), options),
      (f, options) => readers.useSync({ try: (connection) => f(viewOf(connection)), catch: failure }, options)
    ]
    : [readers.use, (f, options) => readers.useSync({ try: f, catch: failure }, options)]

  /** In a transaction, the options of a call have no effect; but invalid ones are refused as everywhere. */
  const invalid = (options: AcquireOptions | undefined) => {
    if (options === undefined) return undefined
    const checked = Calls.resolve(settings.name, options)
    return Calls.isRefused(checked) ? Effect.fail(checked) : undefined
  }

  return {
    name: settings.name,
    filename: settings.connection.filename,
    sql: client.sql,
    read: (f, options) =>
      Effect.withFiber((fiber) => {
        const reader = Pools.readerOf(pools, fiber)
        return reader === undefined ? use(f, options) : invalid(options) ?? f(reader)
      }),
    readSync: (f, options) =>
      Effect.withFiber((fiber) => {
        const reader = Pools.readerOf(pools, fiber)
        if (reader === undefined) return useSync(f, options)
        return invalid(options) ?? Effect.try({ try: () => f(reader), catch: failure })
      }),
    write: (f, options) =>
      Effect.withFiber((fiber) => {
        const connection = Pools.writerOf(pools, fiber)
        if (file !== undefined) {
          return connection === undefined ? writer.use(f, options) : invalid(options) ?? f(connection)
        }
        return connection === undefined
          ? writer.use((connection) => holding("write", connection, f(connection)), options)
          : invalid(options) ?? holding("write", connection, f(connection))
      }),
    writeSync: (f, options) =>
      Effect.withFiber((fiber) => {
        const connection = Pools.writerOf(pools, fiber)
        if (connection === undefined) return writer.useSync({ try: f, catch: failure }, options)
        return invalid(options) ?? Effect.try({ try: () => f(connection), catch: failure })
      }),
    transaction: <A, E, R>(effect: Effect.Effect<A, E, R>, options?: TransactionOptions | RebuildOptions) => {
      const transaction = client.transactor.transaction(effect, options)
      return (options as Partial<RebuildOptions> | undefined)?.foreignKeys === "off"
        ? Effect.catch(transaction, (error) => Effect.fail(violationsBehind(error) as typeof error))
        : transaction
    },
    snapshot: (effect, options) =>
      options === undefined
        ? Snapshot.snapshot(pools, effect, options)
        : Effect.suspend(() => invalid(options) ?? Snapshot.snapshot(pools, effect, options)),
    stream: (sql, params, options) =>
      Stream.unwrap(
        Effect.withFiber((fiber) => {
          const reader = Pools.readerOf(pools, fiber)
          if (reader !== undefined) return invalid(options) ?? Effect.succeed(reader.stream(sql, params))
          return Effect.flatMap(pools.acquireReader(options === undefined ? {} : options), (connection) => {
            const reader: SqliteReader = file === undefined ? viewOf(connection) : connection
            // A stream does not wait for locks; this does, and after it there is none any more.
            return Effect.as(reader.values("select 1 from sqlite_schema limit 1"), reader.stream(sql, params))
          })
        })
      ),
    backup: (filename, options) => Backup.backup(pools, filename, options),
    checkpoint: (mode = "truncate") =>
      Effect.suspend(() => {
        const checked = PoolSettings.resolveCheckpoint(settings.name, mode)
        return Result.isFailure(checked)
          ? Effect.fail(checked.failure)
          : writer.use((connection) => Checkpoint.checkpoint(connection, checked.success), { label: "checkpoint" })
      }),
    stats: Effect.gen(function*() {
      return {
        writer: yield* writer.stats,
        readers: yield* readers.stats,
        walBytes: file === undefined ? 0 : file.file.walBytes
      }
    }),
    writer,
    readers,
    sides: readers === writer ? { writer } : { writer, readers },
    shutdown: Effect.gen(function*() {
      const ofReaders = yield* readers.shutdown()
      return { readers: ofReaders, writer: yield* writer.shutdown() }
    })
  }
}

/** A commit that was refused because of foreign keys fails as that, and everything else as it did. */
const violationsBehind = <E>(error: E): E | ForeignKeysViolatedError =>
  error instanceof TransactionCommitError && error.cause.reason.cause instanceof ForeignKeysViolatedError
    ? error.cause.reason.cause
    : error

const { failure } = SqliteConnection
