import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Random, Stream } from "effect"
import * as Database from "../support/database.ts"

const accounts = 10
const setup = `create table t(n integer);
  create table account(id integer primary key, balance integer check (balance >= 0));
  with recursive c(n) as (select 1 union all select n + 1 from c where n < ${accounts})
  insert into account select n, 100 from c`

describe("many transactions at once", () => {
  it.effect(
    "show nobody a state that is not between two of them, whatever becomes of each",
    () =>
      Effect.gen(function*() {
        const db = yield* Database.make({ setup, readers: 3 })
        const { sql } = db
        const acknowledged: Array<number> = []
        const unknown: Array<number> = []

        /** In two statements, and with others in between; a third of them is refused for want of money, or gives up. */
        const transfer = Effect.fnUntraced(function*(n: number) {
          const amount = yield* Random.nextIntBetween(1, 60)
          const from = yield* Random.nextIntBetween(1, accounts)
          const to = yield* Random.nextIntBetween(1, accounts)
          const move = Effect.gen(function*() {
            yield* sql`update account set balance = balance + ${amount} where id = ${to}`
            yield* Effect.yieldNow
            yield* sql`update account set balance = balance - ${amount} where id = ${from}`
          })
          yield* sql`insert into t values (${n})`
          // Both halves are undone together, and the transaction goes on.
          yield* Effect.ignore(db.transaction(move))
          if (n % 7 === 0) return yield* Effect.fail("no")
        })
        const run = Effect.fnUntraced(function*(n: number) {
          const fiber = yield* Effect.forkChild(db.transaction(transfer(n)))
          if (n % 5 === 0) {
            yield* Effect.repeat(Effect.yieldNow, { times: yield* Random.nextIntBetween(0, 30) })
            yield* Fiber.interrupt(fiber)
          }
          const exit = yield* Fiber.await(fiber)
          if (Exit.isSuccess(exit)) acknowledged.push(n)
          else if (Exit.hasInterrupts(exit)) unknown.push(n)
        })
        const total = sql`select sum(balance), min(balance) >= 0 from account`.values
        let looks = 0
        const watch = Effect.gen(function*() {
          for (;;) {
            assert.deepStrictEqual(yield* total, [[accounts * 100, 1]])
            const rows = yield* Stream.runCollect(sql<{ readonly balance: number }>`select balance from account`.stream)
            assert.strictEqual(rows.reduce((sum, { balance }) => sum + balance, 0), accounts * 100)
            const pair = yield* db.transaction(Effect.all([total, Effect.yieldNow, total]), { readOnly: true })
            assert.deepStrictEqual(pair[0], pair[2])
            looks++
            yield* Effect.yieldNow
          }
        })
        const watching = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(watch))
        yield* Effect.forEach(Array.from({ length: 500 }, (_, n) => n), run, { concurrency: 50, discard: true })
        for (const fiber of watching) assert.isUndefined(fiber.pollUnsafe())
        yield* Fiber.interruptAll(watching)
        assert.isAbove(looks, 50)

        // What was acknowledged is there, what failed is not, and of the interrupted each is wholly one or the other.
        const there = new Set(db.rows as ReadonlyArray<number>)
        for (const n of acknowledged) assert.isTrue(there.has(n), `${n} is missing`)
        for (const n of there) {
          assert.isTrue(acknowledged.includes(n) || unknown.includes(n), `${n} should not be there`)
        }
        assert.isAbove(acknowledged.length, 200)
        assert.isAbove(unknown.length, 20)
        assert.deepStrictEqual([...(yield* total)], [[accounts * 100, 1]])
        for (const pool of [db.writer, db.reader]) {
          const { connects, inUse, max, waiting } = yield* pool.stats
          assert.deepStrictEqual([inUse, waiting], [0, 0])
          assert.isAtMost(connects, max)
        }
      }),
    120_000
  )

  it.effect("leave nothing behind in a scope that lives on", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const scope = yield* Effect.scope
      const finalizers = () => scope.state._tag === "Open" ? scope.state.finalizers?.size : 0
      const before = finalizers()
      assert.isAbove(before ?? 0, 1)
      for (let n = 0; n < 1000; n++) {
        yield* db.transaction(db.sql`insert into t values (${n})`)
        yield* Effect.exit(db.withTransaction(db.transaction(Effect.fail("no"))))
        yield* db.sql`select n from t where n = ${n}`
        yield* Stream.runDrain(Stream.take(db.sql`select n from t`.stream, 1))
      }
      assert.strictEqual(finalizers(), before)
    }), 120_000)
})
