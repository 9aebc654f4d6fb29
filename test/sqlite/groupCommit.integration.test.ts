/** Those who write at the same time share one commit, and each is answered as if it had been alone. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Metric, Result } from "effect"
import { PoolMetrics } from "effect-connection-pool"
import { SafeIntegers } from "effect/sql/SqlClient"
import { SqlError, UniqueViolation } from "effect/sql/SqlError"
import { areTimed, assertGroups, body, failing, insert, make, together } from "../support/groups.ts"

const numbers = (count: number): Array<number> => Array.from({ length: count }, (_, n) => n)

const atOnce = <A, E>(effects: ReadonlyArray<Effect.Effect<A, E>>) => Effect.all(effects, { concurrency: "unbounded" })

describe("statements that are asked for at the same time", () => {
  it.effect("share one commit, with synchronous full as well", () =>
    Effect.gen(function*() {
      for (const synchronous of ["full", "normal"] as const) {
        const db = yield* make({ synchronous })
        // They get to know that they are several.
        yield* atOnce(numbers(3).map((n) => insert(db, n)))
        const before = db.commits
        yield* atOnce(numbers(100).map((n) => insert(db, 1000 + n)))
        assert.isAtMost(db.commits - before, areTimed ? 50 : 1)
        assert.deepStrictEqual(db.rows.slice(3), numbers(100).map((n) => 1000 + n))
        if (!areTimed) assert.deepStrictEqual((yield* db.groups).at(-1), { size: 100, undoneBecause: undefined })
      }
    }))

  it.effect("share it even if they are more than the pool wakes in one turn", () =>
    Effect.gen(function*() {
      const db = yield* make()
      yield* together(db, numbers(200).map((n) => Effect.andThen(insert(db, n), insert(db, 1000 + n))))
      const group = { size: 200, undoneBecause: undefined }
      assertGroups(yield* db.groups, [group, group])
      assert.sameMembers([...db.rows], [...numbers(200), ...numbers(200).map((n) => 1000 + n)])
    }))

  it.effect("are grouped without preparation: of a hundred, only the first runs alone", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const before = db.commits
      yield* atOnce(numbers(100).map((n) => insert(db, n)))
      assert.isAtMost(db.commits - before, areTimed ? 50 : 2)
      assert.deepStrictEqual(db.rows, numbers(100))
    }))

  it.effect("run in order of arrival, and none overtakes a lease before it", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const write = (n: number) => db.pool.write((connection) => connection.run("insert into t values (?)", [n]))
      const before = db.commits
      const exits = yield* together<unknown, unknown>(db, [
        insert(db, 1),
        body(db, 2),
        insert(db, 3),
        write(4),
        insert(db, 5),
        db.pool.transaction(insert(db, 6)),
        insert(db, 7),
        body(db, 8)
      ])
      assert.isTrue(exits.every(Exit.isSuccess))
      assert.deepStrictEqual(db.rows, [1, 2, 3, 4, 5, 6, 7, 8])
      assertGroups(yield* db.groups, [3, 2].map((size) => ({ size, undoneBecause: undefined })))
      assert.isAtLeast(db.commits - before, 5)
      assert.isAtMost(db.commits - before, areTimed ? 8 : 5)
    }))

  it.effect("are answered as alone: rows, numbers, bigints, names, and results without rows", () =>
    Effect.gen(function*() {
      const db = yield* make({ transformResultNames: (name) => name.toUpperCase() })
      const { sql } = db
      const big = 2n ** 60n
      const [rows, bigInts, values, raw, plain, number] = yield* together<unknown, SqlError>(db, [
        sql`insert into t values (1), (2) returning n`,
        Effect.provideService(sql`insert into t values (3) returning n`, SafeIntegers, true),
        sql`insert into t values (4) returning n, n + 1`.values,
        sql`insert into t values (5)`.raw,
        sql`insert into t values (6) returning n`.withoutTransform,
        sql`insert into t values (${big}) returning n`
      ])
      assert.deepStrictEqual(rows, Exit.succeed([{ N: 1 }, { N: 2 }]))
      assert.deepStrictEqual(bigInts, Exit.succeed([{ N: 3n }]))
      assert.deepStrictEqual(values, Exit.succeed([[4, 5]]))
      assert.deepStrictEqual(raw, Exit.succeed({ changes: 1, lastInsertRowid: 5 }))
      assert.deepEqual(plain, Exit.succeed([{ n: 6 }]))
      assert.deepStrictEqual(number, Exit.succeed([{ N: big }]))
      assertGroups(yield* db.groups, [{ size: 6, undoneBecause: undefined }])
    }))

  it.effect("undo only their own work if they fail, with the same error as alone", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const { sql } = db
      yield* insert(db, 1)
      const wrong = [
        sql`insert into t values (2), (1)`,
        sql`insert into missing values (1)`,
        sql`insert into t values (${{} as never})`,
        sql`insert into t values (last_insert_rowid())`,
        sql`insert or fail into t values (8), (1), (9)`
      ]
      const alone = yield* Effect.forEach(wrong, (statement) => Effect.result(statement))
      yield* sql`delete from t where n <> 1`
      const exits = yield* together(db, [insert(db, 3), ...wrong, insert(db, 4)].map((one) => Effect.result(one)))
      const errorOf = (result: Result.Result<unknown, SqlError>) => {
        const { message, reason } = Result.getOrThrow(Result.flip(result))
        return [message, reason._tag, (reason.cause as { readonly errcode?: number }).errcode]
      }
      const inCompany = exits.slice(1, -1).map((exit) => errorOf(Exit.isSuccess(exit) ? exit.value : Result.succeed(0)))
      assert.deepStrictEqual(inCompany, alone.map(errorOf))
      assert.deepStrictEqual(db.rows, [1, 3, 8, 4])
      assertGroups(yield* db.groups, [{ size: 7, undoneBecause: undefined }])
    }))

  for (
    const [how, ending] of [
      ["or rollback", "insert or rollback into t values (1)"],
      ["raise(rollback)", "insert into guarded values (1)"]
    ] as const
  ) {
    it.effect(`run again one by one, in order, if SQLite ends the transaction: ${how}`, () =>
      Effect.gen(function*() {
        const db = yield* make()
        const { sql } = db
        yield* insert(db, 1)
        yield* sql`create table guarded(n)`
        yield* sql`create trigger guard before insert on guarded begin select raise(rollback, 'guarded'); end`
        const runs = [0, 0]
        const counted = (index: number, n: number) => body(db, n, () => void runs[index]!++)
        const before = db.commits
        const exits = yield* together<unknown, unknown>(db, [
          insert(db, 2),
          counted(0, 3),
          Effect.flip(sql.unsafe(ending)),
          insert(db, 4),
          counted(1, 5)
        ])
        assert.isTrue(exits.every(Exit.isSuccess))
        const error = exits[2]!
        assert.instanceOf(Exit.isSuccess(error) && error.value, SqlError)
        assert.deepStrictEqual(db.rows, [1, 2, 3, 4, 5])
        // The function before it ran again, on a database on which it had not run; the one behind it did not.
        if (!areTimed) assert.deepStrictEqual(runs, [2, 1])
        assertGroups(yield* db.groups, [
          { size: 3, undoneBecause: "SQLite has ended the transaction" },
          { size: 2, undoneBecause: undefined }
        ])
        assert.isAtMost(db.commits - before, areTimed ? 4 : 3)
      }))
  }

  it.effect("run again one by one if the disk is full, and only those without room fail", () =>
    Effect.gen(function*() {
      const db = yield* make({ onOpen: (connection) => connection.exec("pragma max_page_count = 20") })
      const { sql } = db
      const blob = (size: number) => sql`insert into t values (zeroblob(${size}))`
      const exits = yield* together<unknown, SqlError>(db, [insert(db, 1), Effect.result(blob(1e6)), insert(db, 2)])
      assert.isTrue(exits.every(Exit.isSuccess))
      assert.match(String(Exit.isSuccess(exits[1]!) && exits[1].value), /full/)
      assert.deepStrictEqual(db.rows, [1, 2])
      const groups = yield* db.groups
      const full = /^SQLite has (failed with code 13|ended the transaction)$/
      const fullOrDone = new RegExp(`^$|${full.source}`)
      if (!areTimed) assert.deepStrictEqual(groups.map(({ size }) => size), [2])
      for (const { undoneBecause } of groups) {
        assert.match(undoneBecause ?? "", areTimed ? fullOrDone : full)
      }
    }))

  it.effect("run again one by one if one fails for a reason that may concern all", () =>
    Effect.gen(function*() {
      for (const code of [5, 7, 10, 11, 13]) {
        const db = yield* make()
        yield* failing("insert into t values (?)", code, () => {}, "all")
        const exits = yield* together<unknown, unknown>(db, [db.pool.writeSync(() => 0), insert(db, 1), insert(db, 2)])
        assert.isTrue(exits.every(Exit.isSuccess), `${code}`)
        assert.deepStrictEqual(db.rows, [1, 2])
        assert.strictEqual((yield* db.groups)[0]!.size, 2)
        assert.isDefined((yield* db.groups)[0]!.undoneBecause)
      }
    }))

  it.effect("run again one by one if the commit fails, because none was answered", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const answered: Array<number> = []
      yield* failing("commit", 10, () => assert.deepStrictEqual(answered, []))
      const answer = (n: number) => Effect.tap(insert(db, n), () => Effect.sync(() => answered.push(n)))
      const exits = yield* together(db, [1, 2, 3].map(answer))
      assert.isTrue(exits.every(Exit.isSuccess))
      assert.deepStrictEqual(db.rows, [1, 2, 3])
      assert.deepStrictEqual(yield* db.groups, [{ size: 3, undoneBecause: "code 10" }])
    }))
})

describe("one writer alone", () => {
  it.effect("runs in the present step, however often it writes", () =>
    Effect.gen(function*() {
      const db = yield* make()
      yield* atOnce(numbers(3).map((n) => insert(db, 100 + n)))
      // The first learns that it is alone.
      yield* insert(db, 200)
      const order: Array<string> = []
      setImmediate(() => order.push("turn"))
      for (const n of numbers(20)) yield* insert(db, n)
      order.push("done")
      yield* Effect.yieldNow
      assert.deepStrictEqual(order[0], "done")
    }))

  it.effect("is seldom taken for several writers if each write has a new fiber", () =>
    Effect.gen(function*() {
      const db = yield* make()
      let turns = 0
      const count = () => {
        turns++
        handle = setImmediate(count)
      }
      let handle = setImmediate(count)
      for (const n of numbers(200)) yield* Effect.promise(() => Effect.runPromise(insert(db, n)))
      clearImmediate(handle)
      assert.isAtMost(turns, 20)
    }))
})

describe("a group is counted", () => {
  it.effect("as a lease for each caller and as one group, and undone groups are counted apart", () =>
    Effect.gen(function*() {
      const db = yield* make({ name: "counted" })
      const before = yield* db.pool.stats
      yield* together(db, numbers(5).map((n) => insert(db, n)))
      yield* Effect.exit(together<unknown, unknown>(db, [
        insert(db, 10),
        Effect.ignore(db.sql`insert or rollback into t values (1)`),
        insert(db, 11)
      ]))
      const { writer } = yield* db.pool.stats
      // Each call of `together` holds a lease too.
      assert.strictEqual(writer.checkouts - before.writer.checkouts, 10)
      assert.strictEqual(writer.returns, writer.checkouts)
      assert.deepStrictEqual([writer.waiting, writer.inUse, writer.cancelled], [0, 0, 0])
      const { groupSize, undoneGroups, useTime, waitTime } = PoolMetrics.of("counted/writer")
      const sizes = yield* Metric.value(groupSize)
      const undone = (yield* Metric.value(undoneGroups)).count
      if (areTimed) {
        const groups = yield* db.groups
        const done = groups.filter(({ undoneBecause }) => undoneBecause === undefined)
        assert.deepStrictEqual([sizes.count, undone], [done.length, groups.length - done.length])
        assert.strictEqual(sizes.sum, done.reduce((sum, { size }) => sum + size, 0))
      } else {
        assert.deepStrictEqual([sizes.count, sizes.sum, sizes.min, sizes.max], [1, 5, 5, 5])
        assert.deepStrictEqual(undone, 1)
      }
      assert.strictEqual((yield* Metric.value(useTime)).count, writer.returns)
      assert.strictEqual((yield* Metric.value(waitTime)).count, writer.checkouts)
    }))

  it.effect("as events of each caller: each is checked out and returned", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const fibers = new Set<number>()
      yield* together(
        db,
        numbers(3).map((n) =>
          Effect.andThen(Effect.withFiber((fiber) => Effect.sync(() => fibers.add(fiber.id))), insert(db, n))
        )
      )
      assert.strictEqual(fibers.size, 3)
      const { writer } = yield* db.pool.stats
      assert.strictEqual(writer.checkouts, writer.returns)
    }))

  it.effect("only for a pool that can have groups: other pools have no metrics of groups", () =>
    Effect.gen(function*() {
      yield* make({ name: "plain", groupCommit: false })
      const names = (yield* Metric.snapshot).filter(({ attributes }) =>
        attributes?.["db.client.connection.pool.name"] === "plain/writer"
      ).map(({ id }) => id)
      assert.notInclude(names, "effect_connection_pool.group_size")
      assert.include(names, "db.client.connection.count")
    }))
})

describe("an error in a group", () => {
  it.effect("can be caught", () =>
    Effect.gen(function*() {
      const db = yield* make()
      yield* insert(db, 1)
      const caught = yield* Effect.forkChild(Fiber.join(
        yield* Effect.forkChild(
          Effect.catchTag(insert(db, 1), "SqlError", (error) => Effect.succeed(error.reason))
        )
      ))
      yield* insert(db, 2)
      assert.instanceOf(yield* Fiber.join(caught), UniqueViolation)
    }))
})
