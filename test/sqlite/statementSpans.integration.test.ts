import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Latch, Option, Tracer } from "effect"
import { type SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { TestClock } from "effect/testing"
import * as Database from "../support/database.ts"
import { settle } from "../support/pools.ts"
import { ways } from "../support/statements.ts"
import { tracing } from "../support/tracing.ts"

const everyWay: ReadonlyArray<(statement: Statement.Statement<unknown>) => Effect.Effect<unknown, SqlError>> = Object
  .values(ways)

/** What there is to know of a span. */
const told = ({ attributes, kind, links, name, parent, sampled, status }: Tracer.Span) => ({
  name,
  kind,
  sampled,
  links,
  attributes: [...attributes],
  parent: Option.match(parent, { onNone: () => undefined, onSome: ({ spanId }) => spanId }),
  millis: status._tag === "Ended" ? Number(status.endTime - status.startTime) / 1e6 : "open",
  exit: status._tag === "Ended" ? toldExit(status.exit) : "open"
})

const toldExit = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit) ? exit.value : Cause.pretty(exit.cause).split("\n")[0]

/** Effect's own statements on one connection of the same database. */
const ownOn = Effect.fnUntraced(function*(sql: SqlClient, attributes: ReadonlyArray<readonly [string, unknown]>) {
  const connection = yield* sql.reserve
  return Statement.make(
    Effect.succeed(connection),
    Statement.makeCompilerSqlite(),
    [...attributes, ["db.system.name", "sqlite"]],
    undefined,
    (f) => f(connection)
  )
})

describe("the span of a statement", () => {
  it.effect("is that of Effect's own, however it is run and however it ends", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ client: { spanAttributes: { "db.namespace": "shop" } } })
      yield* db.sql`insert into t values (1), (2)`
      const own = yield* ownOn(db.sql, [["db.namespace", "shop"]])
      // A wait for a connection that is opened has a span of its own.
      yield* db.sql`select 1`
      const statements: ReadonlyArray<(sql: Statement.Constructor) => Statement.Statement<unknown>> = [
        (sql) => sql`select n from t where n > ${0}`,
        (sql) => sql`select n from t where n in ${sql.in([1, 2])}`,
        (sql) => sql`select nothing from t`,
        (sql) => sql`select n from t where n = ${new Date(0)}`,
        (sql) => sql.unsafe("select ? as n", [1])
      ]
      const request = Tracer.externalSpan({ spanId: "1", traceId: "2" })
      for (const make of statements) {
        for (const way of everyWay) {
          const [ours, theirs] = yield* Effect.forEach([db.sql, own], (sql) =>
            Effect.gen(function*() {
              const { spans, tracer } = tracing()
              const exit = yield* Effect.exit(
                way(make(sql)).pipe(Effect.withParentSpan(request), Effect.withTracer(tracer))
              )
              return [toldExit(exit), spans.map(told)]
            }))
          assert.deepStrictEqual(ours, theirs)
          assert.strictEqual((ours![1] as ReadonlyArray<unknown>).length, 1)
        }
      }
    }))

  it.effect("lasts as long as the statement, with its wait in line", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ readers: 1 })
      const { spans, tracer } = tracing()
      const held = yield* Latch.make()
      yield* Effect.forkChild(db.reader.use(() => held.await))
      yield* settle
      const waiting = yield* Effect.forkChild(Effect.withTracer(db.sql`select ${1}`, tracer))
      yield* TestClock.adjust("2 seconds")
      yield* held.open
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(spans.map(({ name }) => name), ["sqlite", "ConnectionPool.acquire"])
      assert.strictEqual(told(spans[0]!).millis, 2000)
    }))

  it.effect("is made only if there is a tracer", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      for (const way of everyWay) {
        for (const statement of [db.sql`select ${1}`, db.sql`select ${db.sql.literal("1")}`]) {
          const { spans, tracer } = tracing()
          const run = Effect.exit(way(statement))
          yield* run
          assert.strictEqual(spans.length, 0)
          yield* Effect.withTracer(run, tracer)
          assert.deepStrictEqual(spans.map(({ name }) => name), ["sqlite"])
          yield* run
          yield* run.pipe(Effect.withTracerEnabled(false), Effect.withTracer(tracer))
          assert.strictEqual(spans.length, 1)
          yield* run.pipe(Effect.withTracerEnabled(true), Effect.withTracerEnabled(false), Effect.withTracer(tracer))
          assert.strictEqual(spans.length, 2)
        }
      }
    }))

  it.effect("is the parent during the transformation of rows, if spans are passed on", () =>
    Effect.gen(function*() {
      const seen: Array<string | undefined> = []
      const db = yield* Database.make({
        client: {
          transformResultNames: (name) => {
            const span = Fiber.getCurrent()?.cache.span
            seen.push(span?._tag === "Span" ? span.name : undefined)
            return name
          }
        }
      })
      const passing = Effect.provideService(db.sql`select ${1}`, Statement.SpanPropagationEnabled, true)
      yield* db.sql`select ${1}`
      yield* passing
      yield* Effect.withTracerEnabled(passing, false)
      const { spans, tracer } = tracing()
      yield* Effect.withTracer(passing, tracer)
      assert.deepStrictEqual(seen, [undefined, "sqlite", undefined, "sqlite"])
      assert.isTrue(spans[0]!.attributes.has("db.client.connection.wait_time_ms"))
    }))
})

describe("a transformer of statements", () => {
  it.effect("gets the same as from Effect's own, with a tracer or without, and the statement that it returns is run", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* db.sql`insert into t values (1), (2), (3)`
      const own = yield* ownOn(db.sql, [])
      for (const isTraced of [false, true]) {
        for (const [name, way] of Object.entries(ways)) {
          const [ours, theirs] = yield* Effect.forEach([db.sql, own], (sql) =>
            Effect.withFiber((fiber) => {
              const calls: Array<unknown> = []
              const transformed = Effect.provideService(
                way(sql`select n from t where n > ${1}`),
                Statement.CurrentTransformer,
                (self, make, its, span) => {
                  calls.push([self.compile(), self.segments, its === fiber, told(span)])
                  return Effect.succeed(make`${self} and n < ${3}`)
                }
              )
              return Effect.map(
                isTraced ? Effect.withTracer(transformed, tracing().tracer) : transformed,
                (found) => ({ found, calls })
              )
            }))
          assert.deepStrictEqual(ours, theirs)
          assert.strictEqual(ours!.calls.length, 1)
          assert.deepStrictEqual(ours!.found, name.startsWith("values") ? [[2]] : [{ n: 2 }])
        }
      }
    }))
})
