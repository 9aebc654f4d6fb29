import { Effect } from "effect"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { file } from "./files.ts"

/** A client on a new file, with a table. */
export const open = Effect.fnUntraced(function*(config?: Partial<SqliteClient.SqliteClientConfig>) {
  const sql = yield* SqliteClient.make({ filename: yield* file, drainTimeout: 0, ...config })
  yield* sql`create table person(id integer primary key, name text not null)`
  return sql
})

export const names = (sql: SqliteClient.SqliteClient) =>
  Effect.map(sql`select name from person order by id`.values, (rows) => rows.map(([name]) => name))
