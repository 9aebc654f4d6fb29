/**
 * One connection to a SQLite database, in this process, through Node's own `node:sqlite`; and how a pool opens them.
 *
 * SQLite works while the caller waits: a statement holds up the event loop for as long as it runs. It never waits for
 * the lock of another process: that is an error at once, and what to do about it is Effect's business.
 */
import { Effect, Result, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { DatabaseSync } from "node:sqlite"
import type { ConnectionFactory } from "../ConnectionFactory.ts"
import type { LeaseExpiredError } from "../PoolError.ts"
import { factoryOf, openStandalone, openWith } from "./internal/connection/factory.ts"
import * as Leased from "./internal/connection/leased.ts"
import type { SqliteConnection } from "./internal/contract/connection.ts"
import type { Options } from "./internal/contract/connectionOptions.ts"
import * as SqliteError from "./internal/errors.ts"
import { unconnected } from "./internal/failures.ts"
import * as Settings from "./internal/options/connection.ts"
import type { SqliteReader } from "./SqliteReader.ts"

export type { AsyncConnection, SqliteConnection } from "./internal/contract/connection.ts"
export type { Opening, Options } from "./internal/contract/connectionOptions.ts"
export type { Param, Params, Row, RunResult, SyncOptions, Value } from "./internal/contract/values.ts"

/**
 * A factory for a pool of connections to one database, all of which may write. Where many fibers use one file, choose
 * `SqlitePool`: there, writers wait in line and do not meet in SQLite's lock.
 *
 * A connection that is returned inside a transaction is rolled back before it is lent again. A connection on which a lease
 * has changed a setting (`pragma foreign_keys = off`), attached a database or made a temporary table is opened anew; a
 * connection to `":memory:"` gets back the settings of `Options`. After a failure of the disk it is replaced. There is
 * no `validate`: a file does not go away as a server does.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ConnectionPool } from "effect-connection-pool"
 * import { SqliteConnection } from "effect-connection-pool/sqlite"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const pool = yield* ConnectionPool.make({ factory: SqliteConnection.factory({ filename: "app.db" }), max: 4 })
 *   yield* pool.use((connection) => connection.exec("create table if not exists users(id integer primary key, name)"))
 *   yield* pool.use((connection) => connection.run("insert into users(name) values (?)", ["Ada"]))
 *   return yield* pool.use((connection) => connection.query("select * from users where name = :name", { name: "Ada" }))
 * }))
 * ```
 */
export const factory = (options: Options): ConnectionFactory<SqliteConnection, SqlError> =>
  Result.match(Settings.resolve(options), {
    onFailure: (error) => factoryOf(Effect.fail(error), false),
    onSuccess: (settings) => factoryOf(settings.isMemory ? alone(openWith(settings)) : openWith(settings), false)
  })

/** Refuses a second connection while the first is open: the second would have a database of its own, and an empty one. */
const alone = (
  connect: Effect.Effect<SqliteConnection, SqlError, Scope.Scope>
): Effect.Effect<SqliteConnection, SqlError, Scope.Scope> => {
  let isOpen = false
  const enter = Effect.suspend(() => {
    if (isOpen) return Effect.fail(SqliteError.toSqlError(unconnected("open", memoryIsTaken)))
    isOpen = true
    return Effect.void
  })
  const leave = Effect.sync(() => {
    isOpen = false
  })
  return Effect.andThen(Effect.acquireRelease(enter, () => leave), connect)
}

const memoryIsTaken = "the SQLite database \":memory:\" has one connection, and it is open: max of its pool has to be 1"

/**
 * Opens one connection for the current scope, which closes it.
 *
 * Choose it where one is enough, as in a migration; choose a pool over `factory` where fibers share. Fails with a message
 * that names the file and says what is wrong with it, and leaves nothing open. Waits for the locks of others for
 * `busyTimeout`.
 */
export const open = (options: Options): Effect.Effect<SqliteConnection, SqlError, Scope.Scope> => {
  const settings = Settings.resolve(options)
  return Result.isFailure(settings)
    ? Effect.fail(settings.failure)
    : openStandalone(settings.success)
}

/**
 * Lends the driver's own handle (`DatabaseSync` of `node:sqlite`) to a body, for a library that wants one.
 *
 * The connection is one of `write`, or of `read` of a database in a file, where the handle only reads. When the body has
 * ended, the handle and its statements are dead. When the lease ends, the connection is opened anew; in memory, its
 * settings are restored. A transaction that is left open is rolled back. The handle cannot be closed. Never give it to
 * `backup` of `node:sqlite`, which does not check what it is given and ends the process: use `backup` of the pool.
 *
 * Fails with a `SqlError` inside a transaction, for a reader in memory, and with the client of `sqlite-node`. What the
 * library throws is its own. While the body waits, the lease keeps other callers waiting. The pool sees nothing of the
 * statements: no deadline for locks, no refusals, no typed errors.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
 *
 * export const tables = Effect.gen(function*() {
 *   const pool = yield* SqlitePool.SqlitePool
 *   return yield* pool.write((connection) =>
 *     SqliteConnection.withHandle(connection, (database) =>
 *       Effect.sync(() => database.prepare("select name from sqlite_schema").all())
 *     )
 *   )
 * })
 * ```
 */
export const withHandle: <A, E, R>(
  connection: SqliteConnection | SqliteReader,
  body: (database: DatabaseSync) => Effect.Effect<A, E, R>
) => Effect.Effect<A, E | SqlError | LeaseExpiredError, R> = Leased.withHandle

/**
 * SQLite's extended result code behind a `SqlError`, if it came from SQLite: 5 for a database that is locked, 2067 for a
 * value that is there already. All are on https://sqlite.org/rescode.html. Nothing for any other error.
 */
export const codeOf: (error: unknown) => number | undefined = SqliteError.codeOf

/**
 * Returns what a synchronous operation threw, as a typed failure. Throws everything else again: that is a defect.
 *
 * ```ts
 * import type { ConnectionPool } from "effect-connection-pool"
 * import { SqliteConnection } from "effect-connection-pool/sqlite"
 *
 * declare const pool: ConnectionPool.ConnectionPool<SqliteConnection.SqliteConnection>
 *
 * export const users = pool.useSync({
 *   try: (connection) => connection.queryUnsafe("select * from users"),
 *   catch: SqliteConnection.failure
 * })
 * ```
 */
export const failure: (thrown: unknown) => SqlError | LeaseExpiredError = SqliteError.failure
