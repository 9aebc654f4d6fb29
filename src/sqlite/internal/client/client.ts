/**
 * Effect's `SqlClient` over a pool that reads and a pool that writes.
 *
 * `targets.ts` decides on which connection a statement runs. `Client.connectionInTransaction` gives the connection of
 * the transaction that a fiber is in. Every operation asks for that first, and takes a connection from a pool only if
 * there is none. `Client.transactor.connectionOf(fiber).mode` says whether that transaction may write.
 */
import { Context, Effect, type Fiber } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as OwnClient from "../../../internal/sqlClient/client.ts"
import { Connections } from "../../../internal/sqlClient/sqlConnection.ts"
import * as HeardReactivity from "../../../internal/transaction/reactivity.ts"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type * as Transaction from "../../../Transaction.ts"
import * as Transactor from "../../../Transactor.ts"
import * as Refusal from "../connection/refusal.ts"
import type { BusyTimeout } from "../connection/retryWhileLocked.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { Execution } from "../contract/execution.ts"
import type { Isolation } from "../contract/transaction.ts"
import type { BulkCommit } from "../file/bulkCommit.ts"
import type { AnyConnection, AnyPool, Pool, WorkerPool } from "../file/sides.ts"
import { StatementTexts } from "../sql/statementKind.ts"
import { WorkerLeased } from "../worker/workerConnection.ts"
import { current } from "./execution.ts"
import type { OwnOptions } from "./foreignKeys.ts"
import { Routed, type Workers } from "./routed.ts"
import * as Dialect from "./sqliteDialect.ts"
import { type HeldBy, InTransaction, Reserved, type Target } from "./targets.ts"
import { SqliteTransactionConnection } from "./transactionConnection.ts"
import { InWorkerTransaction, onWorker, ReservedWorker, WorkerTransactionConnection } from "./workerTransaction.ts"
import { WorkerWrites } from "./workerWrites.ts"
import { Writes } from "./writes.ts"

/** How a client of another package changes the way of a statement: see `sqlite-node`. */
export interface Decoration {
  /** How long a statement is retried while another process has a lock. The other client may change it. */
  readonly busyTimeout: BusyTimeout
  /** Decorates the target of statements outside of transactions. */
  readonly outside: (target: Target) => Target
  /** Decorates the target of statements inside one transaction. */
  readonly inside: (target: Target) => Target
  /** The error for a fiber that would wait for itself if it took the writer. */
  readonly selfDeadlock: (fiber: Fiber.Fiber<unknown, unknown>) => SqlError | undefined
  /** Ends transactions that statements have left open. Runs before the pools are closed. */
  readonly close: Effect.Effect<void>
}

/** Makes the decoration for a database from its pools. */
export type Decorate = (
  pools: { readonly writer: Pool; readonly reader: Pool; readonly workers: ReadonlyArray<WorkerPool> },
  busyTimeoutMillis: number
) => Decoration

const undecorated: Decorate = (_, millis) => ({
  busyTimeout: { millis },
  outside: (target) => target,
  inside: (target) => target,
  selfDeadlock: () => undefined,
  close: Effect.void
})

export interface Options {
  /** The name of the database in errors. */
  readonly name: string
  /** A pool of one connection that may write. */
  readonly writer: Pool
  /** A pool of connections that only read. For a database in memory it is `writer`. */
  readonly reader: Pool
  /** The pool `writer`, if its connection is in a thread. */
  readonly workerWriter?: WorkerPool | undefined
  /** Not set if there are no readers in threads. */
  readonly workers?: Workers | undefined
  /** How long a statement that starts work is retried while another process has a lock. */
  readonly busyTimeoutMillis: number
  /** Whether every transaction only reads. Default false. */
  readonly isReadOnly?: boolean | undefined
  /** Default: statements are not changed. */
  readonly decorate?: Decorate | undefined
  /** The connection that a fiber holds already. For a database in memory, which has no other. */
  readonly heldBy?: HeldBy | undefined
  /** Whether those who write at the same time may be committed together. Default false. */
  readonly isGrouped?: boolean | undefined
  /** Looks at the file before a transaction that may write commits. */
  readonly look?: (() => void) | undefined
  /** The work around the commit of a long transaction. Not set for a database in memory. */
  readonly bulk?: BulkCommit | undefined
  readonly spanAttributes?: Readonly<Record<string, unknown>> | undefined
  /** Changes the names of columns in rows. */
  readonly transformResultNames?: ((name: string) => string) | undefined
  /** Changes identifiers in SQL. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
}

export interface Client {
  readonly sql: SqlClient.SqlClient
  /** The connection of the transaction of this client that a fiber is in, if it is in one. */
  readonly connectionInTransaction: (fiber: Fiber.Fiber<unknown, unknown>) => SqliteConnection | undefined
  readonly transactor: Transaction.Transactor<AnyConnection, Isolation, SqlError, OwnOptions>
  /** Runs what changes the database in one step, outside of transactions. */
  readonly writes: Writes
  readonly texts: StatementTexts
  /** Whether a transaction that only reads is a snapshot. */
  readonly isSnapshot: Context.Reference<boolean>
  /** Where a snapshot runs, if its caller has said so. */
  readonly snapshotExecution: Context.Reference<Execution | undefined>
  /** Ends transactions that statements have left open. Runs before the pools are closed. */
  readonly close: Effect.Effect<void>
}

