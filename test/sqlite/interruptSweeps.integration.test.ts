/** An interrupt at any point: of SQL functions in use, of the driver's own handle, of files that are only read. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, type Fiber, Stream } from "effect"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { Sweep } from "effect-connection-pool/testing"
import type { DatabaseSync } from "node:sqlite"
import { file, given, openFiles } from "../support/files.ts"
import { failsAt, kinds, make as makePool, total } from "../support/functions.ts"
import { budgets } from "../support/modes/mode.ts"
import { settle } from "../support/pools.ts"

const { withHandle } = SqliteConnection

/** Nothing is lent, and nobody waits. */
const assertFree = (pool: SqlitePool.SqlitePool) =>
  Effect.gen(function*() {
    yield* settle
    const { readers, writer } = yield* pool.stats
    assert.deepStrictEqual([readers.inUse, readers.waiting, writer.inUse, writer.waiting], [0, 0, 0, 0])
  })

const turn = Effect.yieldNow

describe("an interrupt at any point of statements that call SQL functions", () => {
  for (const [kind, options] of kinds) {
    it.effect(
      `stores all of a transaction or nothing, and leaves the functions in order, ${kind}`,
      () =>
        Effect.gen(function*() {
          const interrupting = new Set<Fiber.Fiber<unknown, unknown>>()
          const pool = yield* makePool({
            ...options,
            readers: 2,
            functions: {
              twice: (n) => Number(n) * 2,
              // Interrupts the fiber that runs the statement, in the middle of it.
              stop: (n) => {
                for (const fiber of interrupting) fiber.interruptUnsafe()
                return n!
              }
            },
            aggregates: { total, bad: failsAt(3) }
          })
          const { sql } = pool
          const scenarios: Record<string, Effect.Effect<unknown, unknown>> = {
            "a transaction": pool.transaction(Effect.gen(function*() {
              yield* sql`insert into t(a) select twice(n) from n`
              yield* turn
              yield* Effect.flip(sql`insert into t(a) select bad(n) from n group by n`)
              yield* turn
              yield* sql`insert into t(a) select total(n) over (order by n rows 1 preceding) from n`
              yield* turn
            })),
            "a stream beside a group": Effect.all([
              Stream.runDrain(Stream.tap(pool.stream("select twice(n) from n, n as m"), () => turn)),
              pool.transaction(Effect.andThen(sql`insert into t(a) select twice(n) from n, n as m limit 10`, turn)),
              Effect.exit(sql`insert into t(a) select bad(n) from n group by n`)
            ], { concurrency: 3 }),
            "an interrupt from inside": Effect.withFiber((fiber) => {
              interrupting.add(fiber)
              return Effect.ensuring(
                pool.transaction(Effect.andThen(sql`insert into t(a) select stop(n) from n, n as m limit 10`, turn)),
                Effect.sync(() => interrupting.clear())
              )
            })
          }
          let cases = 0
          let interrupted = 0
          let stored = 0
          for (const [name, scenario] of Object.entries(scenarios)) {
            const report = yield* Sweep.run({
              setup: sql`delete from t`,
              scenario: () => scenario,
              check: (_, exit) =>
                Effect.gen(function*() {
                  yield* assertFree(pool)
                  const [[rows]] = (yield* sql`select count(*) from t`.values) as unknown as [[number]]
                  assert.include([0, 10], rows, name)
                  if (Exit.isSuccess(exit)) assert.strictEqual(rows, 10, name)
                  if (rows > 0) stored++
                  // The functions work, and what fails is undone.
                  assert.deepStrictEqual(yield* sql`select twice(total(n)) from n`.values, [[30]])
                  yield* Effect.flip(pool.transaction(sql`insert into t(a) select bad(n) from n group by n`))
                  assert.deepStrictEqual(yield* sql`select count(*) from t`.values, [[rows]])
                }),
              budgets: [3, 14],
              turns: [0, 20]
            })
            cases += report.cases
            interrupted += report.interrupted
          }
          assert.isAbove(interrupted, cases / 20, "the interrupts come too late")
          assert.isAbove(stored, cases / 20, "the interrupts come too early")
        }),
      120_000
    )
  }
})

