/** What a tracer is told, beside the client of `@effect/sql-sqlite-node`: call by call. */
import { SqliteClient as Original } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Fiber, identity, Latch, type Scope } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlClient } from "effect/sql/SqlClient"
import { isSqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { file } from "../support/files.ts"
import { mode } from "../support/modes/mode.ts"
import { settle } from "../support/pools.ts"
import { surroundings } from "../support/surroundings.ts"
import { Recorder, tracing } from "../support/tracing.ts"

type Run = (sql: SqlClient) => Effect.Effect<unknown, unknown, Scope.Scope>

const spanAttributes = { "db.namespace": "shop", tenant: 7 }

/** A client of each kind, on a file of its own with the same rows. */
const clients: Effect.Effect<Record<"original" | "drop-in" | "pool", SqlClient>, unknown, Scope.Scope> = Effect.gen(
  function*() {
    const all = {
      original: yield* Original.make({ filename: yield* file, spanAttributes }),
      "drop-in": yield* SqliteClient.make({ filename: yield* file, spanAttributes, drainTimeout: 0 }),
      pool: (yield* SqlitePool.make({ filename: yield* file, spanAttributes, drainTimeout: 0 })).sql
    }
    for (const sql of Object.values(all)) {
      yield* sql`create table t(n integer unique)`
      yield* sql`insert into t values (1), (2)`
    }
    return all
  }
).pipe(Effect.provide(Reactivity.layer))

/**
 * The drivers have the same reasons, and other messages. The pool has spans of its own, which the original has not: of a
 * wait in line, which is also named where a cause says in which spans it came about, and of an attempt to connect.
 */
const told = {
  value: (value: unknown): unknown => JSON.parse(JSON.stringify(value ?? null)),
  error: (error: unknown): unknown => isSqlError(error) ? error.reason._tag : String(error)
}
const ignores = (name: string) => name.startsWith("ConnectionPool.")

type Calls = ReadonlyArray<ReadonlyArray<unknown>>

/** The calls of each span together. Where one of two statements runs in a thread, either may end first. */
const bySpan = (calls: Calls): Calls => calls.toSorted((a, b) => spanOf(a) - spanOf(b))

const spanOf = ([first, second]: ReadonlyArray<unknown>) => (first === "span" ? second : first) as number

const orderOf = (name: string): (calls: Calls) => Calls =>
  mode !== "in-process" && name === "statements of several fibers" ? bySpan : identity

/** Runs an effect on each client, and gives what a tracer was told of it there, and how it ended. */
const compare = Effect.fnUntraced(function*(
  all: Record<string, SqlClient>,
  run: (sql: SqlClient) => Effect.Effect<unknown, unknown, Scope.Scope>,
  order: (calls: Calls) => Calls = identity
) {
  const found: Array<ReadonlyArray<unknown>> = []
  for (const sql of Object.values(all)) {
    yield* TestClock.adjust("1 second")
    const from = (yield* Clock.Clock).currentTimeNanosUnsafe()
    const recorder = new Recorder(told, { from, ignores })
    const exit = yield* Effect.exit(Effect.scoped(Effect.withTracer(run(sql), recorder.tracer)))
    found.push([...order(recorder.calls), recorder.exit(exit)])
  }
  for (const ours of found.slice(1)) assert.deepStrictEqual(ours, found[0])
  return found[0]!
})

const statements: Record<string, Run> = {
  "a read": (sql) => sql`select n from t where n = ${1}`,
  "a read of arrays": (sql) => sql`select n from t where n in ${sql.in([1, 2])}`.values,
  "a read of arrays, not prepared": (sql) => sql`select n from t`.valuesUnprepared,
  "a read without transforms": (sql) => sql`select ${sql("n")} from t`.withoutTransform,
  "a read of rows, not prepared": (sql) => sql.unsafe("select n from t where n = ?", [2]).unprepared,
  "a raw write": (sql) => sql`update t set n = ${1} where n = ${1}`.raw,
  "a write": (sql) => sql`insert or ignore into t ${sql.insert({ n: 2 })}`,
  "an error of SQL": (sql) => sql`select nothing from t`,
  "a constraint": (sql) => sql`insert into t values (${1})`
}

const bodies: Record<string, Run> = {
  ...statements,
  "two statements": (sql) => Effect.andThen(statements["a write"]!(sql), statements["a read"]!(sql)),
  "a span of its own": (sql) => Effect.withSpan(statements["a read"]!(sql), "body"),
  "a failure": (sql) => Effect.andThen(statements["a read"]!(sql), Effect.fail("no")),
  "a defect": () => Effect.die("no"),
  "its interrupt": () => Effect.interrupt,
  "a savepoint": (sql) => sql.withTransaction(statements["a write"]!(sql)),
  "a savepoint that fails": (sql) =>
    Effect.ignore(sql.withTransaction(Effect.andThen(statements["a write"]!(sql), Effect.fail("no")))),
  "two savepoints, one in the other": (sql) => sql.withTransaction(sql.withTransaction(statements["a read"]!(sql))),
  "a statement on the connection": (sql) =>
    Effect.withFiber((fiber) => {
      const [connection] = Context.getUnsafe(fiber.context, sql.transactionService)
      return connection.execute("select n from t", [], undefined)
    })
}

const transactions: Record<string, Run> = Object.fromEntries(
  Object.entries(bodies).map(([name, body]): [string, Run] => [
    `a transaction with ${name}`,
    (sql) => sql.withTransaction(body(sql))
  ])
)

const others: Record<string, Run> = {
  "a statement on a reserved connection": (sql) =>
    Effect.flatMap(sql.reserve, (connection) => connection.executeValues("select n from t", [])),
  "statements of several fibers": (sql) =>
    Effect.all([statements["a read"]!(sql), statements["a raw write"]!(sql)], { concurrency: "unbounded" })
}

/** Runs something while a transaction of another fiber goes on for two seconds. */
const besideTransaction = (run: Run, interruptAfter?: number): Run => (sql) =>
  Effect.gen(function*() {
    const held = yield* Latch.make()
    const transaction = yield* Effect.forkChild(Effect.withTracerEnabled(sql.withTransaction(held.await), false))
    yield* settle
    const waiting = yield* Effect.forkChild(run(sql))
    yield* TestClock.adjust(interruptAfter ?? 2000)
    if (interruptAfter !== undefined) yield* Fiber.interrupt(waiting)
    yield* held.open
    yield* Fiber.join(transaction)
    return yield* Fiber.join(waiting)
  })

describe("a tracer", () => {
  for (const [name, run] of Object.entries({ ...statements, ...transactions, ...others })) {
    it.effect(`gets the same spans for ${name} as from the original client`, () =>
      Effect.gen(function*() {
        const all = yield* clients
        const order = orderOf(name)
        yield* compare(all, run, order)
        for (const around of Object.keys(surroundings)) {
          // The clock tells in which order the calls of several spans have come.
          if (order === bySpan && around === "ticking clock") continue
          yield* compare(all, (sql) => Effect.scoped(surroundings[around]!(Effect.scoped(run(sql)))), order)
        }
      }))
  }

  for (const name of ["a write", "a constraint", "a transaction with two statements", "a transaction with a failure"]) {
    it.effect(`gets the same spans for ${name} as from the original client, also if it waits or is interrupted meanwhile`, () =>
      Effect.gen(function*() {
        const all = yield* clients
        const run = { ...statements, ...transactions }[name]!
        const waited = yield* compare(all, besideTransaction(run))
        assert.isTrue(waited.some((call) => Array.isArray(call) && call[1] === "end" && call[2] === 2_000_000_000n))
        const interrupted = yield* compare(all, besideTransaction(run, 500))
        assert.isTrue(interrupted.some((call) => Array.isArray(call) && call[1] === "end" && call[2] === 500_000_000n))
      }))
  }

  it.effect("is told of an inner transaction from its turn on, where the original client tells its wait too", () =>
    Effect.gen(function*() {
      const { original, pool } = yield* clients
      const starts = Effect.fnUntraced(function*(sql: SqlClient) {
        const { spans, tracer } = tracing()
        const inner = sql.withTransaction(Effect.sleep("1 second"))
        const outer = sql.withTransaction(Effect.all([inner, inner], { concurrency: "unbounded" }))
        const running = yield* Effect.forkChild(Effect.withTracer(outer, tracer))
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(running)
        const [first, ...others] = spans.map(({ status }) => status.startTime)
        return others.map((start) => Number(start - first!) / 1e9)
      })
      assert.deepStrictEqual(yield* starts(original), [0, 0])
      // With a thread in between, the clock of the test has gone on before it is known that the first has ended.
      assert.deepStrictEqual((yield* starts(pool)).map(Math.floor), [0, 1])
    }))

  it.effect("gets the same spans as from the original client in any surroundings", () =>
    Effect.gen(function*() {
      const all = yield* clients
      const context = yield* Effect.context<Scope.Scope>()
      const runs = { ...statements, ...transactions, ...others }
      // The original keeps the cause of an error of SQL, with the spans that it came about in the first time.
      const names = Object.keys(runs).filter((name) => !name.endsWith("an error of SQL"))
      // The span of a wait, for a connection that is opened anew, looks at the clock too.
      const around = Object.keys(surroundings).filter((name) => name !== "ticking clock")
      yield* Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(
            fc.constantFrom(...names),
            fc.array(fc.constantFrom(...around), { maxLength: 4 }),
            (name, around) =>
              Effect.runPromiseWith(context)(Effect.asVoid(compare(all, (sql) =>
                around.reduce<Effect.Effect<unknown, unknown>>(
                  (effect, name) => surroundings[name]!(effect),
                  Effect.scoped(runs[name]!(sql))
                ), orderOf(name))))
          ),
          { numRuns: 150 }
        )
      )
    }), 120_000)
})
