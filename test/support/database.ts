/** A file with one writer and some readers, the client over them, and a judge: a plain handle on the same file. */
import { Effect, type Scope } from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlError } from "effect/sql/SqlError"
import { DatabaseSync } from "node:sqlite"
import * as Client from "../../src/sqlite/internal/client/client.ts"
import { file, judge } from "./files.ts"
import { excepted, mode } from "./modes/mode.ts"

export interface Options {
  readonly setup?: string | undefined
  readonly busyTimeout?: number | undefined
  readonly journalMode?: SqliteConnection.Options["journalMode"]
  readonly client?: Partial<Client.Options> | undefined
  readonly readers?: number | undefined
}

export const setup = "create table t(n integer unique on conflict abort)"

const makeWith = Effect.fnUntraced(function*(options: Options | undefined) {
  const filename = yield* file
  const writer = yield* ConnectionPool.make<SqliteConnection.SqliteConnection, SqlError>({
    factory: SqliteConnection.factory({ filename, journalMode: options?.journalMode }),
    name: "writer",
    max: 1,
    min: 1,
    drainTimeout: 0
  })
  yield* writer.use((connection) => connection.exec(options?.setup ?? setup))
  const reader = yield* ConnectionPool.make<SqliteConnection.SqliteConnection, SqlError>({
    factory: SqliteConnection.factory({ filename, readOnly: true }),
    name: "reader",
    min: 1,
    max: options?.readers ?? 2,
    drainTimeout: 0
  })
  const client = yield* Client.make({
    name: "db",
    writer,
    reader,
    busyTimeoutMillis: options?.busyTimeout ?? 5000,
    ...options?.client
  })
  const other = yield* judge(filename)
  return {
    filename,
    writer,
    reader,
    ...client,
    ...client.transactor,
    other,
    /** What is in the table for all to see. */
    get rows(): ReadonlyArray<unknown> {
      return other.prepare("select n from t order by n").all().map((row) => row["n"])
    }
  }
}, Effect.provide(Reactivity.layer))

export type Database = Effect.Success<ReturnType<typeof makeWith>>

export const make = (options?: Options): Effect.Effect<Database, Failed, Scope.Scope> =>
  process.env["SQLITE_MODE"] === undefined
    ? makeWith(options)
    : Effect.flatMap(Effect.promise(() => import("./modes/client.ts")), ({ make }) => make(options))

type Failed = Effect.Error<ReturnType<typeof makeWith>>

/** Has SQLite refuse to compile a statement, for the current scope: each time, or the first times. */
export const refusing = (refused: string, times = Infinity, errcode = 1) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      // A reader may be meant, which is in a thread in both modes: such tests are among the exceptions.
      if (mode === "writer") excepted("SQLite that fails in this thread")
      const real = DatabaseSync.prototype.prepare
      let left = times
      DatabaseSync.prototype.prepare = function(sql, options) {
        if (sql === refused && left-- > 0) throw Object.assign(new Error(`no ${sql}`), { errcode })
        return real.call(this, sql, options)
      }
      return real
    }),
    (real) =>
      Effect.sync(() => {
        DatabaseSync.prototype.prepare = real
      })
  )

/** A client over other pools. */
export const over = (options: Omit<Client.Options, "busyTimeoutMillis">) =>
  Effect.map(Client.make({ busyTimeoutMillis: 0, ...options }), (client) => ({ ...client, ...client.transactor })).pipe(
    Effect.provide(Reactivity.layer)
  )

/** The same in memory, where all share one connection. */
export const makeInMemory = Effect.fnUntraced(function*() {
  const pool = yield* ConnectionPool.make<SqliteConnection.SqliteConnection, SqlError>({
    factory: SqliteConnection.factory({ filename: ":memory:" }),
    max: 1,
    idleTimeout: "Infinity",
    maxLifetime: "Infinity",
    drainTimeout: 0
  })
  yield* pool.use((connection) => connection.exec(setup))
  const client = yield* Client.make({ name: "db", writer: pool, reader: pool, busyTimeoutMillis: 0 })
  return { pool, ...client, ...client.transactor }
}, Effect.provide(Reactivity.layer))

/** The code with which SQLite refuses a script to the other handle, if it does. */
export const refusal = (db: Database, sql: string): number | undefined => {
  try {
    db.other.exec(sql)
    return undefined
  } catch (thrown) {
    return (thrown as { readonly errcode: number }).errcode
  }
}
