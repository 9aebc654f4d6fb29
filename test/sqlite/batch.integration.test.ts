import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import * as batches from "../support/batches.ts"
import { judge } from "../support/files.ts"
import { settle } from "../support/pools.ts"
import { onWorkClock } from "../support/slowStatements.ts"

const { countOf, insert, last, make, people, several } = batches

const progress = (stored: number, total: number | undefined) => ({
  rows: stored,
  stored,
  changes: stored,
  total,
  elapsedMillis: 0
})

const million = function*() {
  for (let id = 0; id < 1_000_000; id++) yield [id, `name ${id}`]
}

describe("a batch", () => {
  it.effect("stores the rows of an array, and says how many", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      assert.deepStrictEqual(yield* last(pool.batch(insert, people(3))), progress(3, 3))
      const other = yield* judge(filename)
      assert.deepStrictEqual(
        other.prepare("select id, name, typeof(id) from person", { returnArrays: true }).all() as unknown,
        people(3).map(([id, name]) => [id, name, "integer"])
      )
    }))

  it.effect("stores the rows of a generator, of a set, and of a stream in any pieces", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const generator = function*() {
        for (const row of people(3000)) yield row
      }
      assert.deepStrictEqual(yield* last(pool.batch(insert, generator())), progress(3000, undefined))
      assert.deepStrictEqual(yield* last(pool.batch(insert, new Set(people(10, 3000)))), progress(10, 10))
      const pieces = Stream.rechunk(Stream.fromIterable(people(1000, 3010)), 7)
      assert.deepStrictEqual(yield* last(pool.batch(insert, pieces)), progress(1000, undefined))
      assert.strictEqual(yield* countOf(pool), 4010)
    }))

  it.effect("without rows takes no connection, and ends with nothing stored", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const gate = yield* Deferred.make<void>()
      const holder = yield* Effect.forkChild(pool.write(() => Deferred.await(gate)))
      yield* settle
      assert.deepStrictEqual(yield* last(pool.batch(insert, [])), progress(0, 0))
      assert.deepStrictEqual(yield* last(pool.batch(insert, Stream.empty)), progress(0, undefined))
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(holder)
    }))

  it.effect("binds parameters exactly, by position and by name", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      yield* Stream.runDrain(pool.batch("insert into person values (:id, $name, @age)", [
        { id: 1n, name: "Ada", age: true },
        { id: 2, name: "Bob", age: 2.5 },
        { id: 3, name: "Eve", age: new Uint8Array([1]) },
        { id: 4, name: "Kim", age: null }
      ]))
      assert.deepStrictEqual(
        yield* pool.read((reader) => reader.values("select age, typeof(age) from person order by id")),
        [[1, "integer"], [2.5, "real"], [new Uint8Array([1]), "blob"], [null, "null"]]
      )
    }))

  it.effect("runs different statements in their order", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const statements: Array<SqlitePool.BatchStatement> = [
        ["create table house(id integer primary key, owner references person)"],
        ...people(5).flatMap(([id, name]): Array<SqlitePool.BatchStatement> => [
          [insert, [id, name]],
          ["insert into house(owner) values (:owner)", { owner: id }]
        ]),
        ["delete from house where owner > ?", [2]],
        ["delete from person where id > ?", [2]]
      ]
      const { changes, rows, stored, total } = yield* last(pool.batch(statements))
      assert.deepStrictEqual([rows, stored, total, changes], [13, 13, 13, 14])
      assert.deepStrictEqual(
        yield* pool.read((reader) => reader.values("select name from house join person on owner = person.id")),
        [["name 0"], ["name 1"], ["name 2"]]
      )
    }))

  it.effect("counts the rows that were changed, not those that were ignored", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      yield* pool.write((connection) => connection.exec("insert into person(id, name) values (1, 'Ada')"))
      const { changes, rows } = yield* last(
        pool.batch("insert or ignore into person(id, name) values (?, ?)", people(3))
      )
      assert.deepStrictEqual([rows, changes], [3, 2])
    }))

  it.effect("calls functions of the application and fires triggers", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ functions: { shout: (name) => `${String(name).toUpperCase()}!` } })
      yield* pool.write((connection) =>
        connection.exec(
          "create table seen(id); create trigger i after insert on person begin " +
            "insert into seen values (new.id); end"
        )
      )
      const { changes } = yield* last(pool.batch("insert into person(id, name) values (?, shout(?))", people(2)))
      assert.strictEqual(changes, 4)
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select name from person")), [
        ["NAME 0!"],
        ["NAME 1!"]
      ])
    }))

  it.effect("gives the event loop its turn again and again", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      let turns = 0
      const reads: Array<number> = []
      let hasEnded = false
      const turn = () => {
        turns++
        if (!hasEnded) setTimeout(turn, 0)
      }
      turn()
      // Others read meanwhile, and see nothing of it.
      const reader = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(
          Effect.tap(countOf(pool), (count) => Effect.sync(() => reads.push(count))),
          Effect.yieldNow
        ))
      )
      yield* Stream.runDrain(pool.batch(insert, people(20 * several)))
      hasEnded = true
      yield* Fiber.interrupt(reader)
      assert.isAtLeast(turns, 15)
      assert.isTrue(reads.every((count) => count === 0 || count === 20 * several))
      assert.isAtLeast(reads.filter((count) => count === 0).length, 5)
      yield* batches.isWhole(pool, 20 * several)
    }), 120_000)

  it.effect("of no rows at all stores nothing, and says so", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      for (const rows of [[], new Set<never>(), [].values(), Stream.empty]) {
        const reports = yield* Stream.runCollect(pool.batch(insert, rows))
        assert.deepStrictEqual(reports.map(({ rows, stored }) => [rows, stored]), [[0, 0]])
      }
      assert.strictEqual((yield* pool.stats).writer.checkouts, 1)
      yield* batches.isWhole(pool, 0)
    }))

  it.effect("of rows that take their time stores those that are there, and does not wait for all", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        let made = 0
        const seen: Array<number> = []
        const { pool } = yield* make({
          functions: {
            note: (id) => {
              seen.push(made)
              return id
            }
          }
        })
        const rows = function*() {
          for (let id = 0; id < 40; id++) {
            clock.work(0.1)
            made++
            yield [id, "slow"]
          }
        }
        yield* Stream.runDrain(pool.batch("insert into person(id, name) values (note(?), ?)", rows()))
        // It looks at the clock after each 16 rows.
        assert.deepStrictEqual(seen, Array.from({ length: 40 }, (_, id) => id < 16 ? 16 : id < 32 ? 32 : 40))
        yield* batches.isWhole(pool, 40)
      })
    ))

  it.effect("stores a million rows, which are on the disk and in the file when it ends", () =>
    Effect.gen(function*() {
      const { bytes, filename, pool } = yield* make()
      const end = yield* last(pool.batch(insert, million()))
      assert.deepStrictEqual(end, progress(1_000_000, undefined))
      // No thread but another one has moved the log: on this connection, SQLite would not.
      assert.isAbove(bytes(), 20e6)
      const other = yield* judge(filename)
      assert.strictEqual(other.prepare("select sum(id) as sum from person").get()!["sum"], 499_999_500_000)
      yield* batches.isWhole(pool, 1_000_000)
    }), 300_000)

  it.effect("in memory works too, and its rows may be read from the database", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: ":memory:" })
      yield* pool.sql`create table person(id integer primary key, name text, age)`
      yield* Stream.runDrain(pool.batch(insert, people(several)))
      yield* pool.sql`create table copy(id)`
      const ids = Stream.map(pool.stream("select id from person"), ({ id }) => [id as number])
      const { stored } = yield* last(pool.batch("insert into copy values (?)", ids))
      assert.strictEqual(stored, several)
      assert.deepStrictEqual(yield* pool.sql`select count(*) as n, sum(id) as sum from copy`.values, [
        [several, several * (several - 1) / 2]
      ])
    }))

  it.effect("copies a table to itself once: its rows are read beside the transaction", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      yield* Stream.runDrain(pool.batch(insert, people(1000)))
      const copies = Stream.map(pool.stream("select id, name from person"), ({ id, name }) => [
        (id as number) + 1000,
        name as string
      ])
      yield* Stream.runDrain(pool.batch(insert, copies))
      assert.strictEqual(yield* countOf(pool), 2000)
    }))

  it.effect("gives a slow reader the newest progress, and does not wait for it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const gate = yield* Deferred.make<void>()
      const seen: Array<number> = []
      const reader = yield* Effect.forkChild(
        Stream.runForEach(pool.batch(insert, people(100), { commitEvery: 10 }), ({ stored }) => {
          seen.push(stored)
          return Deferred.await(gate)
        })
      )
      while ((yield* countOf(pool)) < 100) yield* Effect.yieldNow
      yield* settle
      assert.strictEqual((yield* pool.stats).writer.inUse, 0)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(reader)
      assert.strictEqual(seen.at(-1), 100)
      assert.isAtMost(seen.length, 3)
    }))
})

