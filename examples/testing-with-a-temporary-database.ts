/**
 * How do I test code that uses the database?
 *
 * Each test has a database of its own, in a temporary folder: a real file, with everything that one does, snapshots and
 * readers beside a writer included. It is gone when the test ends, and does not wait for the disk.
 *
 *     npm run example -- testing-with-a-temporary-database
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Context, Effect, Layer } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import * as assert from "node:assert"
import { existsSync } from "node:fs"

// The code under test: it knows that there is a database, and not where.
class Counter extends Context.Service<Counter, {
  readonly next: (name: string) => Effect.Effect<number>
}>()("example/Counter") {
  static readonly layer = Layer.effect(
    Counter,
    Effect.gen(function*() {
      const { sql } = yield* SqlitePool.SqlitePool
      yield* sql`create table if not exists counter(name text primary key, n)`
      const next = (name: string) =>
        sql<{ n: number }>`insert into counter values (${name}, 1) on conflict do update set n = n + 1 returning n`
          .pipe(
            Effect.map(([row]) => Number(row?.n)),
            Effect.orDie
          )
      return Counter.of({ next })
    })
  )
}

const test = <A, E>(name: string, body: Effect.Effect<A, E, Counter | SqlitePool.SqlitePool>) =>
  body.pipe(
    // Made anew for each test, and deleted after it.
    Effect.provide(Counter.layer.pipe(Layer.provideMerge(SqlitePool.layerTemporary()))),
    Effect.andThen(Console.log(`ok: ${name}`))
  )

let lastFile = ""

const tests = Effect.gen(function*() {
  yield* test(
    "each name has numbers of its own",
    Effect.gen(function*() {
      const counter = yield* Counter
      assert.deepStrictEqual([yield* counter.next("a"), yield* counter.next("a"), yield* counter.next("b")], [1, 2, 1])
    })
  )
  yield* test(
    "a hundred at once get a hundred numbers",
    Effect.gen(function*() {
      const counter = yield* Counter
      const pool = yield* SqlitePool.SqlitePool
      const numbers = yield* Effect.forEach(Array.from({ length: 100 }), () => counter.next("a"), {
        concurrency: "unbounded"
      })
      assert.strictEqual(new Set(numbers).size, 100)
      // The test may look behind the scenes.
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select n from counter")), [[100]])
      lastFile = pool.filename
    })
  )
  yield* test(
    "nothing of one test is there in the next",
    Effect.gen(function*() {
      const counter = yield* Counter
      assert.strictEqual(yield* counter.next("a"), 1)
      assert.ok(lastFile !== "" && !existsSync(lastFile))
    })
  )
})

tests.pipe(NodeRuntime.runMain)

/* Prints:
ok: each name has numbers of its own
ok: a hundred at once get a hundred numbers
ok: nothing of one test is there in the next
*/
