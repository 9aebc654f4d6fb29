/** A statement of `effect/sql` on a connection that does no more than it has to: nobody can be cheaper. */
import { Effect, Stream } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import * as Statement from "effect/sql/Statement"
import { DatabaseSync } from "node:sqlite"
import type { EffectReader } from "./client.ts"
import { select } from "./database.ts"
import { throughSql } from "./throughSql.ts"

export const floorSql = async (filename: string): Promise<EffectReader> => {
  const database = new DatabaseSync(filename)
  const statement = database.prepare(select)
  const fail = () => Effect.die("only point reads")
  const connection: Connection = {
    execute: (_, [key]) => Effect.sync(() => statement.all(key as number)),
    executeRaw: fail,
    executeStream: () => Stream.die("only point reads"),
    executeUnprepared: fail,
    executeValues: fail,
    executeValuesUnprepared: fail
  }
  const sql = await Effect.runPromise(Effect.provide(
    SqlClient.make({
      driver: "floor",
      acquirer: Effect.succeed(connection),
      borrower: (f) => f(connection),
      compiler: Statement.makeCompilerSqlite(),
      spanAttributes: [["db.system.name", "sqlite"]]
    }),
    Reactivity.layer
  ))
  return { style: "effect", read: throughSql(sql).read, close: async () => database.close() }
}
