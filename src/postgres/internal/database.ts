/** The operations of a `PgPool`, on its pool. */
import { Effect, Option, type Scope, Stream } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions, ShutdownOptions } from "../../ConnectionPool.ts"
import * as ConnectionPool from "../../ConnectionPool.ts"
import * as Calls from "../../internal/options/call.ts"
import { resolveShutdown } from "../../internal/options/pool.ts"
import * as Body from "../../internal/pool/body.ts"
import type { PoolError } from "../../PoolError.ts"
import * as Client from "./client/client.ts"
import * as Listeners from "./client/listeners.ts"
import { lock } from "./client/locks.ts"
import { pooledListen, refusalAlone } from "./client/refusals.ts"
import { factoryOf } from "./connection/factory.ts"
import type { PgConnection, Row } from "./contract/connection.ts"
import type { PgPool } from "./contract/pool.ts"
import { denied } from "./errors.ts"
import type { PoolSettings } from "./options/pool.ts"
import { StatementTexts } from "./sql/statementText.ts"

/** Opens a database for checked options. */
export const makeWith = Effect.fnUntraced(function*(settings: PoolSettings) {
  const texts = new StatementTexts()
  const pool = yield* ConnectionPool.make<PgConnection, SqlError>({
    ...settings.pool,
    factory: factoryOf(settings.connection, texts)
  })
  const listeners = yield* Listeners.make({
    name: settings.name,
    // A pool of its own, so that those who listen leave the others their connections.
    pool: yield* ConnectionPool.make<PgConnection, SqlError>({
      ...settings.pool,
      ...settings.listener,
      factory: factoryOf(settings.connection, texts)
    }),
    ...settings.listenerChecks
  })
  const client = yield* Client.make({
    name: settings.name,
    pool,
    texts,
    controlTimeoutMillis: settings.controlTimeoutMillis,
    isPooled: settings.isPooled,
    config: settings.client,
    spanAttributes: settings.spanAttributes
  }).pipe(Effect.provideService(Reactivity.Reactivity, yield* reactivity))
  yield* Effect.addFinalizer(() => client.close)
  return fromPool(settings, pool, client, listeners, texts)
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
  listeners: Listeners.Listeners,
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
    listen: (channel) => {
      const refusal = settings.isPooled ? Stream.fail(denied("listen", channel, pooledListen)) : undefined
      return refusal ?? listeners.listen(channel)
    },
    lock: (key, effect, options) =>
      lock(
        {
          name: settings.name,
          pool,
          isPooled: settings.isPooled,
          connectionInTransaction: client.connectionInTransaction
        },
        key,
        effect,
        options
      ),
    stats: Effect.map(pool.stats, (primary) => ({ primary })),
    slowStatements: pool.slowStatements,
    primary: pool,
    sides: { primary: pool },
    shutdown: ((options?: ShutdownOptions) =>
      Effect.gen(function*() {
        if (options !== undefined) yield* Effect.fromResult(resolveShutdown(settings.name, options))
        yield* listeners.close
        return { primary: yield* pool.shutdown(options) }
      })) as PgPool["shutdown"]
  }
}