describe("an interrupt at any point of the driver's own handle", () => {
  for (const [kind, options] of kinds) {
    it.effect(`ends the handle, and leaves the connection clean, ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* makePool({ ...options, readers: 1, functions: { twice: (n) => Number(n) * 2 } })
        const { sql } = pool
        let kept: DatabaseSync | undefined
        /** What a library does with a handle, in some steps. */
        const library = (database: DatabaseSync) =>
          Effect.gen(function*() {
            kept = database
            // SQLite tells nobody of that one.
            if (kind === "in a file") database.function("twice", () => 99)
            database.exec("pragma cache_size = 7; pragma foreign_keys = off; create temp table mine(a)")
            yield* turn
            database.exec("begin; insert into t(a) values (1)")
            yield* turn
            const rows = database.prepare("select n from n").iterate()
            rows.next()
            yield* turn
            database.exec("insert into t(a) values (2); commit")
            yield* turn
          })
        const reading = kind === "in memory" ? Effect.void : pool.read((reader) =>
          withHandle(reader, (database) => {
            database.exec("begin")
            return Effect.andThen(turn, Effect.sync(() => database.prepare("select n from n").all()))
          })
        )
        const report = yield* Sweep.run({
          setup: sql`delete from t`,
          scenario: () =>
            Effect.gen(function*() {
              yield* Effect.all([
                pool.write((connection) =>
                  Effect.gen(function*() {
                    yield* withHandle(connection, library)
                    yield* turn
                    yield* connection.run("insert into t(a) values (3)")
                  })
                ),
                reading
              ], { concurrency: 2 })
              yield* pool.write((connection) => withHandle(connection, () => turn))
            }),
          check: () =>
            Effect.gen(function*() {
              yield* assertFree(pool)
              if (kept !== undefined) assert.throws(() => kept!.exec("insert into t(a) values (9)"), /has ended/)
              const state = yield* pool.write((connection) =>
                Effect.sync(() => ({
                  isTransaction: connection.isTransactionUnsafe(),
                  settings: connection.valuesUnsafe(
                    "select cache_size, foreign_keys, twice(2) from pragma_cache_size, pragma_foreign_keys"
                  ),
                  temporary: connection.valuesUnsafe("select count(*) from sqlite_temp_schema")
                }))
              )
              assert.deepStrictEqual(state, { isTransaction: false, settings: [[-8000, 1, 4]], temporary: [[0]] })
              assert.include([0, 2, 3], (yield* sql`select a from t`).length)
              yield* pool.transaction(sql`insert into t(a) values (4)`)
            }),
          budgets: [3, 14],
          turns: [0, 20]
        })
        assert.isDefined(kept)
        assert.isAbove(report.interrupted, report.cases / 20, "the interrupts come too late")
        assert.isBelow(report.interrupted, report.cases, "the interrupts come too early")
      }), 120_000)
  }
})

describe("an interrupt at any point of a file that is only read", () => {
  for (const only of ["readOnly", "immutable"] as const) {
    it.effect(`leaves no lease and no descriptor: ${only}`, () =>
      Effect.gen(function*() {
        const filename = given(yield* file)
        const report = yield* Sweep.run({
          setup: Effect.void,
          scenario: () =>
            Effect.scoped(Effect.gen(function*() {
              const pool = yield* SqlitePool.make({ filename, [only]: true, readers: 2, drainTimeout: 0 })
              yield* Effect.all([
                pool.snapshot(Effect.andThen(pool.sql`select a from t`, turn)),
                pool.read((reader) => Effect.andThen(reader.query("select a from t"), turn)),
                Stream.runDrain(Stream.tap(pool.stream("select a from t"), () => turn)),
                Stream.runDrain(Stream.take(pool.observe("select a from t"), 1)),
                pool.write((connection) => withHandle(connection, () => turn)),
                Effect.flip(pool.sql`insert into t values (2)`)
              ], { concurrency: "unbounded" })
              yield* pool.shutdown()
            })),
          check: () =>
            Effect.gen(function*() {
              assert.strictEqual(openFiles(filename), 0)
              const pool = yield* SqlitePool.make({ filename, [only]: true })
              assert.deepStrictEqual(yield* pool.sql`select a from t`.values, [[1]])
            }).pipe(Effect.scoped),
          budgets: budgets(3, 12),
          turns: [0, 14]
        })
        assert.isAbove(report.interrupted, report.cases / 20, "the interrupts come too late")
      }), 120_000)
  }
})
