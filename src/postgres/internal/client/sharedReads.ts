/** The pool of the connections that reads share, and the lanes on it, for the current scope. */
import { Effect, Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as ConnectionPool from "../../../ConnectionPool.ts"
import { withoutSpan } from "../../../internal/structures/ownFibers.ts"
import type { PoolConfig } from "../../../PoolConfig.ts"
import type { ConnectError, PoolConfigError } from "../../../PoolError.ts"
import { type Choice, factoryOf, type Settings as ConnectionSettings } from "../connection/factory.ts"
import type { PgConnection } from "../contract/connection.ts"
import type { SharedReadStats } from "../contract/pool.ts"
import { Lanes } from "../lanes/lanes.ts"
import * as Metrics from "../lanes/metrics.ts"
import type { Settings } from "../lanes/settings.ts"
import type { StatementTexts } from "../sql/statementText.ts"

export interface Options {
  /** The name of the database. */
  readonly name: string
  /** The options of its other pools. */
  readonly pool: PoolConfig
  readonly settings: Settings
  /** How its sessions that only read are opened. */
  readonly connection: ConnectionSettings
  readonly texts: StatementTexts
  readonly choice: Choice | undefined
}

export interface SharedReads {
  readonly pool: ConnectionPool.ConnectionPool<PgConnection, SqlError>
  readonly lanes: Lanes
  readonly stats: Effect.Effect<SharedReadStats>
}

export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<SharedReads, PoolConfigError | ConnectError<SqlError>, Scope.Scope> {
  const { choice, connection, name, settings, texts } = options
  // Closed after the pool, so that lanes can give their connections back.
  const scope = yield* Scope.fork(yield* Effect.scope)
  const pool = yield* ConnectionPool.make<PgConnection, SqlError>({
    ...options.pool,
    name: `${name}/shared`,
    min: 0,
    max: settings.max,
    maxUses: Infinity,
    leakThreshold: Infinity,
    factory: factoryOf(sharedBy(connection, settings), texts, choice)
  })
  const lanes = new Lanes({
    settings,
    pool,
    texts,
    mayLend: choice?.mayLend,
    scope,
    context: withoutSpan(yield* Effect.context<never>())
  })
  if (options.pool.metrics !== false) yield* Metrics.show(pool.name, lanes.numbers)
  yield* Effect.addFinalizer(() => Effect.sync(() => lanes.close()))
  return {
    pool,
    lanes,
    stats: Effect.map(pool.stats, (connections) => ({ ...lanes.numbers, inFlight: lanes.inFlight, connections }))
  }
})

/** Sessions on which several statements may be on their way. */
const sharedBy = (connection: ConnectionSettings, { timeoutMillis }: Settings): ConnectionSettings => ({
  ...connection,
  driver: {
    ...connection.driver,
    multiplex: true,
    applicationName: `${connection.driver.applicationName} (shared)`,
    startupParameters: {
      ...connection.driver.startupParameters,
      statement_timeout: String(Math.max(1, Math.round(timeoutMillis)))
    }
  }
})
