/** The operations of a PostgreSQL database. */
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Context, type Effect, type Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions, ConnectionPool, ShutdownOptions, ShutdownReport } from "../../../ConnectionPool.ts"
import type { ConnectionStats, SlowStatement } from "../../../ConnectionStats.ts"
import type { PoolConfigError, PoolError } from "../../../PoolError.ts"
import type { TransactionError } from "../../../TransactionError.ts"
import type { AdvisoryLockLostError } from "../../PgPoolError.ts"
import type { Params, PgConnection, Row } from "./connection.ts"
import type { HostEvent, HostStatus, Position } from "./hosts.ts"
import type { ListenEvent } from "./listen.ts"
import type { LockKey, LockOptions } from "./lock.ts"
import type { TransactionOptions } from "./transaction.ts"

/** The numbers of the pool at one moment. */
export interface Stats {
  readonly primary: ConnectionStats
  /** Not set without `replicas`. */
  readonly replicas?: ConnectionStats | undefined
  /** Not set without `sharedReads`. */
  readonly sharedReads?: SharedReadStats | undefined
}

/**
 * The numbers of reads that share connections. Each read that was sent there is counted once more when it ends: in `answered`,
 * `abandoned`, `refused`, `late` or `lost`. The last three ran again on a connection of their own.
 */
export interface SharedReadStats {
  /** Reads that were sent on a shared connection. */
  readonly sent: number
  /** Reads whose callers wait now. */
  readonly inFlight: number
  /** Reads that were answered: with rows, or with an error that they would have had anywhere. */
  readonly answered: number
  /** Reads whose callers were interrupted. The server has gone on with them. */
  readonly abandoned: number
  /** Reads that would have written, or that a replica could not serve. */
  readonly refused: number
  /** Reads that passed the time limit of shared reads. */
  readonly late: number
  /** Reads whose connection was lost, or was given up because a read had waited there for too long. */
  readonly lost: number
  /** The pool of the shared connections. One that is in use now is a lease. */
  readonly connections: ConnectionStats
}

/** How the shutdown of the pool went. */
export interface ShutdownReports {
  readonly primary: ShutdownReport
  readonly replicas?: ShutdownReport | undefined
  /** The shared connections: each is one lease. */
  readonly sharedReads?: ShutdownReport | undefined
}

/** The options of `read`. */
export interface ReadOptions extends AcquireOptions {
  /** What must be seen: everything that was committed before this position, which `position` gave, maybe in another process. */
  readonly after?: Position | undefined
}

/**
 * An open PostgreSQL database: a primary, which takes writes, and with the option `replicas` others that are read.
 *
 * Any number of fibers may use it at the same time.
 */
export interface PgPool {
  /** The name of the database in errors, events, logs and metrics. */
  readonly name: string
  /**
   * Effect's client on this database, and that of `@effect/sql-pg`. Choose it for single statements, and for schemas, resolvers,
   * models and migrations of `effect/sql`. Each statement has a connection for itself; in a transaction it runs on the
   * connection of that. A statement that would leave something on its connection, such as `set` or `listen`, is refused with a
   * `SqlError` that says what to use: outside of a transaction its effect would be gone at once.
   *
   * Everything runs on the primary, also with `replicas`, and so sees everything that was committed before. For reads that may be
   * a little late, use `replicaSql`.
   */
  readonly sql: PgClient

  /**
   * `sql`, but with its reads on replicas: for pages, lists and reports that may miss the latest commits. It has the same
   * transactions: in one, both clients run on its connection. Without `replicas` it is `sql`.
   *
   * A statement that only reads, by its text, goes to a replica that lags behind by at most `maxLag`; inside `readYourWrites`, to one
   * that has the writes of the effect. What a replica refuses because it writes has changed nothing, and runs on the primary. So does
   * everything else, and a transaction that begins with a statement of its own (`BeginTransaction`). A reactive query sees
   * what was committed before it runs.
   *
   * Give it to code that reads only and may be late, and not to a library that keeps its state in the database: that expects
   * to see what it has written.
   *
   * ```ts
   * import { Effect } from "effect"
   * import { PgPool } from "effect-connection-pool/postgres"
   * import { SqlClient } from "effect/sql/SqlClient"
   *
   * declare const report: Effect.Effect<string, never, SqlClient>
   *
   * // A service that is written for `SqlClient`, with its reads on replicas.
   * export const program = Effect.flatMap(
   *   PgPool.PgPool,
   *   (db) => Effect.provideService(report, SqlClient, db.replicaSql)
   * )
   * ```
   */
  readonly replicaSql: PgClient

