import { Effect } from "effect"
import { SqlClient } from "effect/sql/SqlClient"

export default Effect.flatMap(SqlClient, (sql) => sql`insert into person(name) values ('Ada')`)
