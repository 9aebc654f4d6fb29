/** The least code that runs transactions with spans: one connection, a line before it, and no machinery of `effect/sql`. */
import { Effect, Exit, Semaphore, Tracer } from "effect"
import { DatabaseSync } from "node:sqlite"
import { statementSpan, transactionSpan } from "../../harness/spans.ts"
import type { TracedClient } from "./client.ts"
import { insert, type Item, select } from "./database.ts"
import { synchronousOf } from "./nodeSqlite.ts"

export const floorTransaction = async (filename: string): Promise<TracedClient> => {
  const database = new DatabaseSync(filename)
  database.exec("pragma synchronous = normal")
  const [reading, adding] = [database.prepare(select), database.prepare(insert)]
  const [begin, commit, rollback] = [
    database.prepare("begin immediate"),
    database.prepare("commit"),
    database.prepare("rollback")
  ]
  const line = Semaphore.makeUnsafe(1)
  const spanned = <A>(sql: string, run: () => A): Effect.Effect<A> =>
    Effect.useSpan(statementSpan, { kind: "client" }, (span) => {
      span.attribute("db.system.name", "sqlite")
      span.attribute("db.query.text", sql)
      return Effect.sync(run)
    })
  const add = (n: number) => spanned(insert, () => adding.run(n))
  const read = (key: number) => spanned(select, () => reading.get(key) as unknown as Item)
  const transaction = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    line.withPermit(
      Effect.uninterruptibleMask((restore) =>
        Effect.useSpan(transactionSpan, { kind: "internal" }, (span) => {
          begin.run()
          return Effect.onExitPrimitive(
            Effect.provideService(restore(effect), Tracer.ParentSpan, span),
            (exit) => Effect.sync(() => (Exit.isSuccess(exit) ? commit : rollback).run())
          )
        })
      )
    )
  return {
    style: "effect",
    read,
    insert: add,
    insertAndRead: (n, key) => transaction(Effect.andThen(add(n), read(key))),
    synchronous: synchronousOf(database),
    close: async () => database.close()
  }
}
