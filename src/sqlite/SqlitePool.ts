/**
 * A SQLite database for many fibers: one connection that writes, and others that read beside it.
 *
 * SQLite lets one connection write at a time, and in WAL mode any number read meanwhile (https://sqlite.org/wal.html).
 * Fibers that write wait in line, in order of arrival. There they can be seen, interrupted and timed out; inside SQLite they
 * would stop the event loop. Fibers that read never wait for fibers that write.
 */
import { type Config, Context, Effect, Layer, Result, type Scope } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { unwrap } from "../internal/options/environment.ts"
import { causeText } from "../internal/pool/causeText.ts"
import * as HeardReactivity from "../internal/transaction/reactivity.ts"
import { ConnectError, type PoolConfigError } from "../PoolError.ts"
import * as Execution from "./internal/client/execution.ts"
import { SqlitePool } from "./internal/contract/pool.ts"
import type { Options, TemporaryOptions } from "./internal/contract/poolOptions.ts"
import { makeWith } from "./internal/database.ts"
import { fileName } from "./internal/file/fileName.ts"
import { tidied } from "./internal/file/tidied.ts"
import * as PoolSettings from "./internal/options/pool.ts"

export type { BackupOptions, BackupProgress } from "./internal/contract/backup.ts"
export type { BatchOptions, BatchProgress, BatchStatement } from "./internal/contract/batch.ts"
export type { CheckpointMode, CheckpointResult } from "./internal/contract/checkpoint.ts"
export type { Execution, InProcessOptions, ReadOptions } from "./internal/contract/execution.ts"
export type { Commit, ObserveOptions } from "./internal/contract/observe.ts"
export { type ShutdownReports, SqlitePool, type Stats } from "./internal/contract/pool.ts"
export type { Options, TemporaryOptions } from "./internal/contract/poolOptions.ts"
export type { Isolation, RebuildOptions, TransactionOptions } from "./internal/contract/transaction.ts"

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
 *   yield* pool.sql`create table if not exists users(id integer primary key, name)`
 *   yield* pool.sql`insert into users(name) values (${"Ada"})`
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
  HeardReactivity.inLayer(Layer.effectContext(Effect.map(make(options), services)))

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
    Layer.effectContext(Effect.map(Effect.flatMap(unwrap<Options>(config), make), services))
  )

/**
 * The services of an open database: the pool, and its client for all that asks for one. It is what `layer` provides, for
 * a database that was made without a layer: `Effect.provideContext(effect, SqlitePool.services(pool))`.
 */
export const services = (pool: SqlitePool): Context.Context<SqlitePool | SqlClient.SqlClient> =>
  Context.make(SqlitePool, pool).pipe(Context.add(SqlClient.SqlClient, pool.sql))

/**
 * Runs an effect whose reads run on workers: statements of `sql` that only read, also those of models and resolvers, and
 * `read` and `stream`. Choose it for a report or an export that would stop the event loop for too long.
 *
 * Fails where a database has no `workers`, with the error of the statement or of `read`. In memory it has no effect. Writes,
 * and all that is inside a transaction or a `snapshot`, run where they always do.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 *
 * export const report = Effect.gen(function*() {
 *   const { sql } = yield* SqlitePool.SqlitePool
 *   return yield* sql`select page, count(*) as visits from visit group by page order by visits desc`
 * }).pipe(SqlitePool.onWorker)
 *
 * export const Database = SqlitePool.layer({ filename: "app.db", workers: 2 })
 * ```
 */
export const onWorker: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Execution.within("worker")

/**
 * Runs an effect whose reads run in the thread of the application, whatever `execution` of the database says. Choose it for
 * point reads, which a worker answers later.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 *
 * export const visits = (page: string) =>
 *   Effect.gen(function*() {
 *     const { sql } = yield* SqlitePool.SqlitePool
 *     return yield* sql`select visits from counter where page = ${page}`
 *   }).pipe(SqlitePool.inProcess)
 *
 * export const Database = SqlitePool.layer({ filename: "app.db", execution: "worker" })
 * ```
 */
export const inProcess: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Execution.within(
  "in-process"
)

export {
  /**
   * The name of a file for a key that may be any text, without extension: for a database per customer.
   *
   * The name has no other characters than `a` to `z`, digits, `_`, `-` and `=`, so it stays in its folder, whatever the key
   * is. Two keys never have the same name, not even where upper and lower case are the same for the file system. Other
   * characters are written as numbers: `"Ada/1"` is `=41da=2f1`. A long name ends with a hash of the key.
   *
   * ```ts
   * import { SqlitePool } from "effect-connection-pool/sqlite"
   *
   * export const fileOf = (customer: string): string => `data/${SqlitePool.fileName(customer)}.db`
   * ```
   */
  fileName
}

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
      Effect.try({ try: makeFolder, catch: (cause) => noFolder(resolve("").name, cause) }),
      (folder) => tidied(`the folder ${folder}`, () => rmSync(folder, { recursive: true, force: true }))
    )
    const { pool } = yield* makeWith(resolve(join(folder, "temporary.db")))
    return pool
  })

const makeFolder = () => mkdtempSync(join(tmpdir(), "effect-connection-pool-"))

const noFolder = (pool: string, cause: unknown): ConnectError<SqlError> => {
  const message =
    `cannot make a folder in "${tmpdir()}", the folder for temporary files (${causeText(cause)}): set TMPDIR ` +
    "to another one"
  const error = new SqlError({ reason: new ConnectionError({ cause, message, operation: "open" }) })
  return new ConnectError({ pool, attempts: 1, reason: { _tag: "ConnectFailed", error } })
}

/**
 * `makeTemporary` as a layer.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 *
 * export const test = Effect.gen(function*() {
 *   const pool = yield* SqlitePool.SqlitePool
 *   yield* pool.writeSync((connection) => connection.execUnsafe("create table t(a); insert into t values (1)"))
 *   return yield* pool.read((reader) => reader.values("select a from t"))
 * }).pipe(Effect.provide(SqlitePool.layerTemporary()))
 * ```
 */
export const layerTemporary = (
  options?: TemporaryOptions
): Layer.Layer<SqlitePool | SqlClient.SqlClient, PoolConfigError | ConnectError<SqlError>> =>
  HeardReactivity.inLayer(Layer.effectContext(Effect.map(makeTemporary(options), services)))

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