  /**
   * Runs an effect with a connection. Each statement is committed by itself. Choose it for what needs the connection for more
   * than one statement and is no transaction: settings, temporary tables, statements that cannot run in a transaction. What
   * the effect leaves on the connection is removed before the next lease.
   *
   * Waits in line, in order of arrival, if all connections are in use. Inside a transaction it is part of the transaction.
   */
  readonly write: <A, E, R>(
    f: (connection: PgConnection) => Effect.Effect<A, E, R>,
    options?: AcquireOptions
  ) => Effect.Effect<A, E | PoolError<SqlError>, R>

  /**
   * Runs an effect with a connection that reads: to a replica if there are some, else to the primary. A write is refused, also by
   * the primary. Choose it for several statements on one connection, and with `after`. For single statements `replicaSql` is enough.
   *
   * Each statement sees what its server has: a replica may lag behind by `maxLag`. If the statements must see one state, use
   * `snapshot`. With `after`, or inside `readYourWrites`, it waits for a replica up to 100 milliseconds, and then reads on the
   * primary. Inside a transaction it is part of that.
   */
  readonly read: <A, E, R>(
    f: (connection: PgConnection) => Effect.Effect<A, E, R>,
    options?: ReadOptions
  ) => Effect.Effect<A, E | SqlError | PoolError<SqlError>, R>

