/**
 * The client of `@effect/sql-sqlite-node`, on a pool: the same service, the same names, and behind them one connection that
 * writes and several that read.
 *
 * An application changes the line that imports it. Nothing of that package is needed for it, and where it is installed,
 * its service and this one are the same: what asks for either gets the pool.
 */
import { type Config, Context, type Duration, Effect, Layer, Option, Result, type Scope, Stream } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { unwrap } from "../internal/options/environment.ts"
import { unless } from "../internal/options/problems.ts"
import * as Options from "../internal/options/rules.ts"
import * as HeardReactivity from "../internal/transaction/reactivity.ts"
import { sqlErrorOf } from "../internal/transaction/sqlErrorOf.ts"
import type { ConnectError, PoolConfigError } from "../PoolError.ts"
import { handleOf } from "../sqlite/internal/connection/leased.ts"
import { makeWith } from "../sqlite/internal/database.ts"
import { failure, toSqlError } from "../sqlite/internal/errors.ts"
import { invalidInput } from "../sqlite/internal/failures.ts"
import { sharedNames } from "../sqlite/internal/options/functions.ts"
import * as PoolSettings from "../sqlite/internal/options/pool.ts"
import type { Pools } from "../sqlite/internal/pools.ts"
import { Lasting } from "../sqlite/internal/sql/lasting.ts"
import * as SqlitePool from "../sqlite/SqlitePool.ts"
import { oneConnection } from "./internal/oneConnection.ts"

/** Marks a client of this kind, as that of `@effect/sql-sqlite-node` does. */
export const TypeId: TypeId = "~@effect/sql-sqlite-node/SqliteClient"

/** Marks a client of this kind. */
export type TypeId = "~@effect/sql-sqlite-node/SqliteClient"

/**
 * Effect's `SqlClient` on a SQLite database, and what SQLite has besides.
 *
 * What `SqlClient` says of statements, streams, transactions and reactive queries holds here. Statements that only read do
 * not wait for those that write, nor for a transaction that is open.
 */
export interface SqliteClient extends SqlClient.SqlClient {
  readonly [TypeId]: TypeId

  /** The options that the client was made with. */
  readonly config: SqliteClientConfig

  /**
   * Copies the database, in the state of this moment, to a file, while it goes on being used. Fails with a `SqlError` that
   * says why if it cannot be written; then nothing is there that was not before. `SqlitePool.backup` tells how far it is.
   */
  readonly backup: (destination: string) => Effect.Effect<BackupMetadata, SqlError>

  /**
   * Loads an extension of SQLite from a file: when it has ended, every connection has it, and those that are opened later
   * get it as they are opened. SQL itself may not load any.
   *
   * Waits for the connection that writes, and fails with SQLite's reason if the extension cannot be loaded; inside a
   * transaction it is refused. A reader that is in use at this moment stays as it is until it is returned. Load what is needed
   * before anything else is done.
   */
  readonly loadExtension: (path: string) => Effect.Effect<void, SqlError>

  /** Not there for SQLite, as `SqlClient` has it. What is built with it all the same is no SQL, and fails as that. */
  readonly updateValues: never
}

/** The pages that a backup has copied. */
export interface BackupMetadata {
  readonly totalPages: number
  /** 0: it is complete. */
  readonly remainingPages: number
}

/**
 * The service, under the key that it has in `@effect/sql-sqlite-node`: either stands for the other.
 */
export const SqliteClient: Context.Service<SqliteClient, SqliteClient> = Context.Service<SqliteClient>(
  "@effect/sql-sqlite-node/SqliteClient"
)

/**
 * The options of `@effect/sql-sqlite-node`, and those of a `SqlitePool`. All but `filename` have defaults.
 *
 * `filename` is a path or `":memory:"`: no URI, and no empty name. With `execution: "worker"`, what only reads runs in threads, and
 * what statements have changed about their connection lasts there too. Not with `readonly` and `disableWAL`.
 */
