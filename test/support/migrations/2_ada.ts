import { Effect } from "effect"
import { SqlClient } from "effect/sql/SqlClient"

export default Effect.flatMap(SqlClient, (sql) => sql`insert into person(id, name) values (1, 'Ada')`)
