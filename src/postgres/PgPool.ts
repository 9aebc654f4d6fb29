/**
 * A PostgreSQL database for many fibers: a pool of connections to one server, with transactions that tell the truth.
 *
 * It needs the package `@effect/sql-pg`, whose `PgConnection` it pools.
 */
import { PgClient } from "@effect/sql-pg/PgClient"
import { type Config, Context, Effect, Layer, Result, type Scope } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { unwrap } from "../internal/options/environment.ts"
import * as HeardReactivity from "../internal/transaction/reactivity.ts"
import type { ConnectError, PoolConfigError } from "../PoolError.ts"
import { PgPool } from "./internal/contract/pool.ts"
import type { Options } from "./internal/contract/poolOptions.ts"
import { makeWith } from "./internal/database.ts"
import * as PoolSettings from "./internal/options/pool.ts"

export type { HostEvent, HostStatus, Position } from "./internal/contract/hosts.ts"
export type { ListenEvent, Listening, Notification } from "./internal/contract/listen.ts"
export type { LockKey, LockOptions } from "./internal/contract/lock.ts"
export {
  PgPool,
  type ReadOptions,
  type SharedReadStats,
  type ShutdownReports,
  type Stats
} from "./internal/contract/pool.ts"
export type { Options, ReplicaOptions, SharedReadOptions } from "./internal/contract/poolOptions.ts"
export type { Isolation, TransactionOptions } from "./internal/contract/transaction.ts"

/**
 * A database for the current scope, which closes it.
 *
 * Opens `min` connections, and fails with a `ConnectError` if that is not possible: at once if another attempt cannot help (a
 * wrong password, no such database), else after `acquireTimeout`. With `min: 0`, the default, it opens nothing, and the first
 * caller gets that error.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { PgPool } from "effect-connection-pool/postgres"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const db = yield* PgPool.make({ host: "db.internal", database: "app", username: "app", min: 2, max: 8 })
 *   yield* db.sql`insert into person (name) values (${"Ada"})`
 *   return yield* db.sql`select name from person`
 * }))
 * ```
 */
export const make = (
  options: Options
): Effect.Effect<PgPool, PoolConfigError | ConnectError<SqlError>, Scope.Scope> =>
  Effect.suspend(() => {
    const settings = PoolSettings.resolve(options)
    return Result.isFailure(settings) ? Effect.fail(settings.failure) : makeWith(settings.success)
  })

/** What `layer` provides. */
export type Services = PgPool | SqlClient.SqlClient | PgClient

/**
 * A database as a layer: `make` for as long as the layer lives. Provides Effect's `SqlClient` and the `PgClient` of
 * `@effect/sql-pg` as well, so what is written for them runs on it: on the primary, also with `replicas`.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { PgPool } from "effect-connection-pool/postgres"
 * import { SqlClient } from "effect/sql/SqlClient"
 *
 * export const people = Effect.gen(function*() {
 *   const sql = yield* SqlClient
 *   return yield* sql`select name from person`
 * })
 *
 * export const Database = PgPool.layer({ url: "postgres://app@db.internal/app", max: 8 })
 * ```
 */
export const layer = (options: Options): Layer.Layer<Services, PoolConfigError | ConnectError<SqlError>> =>
  HeardReactivity.inLayer(Layer.effectContext(Effect.map(make(options), services)))

/**
 * `layer`, with options from the configuration: all of them with `config`, or each with a `Config` of its own.
 *
 * Fails with a `ConfigError` that lists every variable that is not what it must be.
 *
 * ```ts
 * import { Config } from "effect"
 * import { PgPool } from "effect-connection-pool/postgres"
 *
 * // Every option from the environment: DB_URL or DB_HOST, DB_PASSWORD, DB_MAX and so on.
 * export const Database = PgPool.layerConfig(PgPool.config("DB"))
 *
 * export const Reports = PgPool.layerConfig({
 *   url: Config.Redacted("REPORTS_URL"),
 *   max: Config.succeed(2)
 * })
 * ```
 */
export const layerConfig = (
  config: Config.Wrap<Options>
): Layer.Layer<Services, Config.ConfigError | PoolConfigError | ConnectError<SqlError>> =>
  HeardReactivity.inLayer(
    Layer.effectContext(Effect.map(Effect.flatMap(unwrap<Options>(config), make), services))
  )

/**
 * The services of an open database: the pool, and its client for all that asks for one. It is what `layer` provides, for a
 * database that was made without a layer: `Effect.provideContext(effect, PgPool.services(db))`.
 */
export const services = (db: PgPool): Context.Context<Services> =>
  Context.make(PgPool, db).pipe(Context.add(SqlClient.SqlClient, db.sql), Context.add(PgClient, db.sql))

/**
 * Every option from the configuration, under a prefix: with `PgPool.config("DB")`, `DB_URL=postgres://...`, or `DB_HOST=...` and
 * `DB_PASSWORD=...`, `DB_MAX=8`, `DB_CONTROL_TIMEOUT=2s`. What is not set keeps its default. One `ConfigError` lists every
 * variable that is not what it must be, without its secret. Variables that are no options are left alone.
 */
export const config = (prefix?: string): Config.Config<Options> => PoolSettings.config(prefix) as Config.Config<Options>

/** A service that is a database: the class that `Service` makes. */
export interface ServiceClass<Self, Id extends string> extends Context.ServiceClass<Self, Id, PgPool> {
  /** The database as a layer: `make` with these options. */
  readonly layer: (options: Options) => Layer.Layer<Self, PoolConfigError | ConnectError<SqlError>>
  /** `layer`, with options from the configuration: see `layerConfig`. */
  readonly layerConfig: (
    config: Config.Wrap<Options>
  ) => Layer.Layer<Self, Config.ConfigError | PoolConfigError | ConnectError<SqlError>>
}

/**
 * A database as a service of its own: one class for each, in an application that has several.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { PgPool } from "effect-connection-pool/postgres"
 *
 * export class Orders extends PgPool.Service<Orders>()("app/Orders") {}
 *
 * export const program = Effect.gen(function*() {
 *   const orders = yield* Orders
 *   return yield* orders.sql`select * from orders`
 * }).pipe(Effect.provide(Orders.layer({ host: "orders.internal" })))
 * ```
 */
export const Service = <Self>() => <const Id extends string>(id: Id): ServiceClass<Self, Id> => {
  const service = Context.Service<Self, PgPool>()(id)
  return Object.assign(service, {
    layer: (options: Options) => HeardReactivity.inLayer(Layer.effect(service, make(options))),
    layerConfig: (config: Config.Wrap<Options>) =>
      HeardReactivity.inLayer(Layer.effect(service, Effect.flatMap(unwrap<Options>(config), make)))
  }) as unknown as ServiceClass<Self, Id>
}
