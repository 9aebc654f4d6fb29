import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Stream } from "effect"
import { SqliteConnection, type SqlitePoolError } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { renameSync } from "node:fs"
import * as batches from "../support/batches.ts"
import { judge } from "../support/files.ts"
import { settle } from "../support/pools.ts"

const { countOf, insert, isWhole, make, people, several } = batches

/** Rows of which one cannot be run. */
const rowsWith = (bad: unknown, at: number): Array<never> => {
  const rows: Array<unknown> = people(at + 3)
  rows[at] = bad
  return rows as Array<never>
}

/** Rows of which not even the first is there. */
const throwing = (thrown: unknown): Iterable<never> => ({
  [Symbol.iterator]: () => ({
    next: () => {
      throw thrown
    }
  })
})

interface Case {
  readonly sql?: string
  readonly rows?: Array<never>
  readonly row: number
  readonly reason: string
  readonly says: RegExp
}

const cases: Record<string, Case> = {
  "has undefined": {
    rows: rowsWith([1, undefined], 2),
    row: 2,
    reason: "UnknownError",
    says: /parameter 2 is undefined/
  },
  "has a date": { rows: rowsWith([1, new Date(0)], 0), row: 0, reason: "UnknownError", says: /an object \(Date\)/ },
  "has too few parameters": { rows: rowsWith([1], 5), row: 5, reason: "UnknownError", says: /2 placeholders and 1 / },
  "has too many parameters": { rows: rowsWith([1, "a", 2], 1), row: 1, reason: "UnknownError", says: /no placeholder/ },
  "has no parameters": { rows: rowsWith(undefined, 1), row: 1, reason: "UnknownError", says: /0 parameters/ },
  "has names for placeholders without": {
    rows: rowsWith({ id: 1 }, 1),
    row: 1,
    reason: "UnknownError",
    says: /no names/
  },
  "violates a primary key": { rows: rowsWith([3, "again"], 4), row: 4, reason: "ConstraintError", says: /UNIQUE/ },
  "violates not null": {
    rows: rowsWith([99, null], several),
    row: several,
    reason: "ConstraintError",
    says: /NOT NULL/
  },
  "is for a table that is not there": {
    sql: "insert into nobody values (?, ?)",
    row: 0,
    reason: "UnknownError",
    says: /no such table/
  },
  "is for SQL with an error": { sql: "insert person", row: 0, reason: "UnknownError", says: /syntax error/ },
  "is for no statement": { sql: "-- nothing", row: 0, reason: "SqlSyntaxError", says: /no statement/ },
  "is for two statements": { sql: `${insert}; select 1`, row: 0, reason: "SqlSyntaxError", says: /must hold one/ },
  "is for a query": { sql: "select ?, ?", row: 0, reason: "SqlSyntaxError", says: /returns rows/ },
  "is for a statement with returning": {
    sql: `${insert} returning id`,
    row: 0,
    reason: "SqlSyntaxError",
    says: /leave its `returning` out/
  },
  "is for the end of a transaction": {
    sql: "commit",
    row: 0,
    reason: "AuthorizationError",
    says: /are begun and ended by/
  }
}

describe("a batch with a row that", () => {
  for (const [name, { reason, row, rows = people(3), says, sql = insert }] of Object.entries(cases)) {
    it.effect(`${name} fails with the row, and stores nothing`, () =>
      Effect.gen(function*() {
        const { pool } = yield* make()
        const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.batch(sql, rows)), "BatchError")
        assert.deepStrictEqual([error.pool, error.row, error.stored], ["sqlite", row, 0])
        assert.strictEqual(error.cause.reason._tag, reason)
        assert.match(error.message, says)
        assert.include(error.message, `row ${row} (from 0) of a batch failed, nothing of the batch is stored`)
        yield* isWhole(pool, 0)
      }))
  }

  it.effect("fails can be caught, and the batch can go on with the rows after it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const rows = rowsWith([3, "again"], 25)
      const from = (at: number): Effect.Effect<ReadonlyArray<number>, unknown> =>
        Stream.runDrain(pool.batch(insert, rows.slice(at), { commitEvery: 10 })).pipe(
          Effect.as([]),
          Effect.catchTag("BatchError", ({ row, stored }) => {
            // The rows between the last commit and the bad row were undone.
            rows.splice(at + row, 1)
            return Effect.map(from(at + stored), (bad) => [at + row, ...bad])
          })
        )
      assert.deepStrictEqual(yield* from(0), [25])
      yield* isWhole(pool, 27)
    }))

  it.effect("is no statement, among statements, fails with its index", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      for (const bad of [7, [], [7], ["select 1", [], 3], insert]) {
        const statements = [[insert, [1, "a"]], bad] as Array<never>
        const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.batch(statements)), "BatchError")
        assert.strictEqual(error.row, 1)
        assert.match(error.message, /is no statement: it must be \[sql\] or \[sql, parameters\]/)
      }
      yield* isWhole(pool, 0)
    }))
})