describe("two batches", () => {
  it.effect("wait in line, and each is one transaction", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const gate = yield* Deferred.make<void>()
      // Each row has the number of rows that were there before it.
      const counting = "insert into person(id, name, age) select :id, 'x', count(*) from person"
      const run = (name: string, from: number) => {
        const ids = (first: number) => Stream.fromIterable([{ id: first }, { id: first + 1 }])
        const rows = Stream.concat(ids(from), Stream.unwrap(Effect.as(Deferred.await(gate), ids(from + 2))))
        return Effect.forkChild(Stream.runDrain(pool.batch(counting, rows, { label: name })))
      }
      const first = yield* run("first", 10)
      yield* settle
      const second = yield* run("second", 0)
      yield* settle
      assert.deepStrictEqual((yield* pool.writer.holders).map(({ label }) => label), ["first"])
      assert.strictEqual((yield* pool.stats).writer.waiting, 1)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(first)
      yield* Fiber.join(second)
      assert.deepStrictEqual(
        yield* pool.read((reader) => reader.values("select id, age from person order by age")),
        [10, 11, 12, 13, 0, 1, 2, 3].map((id, before) => [id, before])
      )
    }))
})

describe("a batch with commitEvery", () => {
  it.effect("commits in between, and lets others write there", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const between = yield* Deferred.make<void>()
      const rows = Stream.concat(
        Stream.fromIterable(people(20)),
        Stream.unwrap(Effect.as(Deferred.await(between), Stream.fromIterable(people(15, 20))))
      )
      const running = yield* Effect.forkChild(Stream.runCollect(pool.batch(insert, rows, { commitEvery: 10 })))
      while ((yield* countOf(pool)) < 20) yield* Effect.yieldNow
      yield* pool.sql`insert into person(id, name) values (1000, 'Ada')`
      yield* Deferred.succeed(between, undefined)
      const reports = yield* Fiber.join(running)
      assert.strictEqual(yield* countOf(pool), 36)
      assert.deepStrictEqual(reports.at(-1), { rows: 35, stored: 35, changes: 35, total: undefined, elapsedMillis: 0 })
    }))

  it.effect(
    "moves a long log to the file at its end, also if it did not know its last commit",
    () =>
      Effect.gen(function*() {
        const { bytes, pool } = yield* make()
        const name = "x".repeat(500)
        const rows = Array.from({ length: 3 * several }, (_, id) => [id, name])
        // The last transaction is full, and nothing follows.
        yield* Stream.runDrain(pool.batch(insert, rows, { commitEvery: several }))
        assert.isAbove(bytes(), 3 * several * 500)
        yield* batches.isWhole(pool, 3 * several)
      }),
    120_000
  )
})
