// A SQLite database that nobody uses any more, and whose scope is never closed.
import { Effect, Exit, Scope, Stream } from "effect"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const scope = Effect.runSync(Scope.make())
const pool = await Effect.runPromise(Scope.provide(SqlitePool.makeTemporary({ walLimit: 1024 * 1024 }), scope))
await Effect.runPromise(Effect.gen(function*() {
  yield* pool.write((connection) => connection.exec("create table t(a)"))
  for (let row = 0; row < 300; row++) {
    yield* pool.write((connection) => connection.run("insert into t values (randomblob(3000))"))
  }
  yield* pool.snapshot(pool.read((reader) => reader.query("select count(*) from t")))
  yield* pool.transaction(pool.sql`insert into t values (1)`)
  yield* Stream.runDrain(pool.stream("select a from t"))
  // It is being cut back.
  while ((yield* pool.stats).walBytes > 1024 * 1024) yield* Effect.sleep("5 millis")
}))
if (process.argv[2] === "close") await Effect.runPromise(Scope.close(scope, Exit.void))
process.stdout.write(JSON.stringify(process.getActiveResourcesInfo().filter((resource) => resource === "Timeout")))