describe("a batch whose rows", () => {
  it.effect("throw fails with the row that is missing, and closes the generator", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const cause = new Error("line 4 is no number")
      let isClosed = false
      const rows = function*() {
        try {
          yield* people(3)
          throw cause
        } finally {
          isClosed = true
        }
      }
      const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.batch(insert, rows())), "BatchError")
      assert.strictEqual(error.row, 3)
      assert.strictEqual(error.cause.reason.cause, cause)
      assert.match(error.message, /the rows could not be read: line 4 is no number/)
      assert.isTrue(isClosed)
      yield* isWhole(pool, 0)
    }))

  it.effect("throw at once, or something that is no error, fails with row 0, and says what was thrown", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const says = [[new Error("no file"), "no file"], ["no file", "\"no file\""], [undefined, "undefined"]] as const
      for (const [thrown, message] of says) {
        const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.batch(insert, throwing(thrown))), "BatchError")
        assert.deepStrictEqual([error.row, error.stored, error.cause.reason.cause], [0, 0, thrown])
        assert.strictEqual(error.cause.message, `the rows could not be read: ${message}`)
      }
      yield* isWhole(pool, 0)
    }))

  it.effect("fail after a commit say how many of them are stored", () =>
    Effect.gen(function*() {
      for (const [at, kept] of [[1, "1 row is stored"], [4, "4 rows are stored"]] as const) {
        const { pool } = yield* make()
        const rows = rowsWith([0, "again"], at)
        const error = yield* PoolAssert.failsWith(
          Stream.runDrain(pool.batch(insert, rows, { commitEvery: 1 })),
          "BatchError"
        )
        assert.deepStrictEqual([error.row, error.stored], [at, at])
        assert.include(error.message, `row ${at} (from 0) of a batch failed, the first ${kept}: `)
        yield* isWhole(pool, at)
      }
    }))

  it.effect("are not needed any more after a failure are closed", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      let isClosed = false
      const rows = function*() {
        try {
          for (;;) yield [1, "the same"]
        } finally {
          isClosed = true
        }
      }
      yield* PoolAssert.failsWith(Stream.runDrain(pool.batch(insert, rows())), "BatchError")
      assert.isTrue(isClosed)
    }))

  it.effect("fail has their failure, and stores nothing", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const rows = Stream.concat(Stream.fromIterable(people(several)), Stream.fail("the file has ended" as const))
      const failure = yield* Effect.flip(Stream.runDrain(pool.batch(insert, rows)))
      assert.strictEqual(failure, "the file has ended")
      yield* isWhole(pool, 0)
    }))

  it.effect("die dies, and stores nothing", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const rows = Stream.concat(Stream.fromIterable(people(5)), Stream.die("a bug"))
      const exit = yield* Effect.exit(Stream.runDrain(pool.batch(insert, rows)))
      assert.deepStrictEqual(exit, Exit.die("a bug"))
      yield* isWhole(pool, 0)
    }))

  it.effect("are none, or whose options are invalid, fails before it does anything", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      for (const rows of [undefined, null, "rows", 7, { 0: [1, "a"] }]) {
        const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.batch(insert, rows as never)), "PoolConfigError")
        assert.match(error.message, /rows is .*, but must be an iterable or a Stream/)
      }
      const options = { commitEvery: 0, cacheSize: -1, timeout: "soon", foreignKeys: "off", lable: "x" }
      const error = yield* PoolAssert.failsWith(
        Stream.runDrain(pool.batch(insert, people(1), options as never)),
        "PoolConfigError"
      )
      for (const field of ["commitEvery", "cacheSize", "timeout", "foreignKeys", "lable"]) {
        assert.include(error.message, field)
      }
      yield* isWhole(pool, 0)
    }))

  it.effect("cannot be committed fails as a transaction does", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      yield* pool.sql`create table house(owner references person deferrable initially deferred)`
      const error = yield* PoolAssert.failsWith(
        Stream.runDrain(pool.batch("insert into house values (?)", people(several).map(([id]) => [id]))),
        "TransactionCommitError"
      )
      assert.match(error.message, /FOREIGN KEY/)
      assert.deepStrictEqual(yield* pool.sql`select count(*) from house`.values, [[0]])
      yield* isWhole(pool, 0)
    }))

  it.effect("come in any order may defer the foreign keys", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      yield* pool.sql`create table house(owner references person)`
      yield* Stream.runDrain(
        pool.batch([["insert into house values (1)"], [insert, [1, "Ada"]]], { foreignKeys: "deferred" })
      )
      yield* isWhole(pool, 1)
    }))

  it.effect("find a full disk fails with the row, and leaves a database that works", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({
        onOpen: (connection, { isReader }) => isReader ? Effect.void : connection.exec("pragma max_page_count = 50")
      })
      const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.batch(insert, people(3 * several))), "BatchError")
      assert.strictEqual(SqliteConnection.codeOf(error.cause), 13)
      assert.isAbove(error.row, 1000)
      yield* isWhole(pool, 0)
      yield* Stream.runDrain(pool.batch(insert, people(10)))
      yield* isWhole(pool, 10)
    }))

  it.effect("meet another process that holds the lock waits for busyTimeout, and fails then", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make({ busyTimeout: "1 second" })
      const other = yield* judge(filename, "begin immediate")
      const running = yield* Effect.forkChild(Effect.flip(Stream.runDrain(pool.batch(insert, people(3)))))
      yield* TestClock.adjust("990 millis")
      assert.isUndefined(running.pollUnsafe())
      yield* TestClock.adjust("20 millis")
      const error = yield* Fiber.join(running)
      assert.strictEqual(error._tag, "TransactionBeginError")
      other.exec("rollback")
      yield* Stream.runDrain(pool.batch(insert, people(3)))
      yield* isWhole(pool, 3)
    }))

  it.effect("wait in line wait for their own timeout, and the error names their label", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ acquireTimeout: "1 minute" })
      const holder = yield* Effect.forkChild(pool.write(() => Effect.never))
      yield* settle
      const batch = Stream.runDrain(pool.batch(insert, people(3), { timeout: "1 second", label: "import" }))
      const running = yield* Effect.forkChild(PoolAssert.failsWith(batch, "AcquireTimeoutError"))
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(running.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(running)).timeoutMillis, 1000)
      yield* Fiber.interrupt(holder)
      yield* isWhole(pool, 0)
    }))

  it.effect("go to a file that was moved meanwhile fails, and the file is as it was", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const moved = `${filename}.moved`
      const rows = Stream.concat(
        Stream.fromIterable(people(several)),
        Stream.unwrap(Effect.gen(function*() {
          renameSync(filename, moved)
          yield* TestClock.adjust("1 second")
          return Stream.fromIterable(people(several, several))
        }))
      )
      const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.batch(insert, rows)), "TransactionLostError")
      assert.match(error.message, /was moved, replaced or deleted/)
      yield* settle
      const other = yield* judge(moved)
      assert.deepStrictEqual(other.prepare("select count(*) as n from person").all().map((row) => row["n"]), [0])
    }))
})

