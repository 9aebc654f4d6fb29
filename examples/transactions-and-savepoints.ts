/**
 * How do I make several changes or none, and undo only a part of them?
 *
 *     npm run example -- transactions-and-savepoints
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Data, Effect, Fiber, Latch, Schedule } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"

class NotEnough extends Data.TaggedError("NotEnough")<{ readonly account: string }> {}

// None of these takes a connection. Each works on its own, and as a part of the transaction that calls it.
const withdraw = Effect.fnUntraced(function*(account: string, amount: number) {
  const pool = yield* SqlitePool.SqlitePool
  const { changes } = yield* pool.writeSync((connection) =>
    connection.runUnsafe("update account set balance = balance - ? where name = ? and balance >= ?", [
      amount,
      account,
      amount
    ])
  )
  if (changes === 0) return yield* new NotEnough({ account })
})

const deposit = Effect.fnUntraced(function*(account: string, amount: number) {
  const pool = yield* SqlitePool.SqlitePool
  yield* pool.sql`update account set balance = balance + ${amount} where name = ${account}`
})

const transfer = Effect.fnUntraced(function*(from: string, to: string, amount: number) {
  const pool = yield* SqlitePool.SqlitePool
  // The deposit comes first, so that there is something to undo.
  yield* pool.transaction(Effect.andThen(deposit(to, amount), withdraw(from, amount)))
})

const show = Effect.fnUntraced(function*(what: string) {
  const pool = yield* SqlitePool.SqlitePool
  const rows = yield* pool.read((reader) => reader.values("select name, balance from account order by name"))
  yield* Console.log(`${what}: ${rows.map(([name, balance]) => `${name} ${balance}`).join(", ")}`)
})

const program = Effect.gen(function*() {
  const pool = yield* SqlitePool.SqlitePool
  yield* pool.writeSync((connection) =>
    connection.execUnsafe(
      "create table account(name text primary key, balance integer not null); " +
        "insert into account values ('Ada', 100), ('Bob', 20), ('Cyd', 0)"
    )
  )
  yield* show("at the start")

  yield* transfer("Ada", "Bob", 30)
  yield* show("Ada pays Bob 30")

  const refused = yield* Effect.flip(transfer("Bob", "Cyd", 1000))
  yield* show(`Bob cannot pay 1000 (${refused._tag})`)

  // A transaction inside another is a savepoint: what fails in it is undone, and the rest goes on.
  yield* pool.transaction(Effect.gen(function*() {
    for (const amount of [10, 500, 20]) {
      yield* Effect.catchTag(transfer("Ada", "Cyd", amount), "NotEnough", () => Console.log(`  no ${amount} for Cyd`))
    }
    yield* show("  inside")
  }))
  yield* show("Ada pays Cyd what she can")

  // A snapshot shows several things as they were at one moment, while other fibers write.
  const begun = yield* Latch.make()
  const changed = yield* Latch.make()
  const other = yield* Effect.forkChild(
    begun.await.pipe(Effect.andThen(transfer("Bob", "Ada", 5)), Effect.andThen(changed.open))
  )
  yield* pool.snapshot(Effect.gen(function*() {
    yield* begun.open
    yield* changed.await
    yield* show("a snapshot, after Bob has paid Ada 5")
  }))
  yield* Fiber.join(other)
  yield* show("and after the snapshot")

  // Another process may be writing at the same time. What a rerun can cure is run again, as often as the schedule says.
  yield* pool.transaction(deposit("Cyd", 1), { retry: Schedule.recurs(3) })
  yield* show("with retry")
})

program.pipe(Effect.provide(SqlitePool.layerTemporary()), NodeRuntime.runMain)

/* Prints:
at the start: Ada 100, Bob 20, Cyd 0
Ada pays Bob 30: Ada 70, Bob 50, Cyd 0
Bob cannot pay 1000 (NotEnough): Ada 70, Bob 50, Cyd 0
  no 500 for Cyd
  inside: Ada 40, Bob 50, Cyd 30
Ada pays Cyd what she can: Ada 40, Bob 50, Cyd 30
a snapshot, after Bob has paid Ada 5: Ada 40, Bob 50, Cyd 30
and after the snapshot: Ada 45, Bob 45, Cyd 30
with retry: Ada 45, Bob 45, Cyd 31
*/
