/** SQLite pools with a table. */
import { Effect } from "effect"
import { type SqliteConnection, SqlitePool, type SqliteReader } from "effect-connection-pool/sqlite"
import { file } from "./files.ts"

export const table = (pool: SqlitePool.SqlitePool) =>
  pool.write((connection) => connection.exec("create table t(a); insert into t values (1)"))

export const count = (reader: SqliteReader.SqliteReader) =>
  Effect.map(reader.values("select count(*) from t"), (rows) => rows[0]![0])

/** A pool over a new file with a table that has one row. */
export const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, ...options })
  yield* table(pool)
  return { filename, pool }
})

export const insert = (connection: SqliteConnection.SqliteConnection) => connection.run("insert into t values (1)")
