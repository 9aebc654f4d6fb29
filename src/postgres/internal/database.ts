/** The operations of a `PgPool`, on its pool. */
import { Effect, Option, type Scope, Stream } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions, ShutdownOptions } from "../../ConnectionPool.ts"
import * as ConnectionPool from "../../ConnectionPool.ts"
import * as Calls from "../../internal/options/call.ts"
import { resolveShutdown } from "../../internal/options/pool.ts"
import { show } from "../../internal/options/show.ts"
import * as Body from "../../internal/pool/body.ts"
import { byTotal } from "../../internal/pool/slowStatements.ts"
import type { PoolError } from "../../PoolError.ts"
import * as Client from "./client/client.ts"
import * as Listeners from "./client/listeners.ts"
import { lock } from "./client/locks.ts"
import { OwnWrites } from "./client/ownWrites.ts"
import { onlyReads, Reading, readingOnly } from "./client/reading.ts"
import { pooledListen } from "./client/refusals.ts"
import * as SharedReads from "./client/sharedReads.ts"
import { factoryOf } from "./connection/factory.ts"
import type { PgConnection, Row } from "./contract/connection.ts"
import type { PgPool } from "./contract/pool.ts"
import { denied, invalidInput } from "./errors.ts"
import * as Hosts from "./hosts/hosts.ts"
import { parse } from "./hosts/role.ts"
import type { PoolSettings } from "./options/pool.ts"
import { StatementTexts } from "./sql/statementText.ts"

/** What a database is made of. */
interface Parts {
  readonly pool: Pool
  readonly replicas: Pool | undefined
  readonly reading: Reading | undefined
  readonly client: Client.Client
  readonly listeners: Listeners.Listeners
  readonly hosts: Hosts.Hosts | undefined
  readonly writes: OwnWrites
  readonly shared: SharedReads.SharedReads | undefined
  readonly texts: StatementTexts
}

type Pool = ConnectionPool.ConnectionPool<PgConnection, SqlError>

/** Opens a database for checked options. */
export const makeWith = Effect.fnUntraced(function*(settings: PoolSettings) {
  const { connection, name } = settings
  const texts = new StatementTexts()
  const hosts = settings.hosts && (yield* Hosts.make({ name, settings: settings.hosts, connection, texts }))
  const factory = factoryOf(connection, texts, hosts?.choices.writers)
  const sizes = settings.hosts?.replicas
  const pool: Pool = yield* ConnectionPool.make<PgConnection, SqlError>({
    ...settings.pool,
    ...(sizes === undefined ? undefined : { name: `${name}/primary` }),
    factory
  })
  const replicas: Pool | undefined = sizes && (yield* ConnectionPool.make<PgConnection, SqlError>({
    ...settings.pool,
    ...sizes,
    name: `${name}/replicas`,
    factory: factoryOf(readOnly(connection), texts, hosts?.choices.readers)
  }))
  const listeners = yield* Listeners.make({
    name,
    // A pool of its own, so that those who listen leave the others their connections.
    pool: yield* ConnectionPool.make<PgConnection, SqlError>({ ...settings.pool, ...settings.listener, factory }),
    ...settings.listenerChecks,
    controlTimeoutMillis: settings.controlTimeoutMillis
  })
  const writes = new OwnWrites(pool, settings.controlTimeoutMillis)
  const reading = replicas && new Reading({
    name,
    primary: pool,
    replicas,
    writes,
    catchUpMillis: settings.hosts!.catchUpMillis,
    controlTimeoutMillis: settings.controlTimeoutMillis,
    mayFallBack: settings.hosts!.mayFallBack
  })
  const shared = settings.sharedReads && (yield* SharedReads.make({
    name,
    pool: settings.pool,
    settings: settings.sharedReads,
    connection: readOnly(connection),
    texts,
    choice: replicas === undefined ? hosts?.choices.writers : hosts?.choices.readers
  }))
  const client = yield* Client.make({
    name,
    pool,
    replicas,
    reading,
    texts,
    lanes: shared?.lanes,
    controlTimeoutMillis: settings.controlTimeoutMillis,
    isPooled: settings.isPooled,
    config: settings.client,
    spanAttributes: settings.spanAttributes
  }).pipe(Effect.provideService(Reactivity.Reactivity, yield* reactivity))
  yield* Effect.addFinalizer(() => client.close)
  return fromParts(settings, { pool, replicas, reading, client, listeners, hosts, writes, shared, texts })
})

/** Sessions that cannot write, also after their server was promoted: only then a read that was lost may run again. */
const readOnly = (connection: PoolSettings["connection"]): PoolSettings["connection"] => ({
  ...connection,
  isReadOnly: true,
  driver: {
    ...connection.driver,
    startupParameters: { ...connection.driver.startupParameters, default_transaction_read_only: "on" }
  }
})

