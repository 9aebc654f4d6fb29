/**
 * A SQLite database whose writes never hold up the event loop: the connection that writes is in a thread of its own.
 *
 * Choose it where writes take long (imports, large updates, statements without an index) or where commits wait for a slow
 * disk. Choose `SqlitePool` otherwise: there, a small write costs some microseconds, and here a message to the thread and
 * back. Reads run where a `SqlitePool` runs them: in the thread of the application, or with `workers` in threads too.
 */
import { type Config, Context, Effect, Layer, Result, type Scope } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { unwrap } from "../internal/options/environment.ts"
import * as HeardReactivity from "../internal/transaction/reactivity.ts"
import type { ConnectError, PoolConfigError } from "../PoolError.ts"
import type { Options as PoolOptions } from "./internal/contract/poolOptions.ts"
import { SqliteWorkerPool } from "./internal/contract/workerPool.ts"
import { makeWith } from "./internal/database.ts"
import * as WorkerPoolSettings from "./internal/options/workerPool.ts"

export { type SqliteWorkerConnection, SqliteWorkerPool } from "./internal/contract/workerPool.ts"

/**
 * The options of a database whose writer is in a thread: those of a `SqlitePool`, without those that a thread cannot have.
 * `filename` is a file, because no other thread can read `":memory:"`.
 */
export interface Options extends Omit<PoolOptions, "readOnly" | "immutable" | "functions" | "aggregates"> {}

/**
 * A database for the current scope, which closes it. Opens as `SqlitePool.make` does, and fails as that does.
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { SqliteWorkerPool } from "effect-connection-pool/sqlite"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const pool = yield* SqliteWorkerPool.make({ filename: "app.db", workers: 2 })
 *   yield* pool.sql`create table if not exists visit(at integer, page text)`
 *   // While this runs, other fibers go on.
 *   yield* pool.sql`delete from visit where at < unixepoch() - 86400 * 90`
 *   yield* pool.transaction(pool.sql`insert into visit values (unixepoch(), ${"/"})`)
 *   yield* Stream.runDrain(pool.backup("copy.db"))
 * }))
 * ```
 */
export const make = (
  options: Options
): Effect.Effect<SqliteWorkerPool, PoolConfigError | ConnectError<SqlError>, Scope.Scope> =>
  Effect.suspend(() => {
    const settings = WorkerPoolSettings.resolveWorker(options)
    if (Result.isFailure(settings)) return Effect.fail(settings.failure)
    return Effect.map(makeWith(settings.success), ({ pool: { writeSync: _, ...pool } }) =>
      pool as unknown as SqliteWorkerPool)
  })

/** A database as a layer: `make` for as long as the layer lives. Provides Effect's `SqlClient` as well. */
export const layer = (
  options: Options
): Layer.Layer<SqliteWorkerPool | SqlClient.SqlClient, PoolConfigError | ConnectError<SqlError>> =>
  HeardReactivity.inLayer(Layer.effectContext(Effect.map(make(options), services)))

/**
 * `layer`, with options from the configuration: all of them with `config`, or each with a `Config` of its own.
 *
 * Fails with a `ConfigError` that lists every variable that is not set or is not what it must be.
 *
 * ```ts
 * import { SqliteWorkerPool } from "effect-connection-pool/sqlite"
 *
 * // Every option from the environment: DB_FILENAME, DB_WORKERS, DB_BUSY_TIMEOUT and so on.
 * export const Database = SqliteWorkerPool.layerConfig(SqliteWorkerPool.config("DB"))
 * ```
 */
export const layerConfig = (
  config: Config.Wrap<Options>
): Layer.Layer<
  SqliteWorkerPool | SqlClient.SqlClient,
  Config.ConfigError | PoolConfigError | ConnectError<SqlError>
> =>
  HeardReactivity.inLayer(
    Layer.effectContext(Effect.map(Effect.flatMap(unwrap<Options>(config), make), services))
  )

/** Every option from the configuration, under a prefix: see `SqlitePool.config`. */
export const config = (prefix?: string): Config.Config<Options> =>
  WorkerPoolSettings.config(prefix) as Config.Config<Options>

/** The services of an open database: the pool, and its client for all that asks for one. It is what `layer` provides. */
export const services = (pool: SqliteWorkerPool): Context.Context<SqliteWorkerPool | SqlClient.SqlClient> =>
  Context.make(SqliteWorkerPool, pool).pipe(Context.add(SqlClient.SqlClient, pool.sql))