  /**
   * Runs an effect in which every read sees the same state: a transaction that only reads, on a replica if there are some. Writes
   * of the effect are refused. Inside a transaction it is part of that.
   */
  readonly snapshot: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: AcquireOptions
  ) => Effect.Effect<A, E | TransactionError | PoolError<SqlError>, R>

  /**
   * The position of the database now, on the primary: at least that of the last commit. Give it to `read` or `readYourWrites` later,
   * also in another process, to see that commit on a replica.
   *
   * ```ts
   * import { Effect } from "effect"
   * import { PgPool } from "effect-connection-pool/postgres"
   *
   * export const rename = (id: number, name: string) =>
   *   Effect.gen(function*() {
   *     const db = yield* PgPool.PgPool
   *     yield* db.sql`update person set name = ${name} where id = ${id}`
   *     // For a cookie. The next request sees the new name.
   *     return yield* db.position
   *   })
   *
   * export const show = (id: number, after: PgPool.Position) =>
   *   Effect.flatMap(
   *     PgPool.PgPool,
   *     (db) => db.read((connection) => connection.query("select name from person where id = $1", [id]), { after })
   *   )
   * ```
   */
  readonly position: Effect.Effect<Position, SqlError | PoolError<SqlError>>

  /**
   * Runs an effect whose reads on replicas see its own writes: each read after a write waits until a replica has it, up to 100
   * milliseconds, or goes to the primary. A transaction that only reads waits on its replica, up to `controlTimeout`. With `after`, all reads see
   * what was committed before that, too. Costs one question to the primary after what may have written, which is all that runs there,
   * and one to the replica for each read. Fails with `SqlError` if `after` is no position.
   */
  readonly readYourWrites: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: { readonly after?: Position | undefined }
  ) => Effect.Effect<A, E | SqlError, R>

  /**
   * What happens to the hosts, from now on: a primary that is lost or found, and for how long there was none; replicas that lag
   * behind; an old primary that came back and is refused. Without `hosts` and `replicas` there is nothing to tell. The stream ends
   * with the scope of the pool. A reader that is slow misses the oldest of more than 64.
   */
  readonly hostEvents: Stream.Stream<HostEvent>

  /** The hosts as they were last seen. Empty without `hosts` and `replicas`: then the only host is not asked. */
  readonly hosts: Effect.Effect<ReadonlyArray<HostStatus>>

  /**
   * Runs an effect as a transaction: commits when it succeeds, and rolls back when it fails, dies or is interrupted. Every
   * `write` and `sql` of the effect is part of the transaction, also inside the services that it calls. Inside another
   * transaction it is a savepoint. It runs on the primary; with `readOnly`, on a replica if there are some, unless it is
   * `"serializable"`.
   *
   * See `Transaction` for the rules of all transactions, and `TransactionError` for their failures. If the connection is lost
   * during the commit, nobody knows whether it was stored: that is `TransactionOutcomeUnknownError`, which `retry` never runs
   * again. `retry` helps after a serialization failure (40001), a deadlock (40P01), a lock timeout (55P03), a plan that a
   * changed table has made stale (0A000), and a connection that was lost before the commit.
   */
  readonly transaction: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: TransactionOptions
  ) => Effect.Effect<A, E | TransactionError | PoolError<SqlError>, R>

  /**
   * Returns the rows of one statement as a stream. Choose it for more rows than fit in memory. Holds one connection of the primary
   * from its first row to its end; for one of a replica, use `.stream` of a statement of `replicaSql`. For a few rows, `sql` is
   * faster. Inside a transaction it has the connection of that until it ends, and
   * other statements of the transaction are refused meanwhile.
   */
  readonly stream: (
    sql: string,
    params?: Params,
    options?: AcquireOptions
  ) => Stream.Stream<Row, SqlError | PoolError<SqlError>>

  /**
   * Listens to a channel: a stream of `Notification`, and of `Listening`, which comes first and again after each lost connection.
   * What was sent in between may have been missed, so read it after each `Listening`.
   *
   * All listeners share one connection beside the pool, which is open while somebody listens. It is asked every `keepalive`
   * (30 seconds if that is `Infinity`) whether it still works. The stream fails if the first connection cannot be opened, or if
   * another cannot help (a wrong password); a shutdown ends it with `PoolClosedError`. Notifications that are not read wait in
   * memory. `sql.notify(channel, payload)` sends one; in a transaction it is sent with the commit.
   *
   * ```ts
   * import { Effect, Stream } from "effect"
   * import { PgPool } from "effect-connection-pool/postgres"
   *
   * declare const readOrders: Effect.Effect<void>
   *
   * export const program = Effect.gen(function*() {
   *   const db = yield* PgPool.PgPool
   *   // Both events are a reason to look.
   *   yield* Stream.runForEach(db.listen("orders"), () => readOrders)
   * })
   * ```
   */
  readonly listen: (channel: string) => Stream.Stream<ListenEvent, SqlError | PoolError<SqlError>>

  /**
   * Runs an effect while an advisory lock is held: at most one effect at a time with this key, in all processes that use this
   * database. Waits for the lock; that wait can be interrupted, and `Effect.timeout` limits it.
   *
   * Holds one connection of the pool until the effect ends; what the effect runs takes others, so `max` must be above the number of
   * locks at a time. If that connection is lost, the lock is lost too: the effect is interrupted, and this fails with
   * `AdvisoryLockLostError`. Inside a transaction the lock is taken on its connection, and held until it ends.
   *
   * ```ts
   * import { Effect } from "effect"
   * import { PgPool } from "effect-connection-pool/postgres"
   *
   * declare const sendInvoices: Effect.Effect<void>
   *
   * // Once, however many processes try.
   * export const nightly = Effect.gen(function*() {
   *   const db = yield* PgPool.PgPool
   *   yield* db.lock("invoices", sendInvoices)
   * })
   * ```
   */
  readonly lock: <A, E, R>(
    key: LockKey,
    effect: Effect.Effect<A, E, R>,
    options?: LockOptions
  ) => Effect.Effect<A, E | SqlError | AdvisoryLockLostError | PoolError<SqlError>, R>

  /** The numbers of this moment. */
  readonly stats: Effect.Effect<Stats>

  /** The slow statements, those that took longest in total first. It is empty without `slowStatement`. */
  readonly slowStatements: Effect.Effect<ReadonlyArray<SlowStatement>>

  /**
   * The pool of the connections to the primary. Choose it for the operations of a `ConnectionPool`: health checks, events,
   * holders. For statements use `write`, which joins transactions.
   */
  readonly primary: ConnectionPool<PgConnection, SqlError>

  /** The pool of the connections that read. Not set without the option `replicas`. */
  readonly replicas?: ConnectionPool<PgConnection, SqlError> | undefined

  /**
   * The pool of the connections that reads share: for its events, connections and holders. Not set without the option
   * `sharedReads`.
   */
  readonly sharedReads?: ConnectionPool<PgConnection, SqlError> | undefined

  /** The pools of the database. Because of them, a `HealthChecker` can watch it: `HealthChecker.make(db)`. */
  readonly sides: {
    readonly primary: ConnectionPool<PgConnection, SqlError>
    readonly replicas?: ConnectionPool<PgConnection, SqlError>
  }

  /** Shuts the pool down: see `ConnectionPool.shutdown`. The end of the scope or of the layer does the same. */
  readonly shutdown: {
    (): Effect.Effect<ShutdownReports>
    (options: ShutdownOptions | undefined): Effect.Effect<ShutdownReports, PoolConfigError>
  }
}

/** The service of an application with one database. For several databases, see `Service`. */
export const PgPool: Context.Service<PgPool, PgPool> = Context.Service<PgPool>("effect-connection-pool/PgPool")