const noPosition = (operation: string, given: unknown): SqlError =>
  invalidInput(operation, `${operation}: after is ${show(given)}, but must be a position, as \`position\` gives it`)

type Rows = Stream.Stream<Row, SqlError>

/** The `Reactivity` of the application, if it has one, so that its queries see the writes of this client. */
const reactivity = Effect.flatMap(
  Effect.serviceOption(Reactivity.Reactivity),
  Option.match({ onNone: () => Reactivity.make, onSome: Effect.succeed })
)

const fromParts = (
  settings: PoolSettings,
  { client, hosts, listeners, pool, reading, replicas, shared, texts, writes }: Parts
): PgPool => {
  const { outside, transaction } = client
  const pools = [pool, replicas, shared?.pool].filter((one) => one !== undefined)
  /** The error for invalid options of a call that needs no connection. Valid options have no effect there. */
  const invalid = (options: AcquireOptions | undefined) => {
    if (options === undefined) return undefined
    const checked = Calls.resolve(settings.name, options)
    return Calls.isRefused(checked) ? Effect.fail(checked) : undefined
  }
  return {
    name: settings.name,
    sql: client.sql,
    replicaSql: client.replicaSql,
    write: (f, options) =>
      Effect.withFiber((fiber) => {
        const connection = client.connectionInTransaction(fiber)
        return connection === undefined
          ? writes.wrote(fiber, pool.use(f, options))
          : invalid(options) ?? Body.run(f, connection)
      }),
    read: (f, given) =>
      Effect.withFiber((fiber) => {
        const { after, ...rest } = given ?? {}
        const options = given && rest
        if (after !== undefined && parse(after) === undefined) return Effect.fail(noPosition("read", after))
        const connection = client.connectionInTransaction(fiber)
        if (connection !== undefined) return invalid(options) ?? Body.run(f, connection)
        if (reading !== undefined) return reading.use(fiber, f, options, after)
        const lent = settings.isPooled
          ? (connection: PgConnection) =>
            readingOnly(connection, Body.run(f, connection), settings.controlTimeoutMillis)
          : (connection: PgConnection) =>
            Effect.andThen(onlyReads(connection, settings.controlTimeoutMillis), Body.run(f, connection))
        return pool.use(lent, options)
      }),
    snapshot: (effect, options) => transaction(effect, { ...options, readOnly: true }),
    transaction,
    position: writes.position,
    readYourWrites: (effect, { after } = {}) =>
      after === undefined || parse(after) !== undefined
        ? writes.follow(effect, after)
        : Effect.fail(noPosition("readYourWrites", after)),
    hostEvents: hosts?.events ?? Stream.empty,
    hosts: hosts?.status ?? Effect.succeed([]),
    stream: (sql, params, options) =>
      Stream.unwrap(Effect.withFiber((fiber): Effect.Effect<Rows, SqlError | PoolError<SqlError>, Scope.Scope> => {
        const connection = client.connectionInTransaction(fiber)
        const text = texts.read(sql)
        const refusal = connection === undefined ? outside.refusal("stream", text) : undefined
        if (refusal !== undefined) return Effect.fail(refusal)
        const lent = connection === undefined
          ? outside.acquire(text, options)
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
          controlTimeoutMillis: settings.controlTimeoutMillis,
          connectionInTransaction: client.connectionInTransaction
        },
        key,
        effect,
        options
      ),
    stats: Effect.all({
      primary: pool.stats,
      ...(replicas && { replicas: replicas.stats }),
      ...(shared && { sharedReads: shared.stats })
    }),
    slowStatements: Effect.map(
      Effect.all(pools.map(({ slowStatements }) => slowStatements)),
      (lists) => lists.flat().toSorted(byTotal)
    ),
    primary: pool,
    replicas,
    sharedReads: shared?.pool,
    sides: replicas === undefined ? { primary: pool } : { primary: pool, replicas },
    shutdown: ((options?: ShutdownOptions) =>
      Effect.gen(function*() {
        if (options !== undefined) yield* Effect.fromResult(resolveShutdown(settings.name, options))
        yield* listeners.close
        // Before the others: what is lost on a shared connection runs on one of theirs.
        shared?.lanes.close()
        const ofShared = shared && (yield* shared.pool.shutdown(options))
        const ofReplicas = replicas && (yield* replicas.shutdown(options))
        const primary = yield* pool.shutdown(options)
        if (hosts !== undefined) yield* hosts.stop
        return {
          primary,
          ...(ofReplicas && { replicas: ofReplicas }),
          ...(ofShared && { sharedReads: ofShared })
        }
      })) as PgPool["shutdown"]
  }
}