describe("a batch inside a transaction", () => {
  it.effect("is a savepoint, and is committed with it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const commits: Array<unknown> = []
      const heard = yield* Effect.forkChild(
        Stream.runForEach(pool.commits, ({ tables }) => Effect.sync(() => commits.push(tables)))
      )
      yield* settle
      const [first, second] = yield* pool.transaction(Effect.gen(function*() {
        const first = yield* batches.last(pool.batch(insert, people(several)))
        const second = yield* Effect.flip(Stream.runDrain(pool.batch(insert, rowsWith([1, "again"], 9))))
        yield* pool.sql`insert into person(id, name) values (-1, 'Ada')`
        assert.strictEqual(yield* countOf(pool), several + 1)
        return [first, second as SqlitePoolError.BatchError] as const
      }))
      assert.deepStrictEqual([first.rows, first.stored], [several, 0])
      assert.deepStrictEqual([second.row, second.stored], [0, 0])
      yield* settle
      assert.deepStrictEqual(commits, [["person"]])
      yield* Fiber.interrupt(heard)
      yield* isWhole(pool, several + 1)
    }))

  it.effect("is undone with it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const body = Effect.andThen(Stream.runDrain(pool.batch(insert, people(several))), Effect.fail("no" as const))
      assert.strictEqual(yield* Effect.flip(pool.transaction(body)), "no")
      yield* isWhole(pool, 0)
    }))

  it.effect("refuses commitEvery, and a transaction that only reads refuses the batch", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const error = yield* PoolAssert.failsWith(
        pool.transaction(Stream.runDrain(pool.batch(insert, people(1), { commitEvery: 5 }))),
        "PoolConfigError"
      )
      assert.match(error.message, /commitEvery is 5, but must be left out inside a transaction/)
      const refused = yield* PoolAssert.failsWith(
        pool.snapshot(Stream.runDrain(pool.batch(insert, people(1)))),
        "BatchError"
      )
      assert.strictEqual(refused.cause.reason._tag, "AuthorizationError")
      yield* isWhole(pool, 0)
    }))

  it.effect("waits while another fiber has a savepoint open, and neither undoes the other", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const gate = yield* Deferred.make<void>()
      yield* pool.transaction(Effect.gen(function*() {
        const failing = yield* Effect.forkChild(Effect.exit(
          pool.transaction(
            Effect.andThen(pool.sql`insert into person(id, name) values (-1, 'Ada')`, Deferred.await(gate)).pipe(
              Effect.andThen(Effect.fail("undone"))
            )
          )
        ))
        yield* settle
        const batch = yield* Effect.forkChild(Stream.runDrain(pool.batch(insert, people(5))))
        yield* settle
        assert.isUndefined(batch.pollUnsafe())
        yield* Deferred.succeed(gate, undefined)
        assert.deepStrictEqual(yield* Fiber.join(failing), Exit.fail("undone"))
        yield* Fiber.join(batch)
      }))
      yield* isWhole(pool, 5)
    }))
})
