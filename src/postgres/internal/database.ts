/** The operations of a `PgPool`, on its pool. */
import { Effect, Option, type Scope, Stream } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions, ShutdownOptions } from "../../ConnectionPool.ts"
import * as ConnectionPool from "../../ConnectionPool.ts"
import * as Calls from "../../internal/options/call.ts"
import * as Body from "../../internal/pool/body.ts"
import type { PoolError } from "../../PoolError.ts"
import * as Client from "./client/client.ts"
import { refusalAlone } from "./client/refusals.ts"
import { factoryOf } from "./connection/factory.ts"
import type { PgConnection, Row } from "./contract/connection.ts"
import type { PgPool } from "./contract/pool.ts"
import type { PoolSettings } from "./options/pool.ts"
import { StatementTexts } from "./sql/statementText.ts"

/** Opens a database for checked options. */
export const makeWith = Effect.fnUntraced(function*(settings: PoolSettings) {
  const texts = new StatementTexts()
  const pool = yield* ConnectionPool.make<PgConnection, SqlError>({
    ...settings.pool,
    factory: factoryOf(settings.connection, texts)
  })
  const client = yield* Client.make({
    name: settings.name,
    pool,
    texts,
    controlTimeoutMillis: settings.controlTimeoutMillis,
    config: settings.client,
    spanAttributes: settings.spanAttributes
  }).pipe(Effect.provideService(Reactivity.Reactivity, yield* reactivity))
  yield* Effect.addFinalizer(() => client.close)
  return fromPool(settings, pool, client, texts)
})

type Rows = Stream.Stream<Row, SqlError>

/** The `Reactivity` of the application, if it has one, so that its queries see the writes of this client. */
const reactivity = Effect.flatMap(
  Effect.serviceOption(Reactivity.Reactivity),
  Option.match({ onNone: () => Reactivity.make, onSome: Effect.succeed })
)

const fromPool = (
  settings: PoolSettings,
  pool: ConnectionPool.ConnectionPool<PgConnection, SqlError>,
  client: Client.Client,
  texts: StatementTexts
): PgPool => {
  /** The error for invalid options of a call that needs no connection. Valid options have no effect there. */
  const invalid = (options: AcquireOptions | undefined) => {
    if (options === undefined) return undefined
    const checked = Calls.resolve(settings.name, options)
    return Calls.isRefused(checked) ? Effect.fail(checked) : undefined
  }
  return {
    name: settings.name,
    sql: client.sql,
    write: (f, options) =>
      Effect.withFiber((fiber) => {
        const connection = client.connectionInTransaction(fiber)
        return connection === undefined ? pool.use(f, options) : invalid(options) ?? Body.run(f, connection)
      }),
    transaction: client.transactor.transaction,
    stream: (sql, params, options) =>
      Stream.unwrap(Effect.withFiber((fiber): Effect.Effect<Rows, SqlError | PoolError<SqlError>, Scope.Scope> => {
        const connection = client.connectionInTransaction(fiber)
        const refusal = connection === undefined ? refusalAlone("stream", texts.read(sql)) : undefined
        if (refusal !== undefined) return Effect.fail(refusal)
        const lent = connection === undefined
          ? pool.acquire(options)
          : invalid(options) ?? Effect.succeed(connection)
        return Effect.map(
          lent,
          (connection) =>
            Stream.catchTag(connection.stream(sql, params), "LeaseExpiredError", (error) => Stream.die(error))
        )
      })),
    stats: Effect.map(pool.stats, (primary) => ({ primary })),
    slowStatements: pool.slowStatements,
    primary: pool,
    sides: { primary: pool },
    shutdown: ((options?: ShutdownOptions) => Effect.map(pool.shutdown(options), (primary) => ({ primary }))) as PgPool[
      "shutdown"
    ]
  }
}