export interface SqliteClientConfig extends Omit<SqlitePool.Options, "readOnly" | "immutable"> {
  /**
   * Whether the file is only read. It has to exist, all connections are read-only, and a transaction only reads. Default
   * false.
   */
  readonly readonly?: boolean | undefined
  /** Prepared statements that each connection keeps: another name for `statementCacheSize`. Default 200. */
  readonly prepareCacheSize?: number | undefined
  /** Of no effect: prepared statements do not age. They are kept while there are not more of them than may be. */
  readonly prepareCacheTTL?: Duration.Input | undefined
  /**
   * Whether to leave the journal as it is, instead of turning on WAL. Then readers and writers keep each
   * other out, so there is one connection, in one line: as much as `@effect/sql-sqlite-node` has, and no more. `readers`
   * and `walLimit` are of no effect. Default false.
   */
  readonly disableWAL?: boolean | undefined
  /**
   * Whether callers that write at the same time share one commit. Default false, unlike that of a `SqlitePool`: a program
   * written for one connection may ask for `last_insert_rowid()` after its `insert`, and other callers of its group have
   * written since. Set it if no statement asks for `last_insert_rowid()` or `changes()` outside of a transaction.
   */
  readonly groupCommit?: boolean | undefined
}

/**
 * A client for the current scope, which closes it.
 *
 * Fails with a `ConnectError` that says what is wrong with the file, and with a `PoolConfigError` that lists what is wrong
 * with the options: where `@effect/sql-sqlite-node` dies.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqliteClient } from "effect-connection-pool/sqlite-node"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const sql = yield* SqliteClient.make({ filename: "app.db" })
 *   yield* sql`create table if not exists people(id integer primary key, name text not null)`
 *   yield* sql`insert into people ${sql.insert({ name: "Ada" })}`
 *   yield* sql.backup("app-backup.db")
 *   return yield* sql<{ name: string }>`select name from people`
 * }))
 * ```
 */
export const make = (
  config: SqliteClientConfig
): Effect.Effect<SqliteClient, PoolConfigError | ConnectError<SqlError>, Scope.Scope> =>
  Effect.map(makeWithPool(config), ({ client }) => client)

/**
 * A client as a layer. Provides the `SqliteClient`, Effect's `SqlClient`, and the `SqlitePool` that both are on.
 *
 * ```ts
 * import { Effect } from "effect"
 * // import { SqliteClient } from "@effect/sql-sqlite-node"
 * import { SqliteClient } from "effect-connection-pool/sqlite-node"
 *
 * export const people = Effect.gen(function*() {
 *   const sql = yield* SqliteClient.SqliteClient
 *   return yield* sql<{ name: string }>`select name from people`
 * }).pipe(Effect.provide(SqliteClient.layer({ filename: "app.db" })))
 * ```
 */
export const layer = (
  config: SqliteClientConfig
): Layer.Layer<
  SqliteClient | SqlClient.SqlClient | SqlitePool.SqlitePool,
  PoolConfigError | ConnectError<SqlError>
> => HeardReactivity.inLayer(Layer.effectContext(Effect.map(makeWithPool(config), toContext)))

/**
 * `layer`, with options from the configuration.
 *
 * ```ts
 * import { Config } from "effect"
 * import { SqliteClient } from "effect-connection-pool/sqlite-node"
 *
 * export const Database = SqliteClient.layerConfig({ filename: Config.String("DATABASE_FILE") })
 * ```
 */
export const layerConfig = (
  config: Config.Wrap<SqliteClientConfig>
): Layer.Layer<
  SqliteClient | SqlClient.SqlClient | SqlitePool.SqlitePool,
  Config.ConfigError | PoolConfigError | ConnectError<SqlError>
> =>
  HeardReactivity.inLayer(Layer.effectContext(
    Effect.gen(function*() {
      const options = yield* unwrap<SqliteClientConfig>(config)
      return toContext(yield* makeWithPool(options))
    })
  ))

interface Made {
  readonly client: SqliteClient
  readonly pool: SqlitePool.SqlitePool
}

const toContext = ({ client, pool }: Made) =>
  Context.make(SqliteClient, client).pipe(
    Context.add(SqlClient.SqlClient, client),
    Context.add(SqlitePool.SqlitePool, pool)
  )

const makeWithPool = (
  config: SqliteClientConfig
): Effect.Effect<Made, PoolConfigError | ConnectError<SqlError>, Scope.Scope> =>
  Effect.suspend(() => {
    const settings = resolve(config)
    if (Result.isFailure(settings)) return Effect.fail(settings.failure)
    const { lasting, poolSettings } = settings.success
    return Effect.map(makeWith(poolSettings, oneConnection(lasting)), ({ pool, pools }) => {
      // In place: the client refers to itself, and copies of it are made from it.
      const client = Object.assign(pool.sql, {
        [TypeId]: TypeId,
        config,
        backup: (destination: string) => backup(pool, destination),
        loadExtension: (path: string) => loadExtension(pools, path)
      })
      return { client: client as SqliteClient, pool }
    })
  })

