/** Statements of the client of PostgreSQL beside Effect's own, which they replace where nobody could tell: without a server. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream, Tracer } from "effect"
import * as Statement from "effect/sql/Statement"
import * as fc from "fast-check"
import * as Statements from "../../src/internal/sqlClient/effectStatement.ts"
import { Connections } from "../../src/internal/sqlClient/sqlConnection.ts"
import { StatementSpans } from "../../src/internal/sqlClient/statementSpan.ts"
import type { Target } from "../../src/internal/sqlClient/target.ts"
import { StatementTexts, type Text } from "../../src/postgres/internal/sql/statementText.ts"
import { ways } from "../support/statements.ts"

/** Statements that tell what a target would get. */
const make = () => {
  const done: Array<unknown> = []
  const target: Target<Text> = {
    run: (_, { params, text }, way, isPrepared) =>
      Effect.sync(() => {
        done.push([way, isPrepared, text.sql, [...params]])
        return [{ aName: 1 }] as never
      }),
    stream: ({ params, text }) => Stream.sync(() => done.push(["stream", text.sql, [...params]]))
  }
  const texts = new StatementTexts()
  const transform = Statement.defaultTransforms((name) => name.toUpperCase()).array
  const original = Statement.make(
    Effect.succeed(new Connections(texts).toConnection(target)),
    PgClient.makeCompiler((name) => name.toUpperCase()),
    [],
    transform
  )
  const sql = Statements.make({
    original,
    targetOf: () => target,
    texts,
    placeholder: (position) => `$${position}`,
    transform,
    spans: new StatementSpans([])
  })
  /** How an effect ended, and what the target got. */
  const outcome = (effect: () => Effect.Effect<unknown, unknown>) => {
    done.length = 0
    const exit = Effect.runSyncExit(Effect.suspend(effect))
    return [Exit.isSuccess(exit) ? exit.value : String(exit.cause), [...done]]
  }
  return { sql, original, outcome }
}

/** A template as the language makes them. */
const template = (parts: ReadonlyArray<string>): TemplateStringsArray =>
  Object.freeze(Object.assign([...parts], { raw: Object.freeze([...parts]) }))

const visible = Effect.withTracer(Tracer.make({ span: (options) => new Tracer.NativeSpan(options) }))

const value = fc.oneof(
  fc.constantFrom<unknown>(null, undefined, "", true, new Date(0), [1, 2], [], { a: 1 }, { _tag: "Other" }),
  fc.string(),
  fc.double(),
  fc.bigInt()
)

/** Makes an argument with the statements it is for. */
const arg = fc.oneof(
  { arbitrary: value.map((value) => (_: Statement.Constructor): unknown => value), weight: 5 },
  fc.string().map((text) => (sql: Statement.Constructor): unknown => sql.literal(text)),
  fc.string().map((name) => (sql: Statement.Constructor): unknown => sql(name)),
  fc.array(value, { maxLength: 3 }).map((values) => (sql: Statement.Constructor): unknown => sql.in("a", values)),
  fc.dictionary(fc.constantFrom("a", "b"), value, { minKeys: 1 }).map(
    (record) => (sql: Statement.Constructor): unknown => sql.insert(record)
  ),
  fc.array(value, { maxLength: 2 }).map((params) => (sql: Statement.Constructor): unknown => sql.unsafe("x", params))
)

const written = fc.nat(12).chain((length) =>
  fc.record({
    parts: fc.array(fc.string(), { minLength: length + 1, maxLength: length + 1 }),
    calls: fc.array(fc.array(arg, { minLength: length, maxLength: length }), { minLength: 1, maxLength: 2 })
  })
)

describe("a statement of the client of PostgreSQL", () => {
  it("is what Effect's own is: its text, its parameters, its rows, and whether it is prepared", () => {
    let runs = 0
    fc.assert(
      fc.property(written, ({ calls, parts }) => {
        const { original, outcome, sql } = make()
        const strings = template(parts)
        for (const args of calls) {
          const ours = sql(strings, ...args.map((arg) => arg(sql)))
          const own = original(strings, ...args.map((arg) => arg(original)))
          for (const way of Object.values(ways)) {
            const expected = outcome(() => way(own))
            assert.deepStrictEqual(outcome(() => way(ours)), expected)
            assert.deepStrictEqual(outcome(() => visible(way(ours))), expected)
            runs += (expected[1] as Array<unknown>).length
          }
          assert.deepStrictEqual(
            outcome(() => Effect.sync(() => ours.compile())),
            outcome(() => Effect.sync(() => own.compile()))
          )
        }
      }),
      { numRuns: 300 }
    )
    assert.isAbove(runs, 300)
  })

  it("numbers its parameters, and is prepared unless it says that it is not", () => {
    const { outcome, sql } = make()
    const statement = () => sql`select ${1} + ${2}`
    const text = "select $1 + $2"
    assert.deepStrictEqual(outcome(statement), [[{ ANAME: 1 }], [["objects", true, text, [1, 2]]]])
    assert.deepStrictEqual(outcome(() => statement().unprepared)[1], [["objects", false, text, [1, 2]]])
    assert.deepStrictEqual(outcome(() => statement().values)[1], [["arrays", true, text, [1, 2]]])
    assert.deepStrictEqual(outcome(() => statement().valuesUnprepared)[1], [["arrays", false, text, [1, 2]]])
    assert.deepStrictEqual(outcome(() => statement().withoutTransform), [[{ aName: 1 }], [["objects", true, text, [
      1,
      2
    ]]]])
  })
})
