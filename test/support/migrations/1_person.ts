import { Effect } from "effect"
import { SqlClient } from "effect/sql/SqlClient"

export default Effect.flatMap(SqlClient, (sql) => sql`create table person(id integer primary key, name text)`)
