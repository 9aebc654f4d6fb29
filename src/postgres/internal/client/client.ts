/**
 * Effect's `SqlClient`, and the client of `@effect/sql-pg`, over a pool: one on the primary, and one whose reads go to replicas.
 *
 * A statement outside of transactions gets a connection for itself. In a transaction it runs on the connection of that.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type { Notification } from "@effect/sql-pg/PgConnection"
import { Context, Effect, type Fiber, type Queue, type Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import type { ConnectionPool } from "../../../ConnectionPool.ts"
import * as OwnClient from "../../../internal/sqlClient/client.ts"
import { Connections } from "../../../internal/sqlClient/sqlConnection.ts"
import type { Target } from "../../../internal/sqlClient/target.ts"
import * as HeardReactivity from "../../../internal/transaction/reactivity.ts"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type * as Transaction from "../../../Transaction.ts"
import { TransactionBeginError } from "../../../TransactionError.ts"
import * as Transactor from "../../../Transactor.ts"
import { sessionOf } from "../connection/leased.ts"
import type { PgConnection } from "../contract/connection.ts"
import type { Isolation } from "../contract/transaction.ts"
import { denied } from "../errors.ts"
import type { Lanes } from "../lanes/lanes.ts"
import type { StatementTexts, Text } from "../sql/statementText.ts"
import { listenOn } from "./listeners.ts"
import * as Dialect from "./pgDialect.ts"
import type { Reading } from "./reading.ts"
import { pooledListen } from "./refusals.ts"
import { Shared } from "./shared.ts"
import { InTransaction, Reserved, Routed } from "./targets.ts"
import { PgTransactionConnection } from "./transactionConnection.ts"

export interface Options {
  /** The name of the database in errors. */
  readonly name: string
  readonly pool: ConnectionPool<PgConnection, SqlError>
  /** The pool that reads. Not set if everything runs on the primary. */
  readonly replicas: ConnectionPool<PgConnection, SqlError> | undefined
  readonly reading: Reading | undefined
  readonly texts: StatementTexts
  /** Where reads share connections. Not set: they do not. */
  readonly lanes: Lanes | undefined
  readonly controlTimeoutMillis: number
  /** Whether there is a pooler in between, where only a transaction keeps its session. */
  readonly isPooled: boolean
  /** The options of the client of `@effect/sql-pg`. */
  readonly config: PgClient.PgClientConfig
  readonly spanAttributes: ReadonlyArray<readonly [string, unknown]>
}

type Transactions = Transaction.Transactor<PgConnection, Isolation, SqlError, Dialect.OwnOptions>

export interface Client {
  readonly sql: PgClient.PgClient
  /** The client whose reads go to replicas. Without replicas it is `sql`. */
  readonly replicaSql: PgClient.PgClient
  /** The target of statements of `sql` outside of transactions. */
  readonly outside: Routed
  /** Runs a transaction. One that only reads sees what its fiber has written. */
  readonly transaction: Transactions["transaction"]
  /** The connection of the transaction of this client that a fiber is in, if it is in one. */
  readonly connectionInTransaction: (fiber: Fiber.Fiber<unknown, unknown>) => PgConnection | undefined
  /** Ends what the client has begun in the `Reactivity` of the application. */
  readonly close: Effect.Effect<void>
}

