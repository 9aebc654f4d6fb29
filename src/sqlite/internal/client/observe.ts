/** The queries that are observed: one statement, or an effect in a snapshot. */
import { Context, Effect, Option, type Stream } from "effect"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions } from "../../../ConnectionPool.ts"
import type { LeaseExpiredError, PoolError } from "../../../PoolError.ts"
import type { TransactionConnection } from "../../../Transaction.ts"
import type { Handle } from "../connection/handle.ts"
import { handleOf } from "../connection/leased.ts"
import type { Collected } from "../connection/observed.ts"
import { mayStartLater, retryWhileLocked } from "../connection/retryWhileLocked.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { ObserveOptions } from "../contract/observe.ts"
import type { Params, Row } from "../contract/values.ts"
import { codeOf, failure } from "../errors.ts"
import type { AnyConnection } from "../file/sides.ts"
import { isReadOnly, readRefusal, StatementTexts } from "../sql/statementKind.ts"
import { everything, type Reads } from "../sql/tables.ts"
import { toObjects } from "../worker/rows.ts"
import type { WorkerLeased } from "../worker/workerConnection.ts"
import { type Observable, observe, type Observer } from "./observation.ts"
import { snapshot, type SnapshotError, type WithClient } from "./snapshot.ts"
import type { Held } from "./targets.ts"
import { handleIn, onWorker } from "./workerTransaction.ts"

/** The pools of a database, and what a fiber may hold of them. */
export interface WithHeld extends WithClient, Observable {
  readonly settings: WithClient["settings"]
  readonly held: Context.Service<Held, Held>
}

/** Observes one statement. In process, its rows and the tables that it reads are known in one step, so no commit comes between. */
export const statement = (
  pools: WithHeld,
  sql: string,
  params: Params | undefined,
  refusal: string,
  options: ObserveOptions<ReadonlyArray<Row>> | undefined
): Stream.Stream<ReadonlyArray<Row>, SqlError | LeaseExpiredError | PoolError<SqlError>> =>
  observe(pools, options, (observer, acquire, target) =>
    outside(
      pools,
      Effect.withFiber((fiber) => {
        const bigInts = fiber.getRef(SafeIntegers)
        if (target !== "in-process") {
          const query = { sql, params, bigInts, refusal }
          const persist = (worker: WorkerLeased) =>
            retryWhileLocked(readIn(worker, query, observer), pools.settings.connection.busyTimeout, {
              isWorthwhile: mayStartLater
            })
          return target.use(persist, acquire)
        }
        const once = (connection: SqliteConnection) => {
          const handle = handleOf(connection, "observe")
          assertReading(handle.settings.isReadOnly, sql, refusal)
          return readWith(observer, handle, () => handle.rows("observe", sql, params, false, bigInts, true))
        }
        return onReader(pools, once as (connection: SqliteConnection) => ReadonlyArray<Row>, acquire)
      })
    ))

interface Observed {
  readonly sql: string
  readonly params: Params | undefined
  readonly bigInts: boolean
  /** Why a write is refused. */
  readonly refusal: string
}

/**
 * Runs a statement in a thread, and tells the observer what it reads. That is asked for after the rows. Only a change of the
 * schema can make it something else meanwhile, and after that every query runs again.
 */
const readIn = (
  worker: WorkerLeased,
  { bigInts, params, refusal, sql }: Observed,
  observer: Observer
): Effect.Effect<ReadonlyArray<Row>, SqlError | LeaseExpiredError> => {
  const checked = Effect.try({ try: () => assertReading(true, sql, refusal), catch: failure })
  const rows = Effect.suspend(() => {
    observer.begin()
    const all: Array<Row> = []
    return worker.execute(
      { operation: "observe", way: "rows", sql, params, bigInts, isAlone: true },
      (rows, columns) => {
        for (const row of toObjects(rows, columns)) all.push(row as Row)
      },
      () => all
    )
  })
  return Effect.andThen(
    checked,
    Effect.tap(
      rows,
      () => Effect.map(worker.control("observe", "readsOf", () => [sql]), (reads) => observer.end(reads as Reads))
    )
  )
}