let nextId = 1

export const make = Effect.fnUntraced(
  function*(options: Options): Effect.fn.Return<Client, never, Reactivity.Reactivity> {
    const spanAttributes: ReadonlyArray<readonly [string, unknown]> = [
      ...Object.entries(options.spanAttributes ?? {}),
      ["db.system.name", "sqlite"]
    ]
    const texts = new StatementTexts()
    const connections = new Connections(texts)
    const { heldBy, name, reader, workers, workerWriter, writer } = options
    const decoration = (options.decorate ?? undecorated)(
      { writer, reader, workers: workers === undefined ? [] : [workers.reads.workers] },
      options.busyTimeoutMillis
    )
    const { busyTimeout } = decoration
    const { isGrouped = false, look } = options
    const writes = new Writes({ writer, busyTimeout, isGrouped: isGrouped && workerWriter === undefined, look })
    const workerWrites = workerWriter && new WorkerWrites(workerWriter, busyTimeout, isGrouped)
    const outside = decoration.outside(
      new Routed({ name, writer, reader, workers, busyTimeout, heldBy, writes, workerWrites })
    )
    const unlessSelfDeadlock = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
      Effect.withFiber<A, E | SqlError, R>((fiber) => {
        const error = decoration.selfDeadlock(fiber)
        return error === undefined ? effect : Effect.fail(error)
      })
    const reserved = unlessSelfDeadlock(Effect.mapBoth(writer.acquire(), {
      onFailure: sqlErrorOf,
      onSuccess: (connection: AnyConnection) =>
        connections.toConnection(
          connection instanceof WorkerLeased ? new ReservedWorker(connection) : new Reserved(connection)
        )
    }))
    const compiler = Statement.makeCompilerSqlite(options.transformQueryNames)
    const transformRows = options.transformResultNames &&
      Statement.defaultTransforms(options.transformResultNames).array
    const heard = new HeardReactivity.HeardReactivity(yield* Reactivity.Reactivity)
    const sql = yield* OwnClient.make({
      texts,
      connections,
      outside,
      placeholder: () => "?",
      transactionAcquirer: reserved,
      compiler,
      transformRows,
      spanAttributes,
      reactiveQueue: (keys, effect) => heard.query(keys, outsideOfEnded(effect))
    })
    const { transactionService } = sql
    const isSnapshot = Context.Reference<boolean>(`effect-connection-pool/sqlite/isSnapshot/${nextId++}`, {
      defaultValue: () => false
    })
    const snapshotExecution = Context.Reference<Execution | undefined>(
      `effect-connection-pool/sqlite/snapshotExecution/${nextId++}`,
      { defaultValue: () => undefined }
    )
    const transactor = Transactor.make({
      name: options.name,
      dialect: Dialect.make({
        name: options.name,
        busyTimeout,
        isSnapshot,
        isReadOnly: options.isReadOnly,
        look,
        bulk: options.bulk
      }),
      pool: writer as unknown as AnyPool,
      readers: reader as unknown as AnyPool,
      poolOf: workers && ((fiber, { readOnly }) => {
        if (!readOnly) return undefined
        const execution = fiber.getRef(snapshotExecution) ?? current(fiber) ?? workers.execution
        return execution === "worker" ? workers.reads.workers as unknown as AnyPool : undefined
      }),
      transactionService: sql.transactionService,
      toSql: (transaction) => {
        const inWorker = onWorker(transaction)
        const target = inWorker === undefined
          ? new InTransaction(transaction as Transaction.TransactionConnection<SqliteConnection>)
          : new InWorkerTransaction(inWorker)
        return connections.toConnection(decoration.inside(target))
      },
      spanAttributes
    })
    const withTransaction: SqlClient.SqlClient["withTransaction"] = options.decorate === undefined
      ? transactor.withTransaction
      : (effect) => unlessSelfDeadlock(transactor.withTransaction(effect))
    const { afterCommit } = transactor
    heard.defer({ transactionService, afterCommit })
    // The client is changed in place, because it refers to itself and is copied.
    Object.assign(sql, { safe: sql, withTransaction, afterCommit })
    const connectionInTransaction = (fiber: Fiber.Fiber<unknown, unknown>) => {
      const transaction = transactor.connectionOf(fiber)
      if (transaction === undefined) return undefined
      const inWorker = onWorker(transaction)
      return inWorker === undefined
        ? new SqliteTransactionConnection(transaction as Transaction.TransactionConnection<SqliteConnection>, texts)
        : new WorkerTransactionConnection(inWorker, texts, refusalIn(fiber, transaction.mode))
    }
    const refusalIn = (fiber: Fiber.Fiber<unknown, unknown>, { readOnly }: Transaction.Mode): string | undefined => {
      if (options.isReadOnly === true) return Refusal.ofDatabase(name)
      if (!readOnly) return undefined
      return fiber.getRef(isSnapshot) ? Refusal.ofSnapshot : Refusal.ofTransaction
    }
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
    const close = Effect.andThen(decoration.close, Effect.sync(() => heard.end()))
    return { sql, transactor, connectionInTransaction, writes, isSnapshot, snapshotExecution, texts, close }
  }
)