export const make = Effect.fnUntraced(
  function*(options: Options): Effect.fn.Return<Client, never, Reactivity.Reactivity> {
    const { config, isPooled, lanes, name, pool, reading, replicas, spanAttributes, texts } = options
    const connections = new Connections(texts)
    const reservable = reading === undefined
      ? pool.acquire()
      : Effect.withFiber((fiber) => reading.writes.acquire(fiber))
    const compiler = PgClient.makeCompiler(config.transformQueryNames, config.transformJson)
    const transformRows = config.transformResultNames &&
      Statement.defaultTransforms(config.transformResultNames, config.transformJson).array
    const heard = new HeardReactivity.HeardReactivity(yield* Reactivity.Reactivity)
    /** The client of a target, with the transactions of another client if that is given. */
    const clientOn = (outside: Target<Text>, given?: SqlClient.SqlClient) =>
      OwnClient.make({
        texts,
        connections,
        outside,
        placeholder: (position) => `$${position}`,
        transactionAcquirer: Effect.mapBoth(reservable, {
          onFailure: sqlErrorOf,
          onSuccess: (connection) => connections.toConnection(new Reserved(connection))
        }),
        compiler,
        transformRows,
        spanAttributes,
        ...(given && { transactionService: given.transactionService }),
        reactiveQueue: (keys, effect) => heard.query(keys, outsideOfEnded(reading?.writes.fresh(effect) ?? effect))
      })
    const sharing = (routed: Routed): Target<Text> =>
      lanes === undefined ? routed : new Shared(lanes, routed, reading?.writes)
    const routed = new Routed(pool, reading?.writes, undefined, lanes, isPooled)
    // Connections that are shared are where reads are: those of replicas, if there are some.
    const made = yield* clientOn(reading === undefined ? sharing(routed) : routed)
    const { transactionService } = made
    const transactor = Transactor.make({
      name,
      // It has its own way to keep the deadline of these statements.
      dialect: reading === undefined
        ? Dialect.make(options.controlTimeoutMillis)
        : Dialect.over(reading, options.controlTimeoutMillis),
      pool,
      // A replica has no serializable transactions. One that is begun for the client of one host has to see the newest state.
      poolOf: (_, { isolation, readOnly }, statement) =>
        readOnly && isolation !== "serializable" && statement === undefined ? replicas : undefined,
      transactionService,
      toSql: (transaction) => connections.toConnection(new InTransaction(transaction)),
      spanAttributes
    })
    const { afterCommit } = transactor
    heard.defer({ transactionService, afterCommit })
    const transaction: Client["transaction"] = reading === undefined ?
      transactor.transaction :
      (effect, given) =>
        Effect.withFiber((fiber) => {
          // Asked before the transaction has a connection, so that none is held while another is waited for.
          const asked = given?.readOnly === true && transactor.connectionOf(fiber) === undefined
            ? reading.writes.needed(fiber)
            : undefined
          const run = transactor.transaction(effect, given)
          return asked === undefined ? run : Effect.andThen(
            Effect.catchTag(
              asked,
              "SqlError",
              (cause) => Effect.fail(new TransactionBeginError({ pool: name, depth: 0, cause }))
            ),
            run
          )
        })
    const ofPg = (made: SqlClient.SqlClient): PgClient.PgClient => {
      const sql = Object.assign(made, {
        [PgClient.TypeId]: PgClient.TypeId as typeof PgClient.TypeId,
        config,
        json: (value: unknown) => Statement.fragment([json(value)]),
        listen: (channel: string) =>
          isPooled
            ? Effect.fail(denied("listen", channel, pooledListen))
            : listenAlone(pool, channel, options.controlTimeoutMillis),
        notify: (channel: string, payload: string) => Effect.asVoid(made`select pg_notify(${channel}, ${payload})`),
        withTransaction: transactor.withTransaction,
        afterCommit
      })
      // The client is changed in place, because it refers to itself and is copied.
      return Object.assign(sql, { safe: sql })
    }
    const sql = ofPg(made)
    const replicaSql = reading === undefined
      ? sql
      : ofPg(yield* clientOn(sharing(new Routed(pool, reading.writes, reading, lanes, isPooled)), sql))
    const withoutTransaction = Context.omit(transactionService) as <R>(
      context: Context.Context<R>
    ) => Context.Context<R>
    /** Runs a reactive query outside of the transaction in which it was begun, once that transaction has ended. */
    const outsideOfEnded = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.withFiber((fiber) => {
        const transaction = transactor.connectionOf(fiber)
        return transaction === undefined ? effect : Effect.matchEffect(transaction.assertOpen("reactive"), {
          onFailure: () => Effect.updateContext(effect, (context: Context.Context<R>) => withoutTransaction(context)),
          onSuccess: () => effect
        })
      })
    return {
      sql,
      replicaSql,
      outside: routed,
      transaction,
      connectionInTransaction: (fiber) => {
        const transaction = transactor.connectionOf(fiber)
        return transaction && new PgTransactionConnection(transaction, texts)
      },
      close: Effect.sync(() => heard.end())
    }
  }
)

/** The kind of fragment that the compiler of `@effect/sql-pg` makes JSON of. */
const json = Statement.custom<PgClient.PgCustom>("PgJson")

/** Listens on a connection of its own, as the client of `@effect/sql-pg` does: if the connection is lost, the queue fails. */
const listenAlone = (
  pool: ConnectionPool<PgConnection, SqlError>,
  channel: string,
  millis: number
): Effect.Effect<Queue.Dequeue<Notification, SqlError>, SqlError, Scope.Scope> =>
  Effect.flatMap(Effect.mapError(pool.acquire(), sqlErrorOf), (connection) => {
    const session = sessionOf(connection)
    return listenOn(session, session.driver, channel, millis)
  })