/** Runs a function in one step, and tells the observer what its statements read. */
const readWith = <A>(observer: Observer, handle: Handle, read: () => A): A => {
  observer.begin()
  const collected = handle.observed.collect()
  try {
    const value = read()
    observer.end(readsOf(handle, collected))
    return value
  } finally {
    handle.observed.forget(collected)
  }
}

const readsOf = (handle: Handle, collected: Collected): Reads => {
  try {
    return handle.observed.reads(collected)
  } catch {
    // Another process has changed the schema, or has a lock. Then every commit counts until the next run.
    return everything
  }
}

/** Runs a function on a reader. While another process has a lock, it is tried again, as a statement is. */
const onReader = <A>(
  { readers, settings }: WithHeld,
  once: (connection: SqliteConnection) => A,
  options: AcquireOptions
): Effect.Effect<A, SqlError | LeaseExpiredError | PoolError<SqlError>> => {
  const attempt = { try: once, catch: failure }
  return Effect.catch(readers.useSync(attempt, options), (error) => {
    if (!mayStartLater(codeOf(error))) return Effect.fail(error)
    const persist = (connection: SqliteConnection) =>
      retryWhileLocked(Effect.try({ try: () => once(connection), catch: failure }), settings.connection.busyTimeout, {
        isWorthwhile: mayStartLater
      })
    return readers.use(persist, options)
  })
}

/** Observes an effect. It runs in a snapshot, so that all that it reads is of one state. */
export const effect = <A, E, R>(
  pools: WithHeld,
  query: Effect.Effect<A, E, R>,
  options: ObserveOptions<A> | undefined
): Stream.Stream<A, E | SnapshotError, R> =>
  observe(
    pools,
    options,
    (observer, acquire, target) =>
      outside(
        pools,
        Effect.suspend(() => {
          observer.begin()
          const execution = target === "in-process" ? target : "worker"
          return snapshot(pools, collecting(pools, observer, query), acquire, execution)
        })
      )
  )

/** Runs an effect in a snapshot, and tells the observer what its statements read. */
const collecting = <A, E, R>(
  { client: { transactor } }: WithHeld,
  observer: Observer,
  query: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const inWorker = onWorker(transactor.connectionOf(fiber)!)
    if (inWorker !== undefined) return collectingIn(inWorker, observer, query)
    const begin = (connection: AnyConnection) => {
      const handle = handleIn(connection, "observe")
      return { handle, collected: handle.observed.collect() }
    }
    return Effect.acquireUseRelease(
      // If the lease was ended already, the transaction fails, and says why.
      Effect.option(transactor.connectionOf(fiber)!.step("observe", begin, failure)),
      () => query,
      (begun, exit) =>
        Effect.sync(() => {
          if (Option.isNone(begun)) return
          const { collected, handle } = begun.value
          if (exit._tag === "Success") observer.end(readsOf(handle, collected))
          else handle.observed.forget(collected)
        })
    )
  })

/** `collecting` in a snapshot on a worker. */
const collectingIn = <A, E, R>(
  transaction: TransactionConnection<WorkerLeased>,
  observer: Observer,
  query: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const control = (name: "collect" | "reads") =>
    transaction.steps("observe", (worker) => worker.control("observe", name, () => []))
  const reads = Effect.catch(control("reads"), () => Effect.succeed(everything))
  // If the lease was ended already, the transaction fails, and says why.
  return Effect.andThen(
    Effect.ignore(control("collect")),
    Effect.tap(query, () => Effect.map(reads, (reads) => observer.end(reads as Reads)))
  )
}

/**
 * Runs an effect outside of the transaction that its fiber is in, and without the connection that it holds in memory: an
 * observation sees only what is committed.
 */
const outside = <A, E, R>({ client, held }: WithHeld, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.updateContext(
    effect,
    (context: Context.Context<R>) =>
      Context.omit(client.sql.transactionService, held)(context) as unknown as Context.Context<R>
  )

const texts = new StatementTexts()

/** Throws if a statement does more than read. A reader refuses a write by itself, but not the begin of a transaction. */
const assertReading = (isReader: boolean, sql: unknown, why: string): void => {
  if (typeof sql !== "string") return
  const text = texts.read(sql)
  if (!isReadOnly(text) && (!isReader || text.kind === "control")) throw readRefusal("observe", text, why)
}