const { immutable: _immutable, readOnly: _readOnly, ...ofPool } = PoolSettings.sqlitePoolTable.rules
const { statementCacheSize } = ofPool

const table = Options.table({
  ...ofPool,
  groupCommit: { kind: "flag", default: false },
  readonly: { kind: "flag", default: false },
  prepareCacheSize: statementCacheSize,
  prepareCacheTTL: { kind: "duration", zero: true },
  disableWAL: { kind: "flag", default: false }
}, [
  {
    fields: ["readonly", "filename"],
    broken: ({ filename, readonly }) =>
      readonly && filename === ":memory:" ? "false for \":memory:\", which nothing else could fill" : undefined
  },
  ...(["readonly", "disableWAL", "filename"] as const).map((field) => ({
    fields: ["workers", field] as const,
    broken: (checked: WithWorkers, other: string, given: ReadonlySet<string>) =>
      PoolSettings.workersOf(checked, given) > 0 &&
        (field === "filename" ? checked.filename === ":memory:" : checked[field])
        ? `0, and execution "in-process", with ${other} ${JSON.stringify(checked[field])}`
        : undefined
  })),
  ...PoolSettings.relationsOfWorkers,
  {
    fields: ["aggregates", "functions"],
    broken: ({ aggregates, functions }) => sharedNames(functions, aggregates)
  }
])

interface WithWorkers {
  readonly workers: number
  readonly execution: "in-process" | "worker" | "auto"
  readonly filename: string
  readonly readonly: boolean
  readonly disableWAL: boolean
}

interface Settings {
  readonly poolSettings: PoolSettings.PoolSettings
  /** What statements change about their connection. */
  readonly lasting: Lasting
}

const resolve = (config: SqliteClientConfig): Result.Result<Settings, PoolConfigError> => {
  const { checked, given, problems } = Options.check(table, config)
  const { disableWAL, prepareCacheSize, prepareCacheTTL: _, readonly, ...options } = checked
  return Result.map(unless(checked.name, problems, options), (options) => {
    const settings = PoolSettings.settingsOf({
      ...options,
      readOnly: readonly,
      immutable: false,
      workers: PoolSettings.workersOf(options, given),
      ...(given.has("prepareCacheSize") ? { statementCacheSize: prepareCacheSize } : undefined)
    })
    const { connection, walLimit } = settings
    // Without WAL, a connection that reads keeps the one that writes from committing.
    const isOneConnection = settings.isOneConnection || (disableWAL && !readonly)
    const lasting = new Lasting(readonly, isOneConnection)
    const poolSettings = {
      ...settings,
      isOneConnection,
      // A database that is only read cannot cut its log back.
      walLimit: readonly ? Infinity : walLimit,
      connection: {
        ...connection,
        journalMode: disableWAL ? undefined : connection.journalMode,
        extensions: new Set<string>(),
        lasting
      }
    }
    return { poolSettings, lasting }
  })
}

const backup = (pool: SqlitePool.SqlitePool, destination: string): Effect.Effect<BackupMetadata, SqlError> =>
  Stream.runLast(pool.backup(destination)).pipe(
    Effect.map(Option.getOrElse(() => ({ totalPages: 0, remainingPages: 0 }))),
    Effect.mapError((error) =>
      error._tag === "BackupError"
        ? new SqlError({ reason: new UnknownError({ cause: error, message: error.message, operation: "backup" }) })
        : sqlErrorOf(error)
    )
  )

const loadExtension = (pools: Pools, path: string): Effect.Effect<void, SqlError> =>
  Effect.withFiber((fiber) => {
    if (pools.client.connectionInTransaction(fiber) !== undefined) {
      return Effect.fail(
        toSqlError(invalidInput("loadExtension", "loadExtension: not inside a transaction, which has one connection"))
      )
    }
    const load = pools.writer.useSync({
      try: (connection) => {
        handleOf(connection, "loadExtension").loadExtension("loadExtension", path)
        // Every connection that is opened from here on loads it.
        pools.settings.connection.extensions!.add(path)
      },
      catch: failure
    }, { label: "loadExtension" })
    return Effect.mapError(
      Effect.all([load, pools.readers.recycle, pools.workers?.recycle ?? Effect.void], { discard: true }),
      sqlErrorOf
    )
  })
