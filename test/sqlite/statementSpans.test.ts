/** The spans of statements beside those of Effect's own statements, call by call: without a database. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, type Fiber, type Scope, Stream, Tracer } from "effect"
import { ConstraintError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import * as Statements from "../../src/internal/sqlClient/effectStatement.ts"
import { Connections } from "../../src/internal/sqlClient/sqlConnection.ts"
import { StatementSpans } from "../../src/internal/sqlClient/statementSpan.ts"
import type { Target } from "../../src/sqlite/internal/client/targets.ts"
import { StatementTexts } from "../../src/sqlite/internal/sql/statementKind.ts"
import { surroundings } from "../support/surroundings.ts"
import { type Fault, Recorder } from "../support/tracing.ts"

const failed = new SqlError({ reason: new ConstraintError({ cause: new Error("no"), message: "no" }) })

/** What a connection does with a statement. */
const answers = {
  succeeds: () => Exit.succeed([{ n: 1 }]),
  fails: () => Exit.fail(failed),
  dies: () => Exit.die("died"),
  throws: () => {
    throw new Error("thrown")
  },
  "succeeds in another step": () => Effect.andThen(Effect.yieldNow, Exit.succeed([{ n: 2 }])),
  "fails in another step": () => Effect.andThen(Effect.yieldNow, Exit.fail(failed)),
  "waits for a second": () => Effect.as(Effect.sleep("1 second"), [{ n: 3 }]),
  "waits for a second, and fails": () => Effect.andThen(Effect.sleep("1 second"), Exit.fail(failed)),
  "never ends": () => Effect.never,
  "asks for the span": () => Effect.map(Effect.exit(Effect.currentSpan), Exit.isSuccess),
  "has a span of its own": () => Effect.withSpan(Effect.sleep("1 second"), "wait"),
  "is interrupted": (fiber: Fiber.Fiber<unknown, unknown>) => {
    fiber.interruptUnsafe(-1)
    return Exit.succeed([{ n: 4 }])
  },
  "is interrupted, and fails": (fiber: Fiber.Fiber<unknown, unknown>) => {
    fiber.interruptUnsafe(-1)
    return Exit.fail(failed)
  },
  "is interrupted, and throws": (fiber: Fiber.Fiber<unknown, unknown>) => {
    fiber.interruptUnsafe(-1)
    throw new Error("thrown")
  }
} satisfies Record<string, (fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<unknown, SqlError>>

const texts: Record<string, (sql: Statement.Constructor) => Statement.Statement<unknown>> = {
  template: (sql) => sql`select ${1}`,
  unsafe: (sql) => sql.unsafe("select ?", [1]),
  composed: (sql) => sql`select ${sql("aName")} from t where n in ${sql.in([1, 2])}`,
  "that cannot be compiled": (sql) =>
    sql`insert into t ${
      sql.insert({
        get n() {
          throw new Error("not compiled")
        }
      })
    }`
}

const ways: Record<string, (statement: Statement.Statement<unknown>) => Effect.Effect<unknown, SqlError>> = {
  rows: (statement) => statement,
  withoutTransform: (statement) => statement.withoutTransform,
  unprepared: (statement) => statement.unprepared,
  values: (statement) => statement.values,
  valuesUnprepared: (statement) => statement.valuesUnprepared,
  raw: (statement) => statement.raw,
  stream: (statement) => Stream.runCollect(statement.stream)
}

interface Situation {
  readonly answer: keyof typeof answers
  readonly text: string
  readonly way: string
  readonly around: ReadonlyArray<string>
  readonly attributes: ReadonlyArray<readonly [string, unknown]>
  readonly interruptAfter: number | undefined
  readonly fault: Fault | undefined
  readonly rows: "as they are" | "transformed" | "failing"
}

const situation: fc.Arbitrary<Situation> = fc.record({
  answer: fc.constantFrom(...Object.keys(answers) as Array<keyof typeof answers>),
  text: fc.constantFrom(...Object.keys(texts)),
  way: fc.constantFrom(...Object.keys(ways)),
  around: fc.array(fc.constantFrom(...Object.keys(surroundings)), { maxLength: 5 }),
  attributes: fc.constantFrom<Array<ReadonlyArray<readonly [string, unknown]>>>(
    [],
    [["db.system.name", "sqlite"]],
    [["db.namespace", "shop"], ["tenant", 1], ["db.system.name", "sqlite"]],
    [["db.query.text", "given"], ["db.operation.name", "buy"], ["db.collection.name", "item"]]
  ),
  interruptAfter: fc.constantFrom(undefined, undefined, 0, 300),
  fault: fc.option(
    fc.record({ method: fc.constantFrom<Array<Fault["method"]>>("span", "attribute", "end"), span: fc.nat(2) }),
    { nil: undefined, freq: 3 }
  ),
  rows: fc.constantFrom<Array<Situation["rows"]>>("as they are", "transformed", "failing")
})

const transforms = {
  "as they are": undefined,
  transformed: Statement.defaultTransforms((name) => name.toUpperCase()).array,
  failing: () => {
    throw new Error("not transformed")
  }
} satisfies Record<Situation["rows"], unknown>

/** Our statements and Effect's own, on the same target. */
const statements = ({ answer, attributes, rows }: Situation) => {
  let runs = 0
  const target: Target = {
    run: (fiber) => {
      runs++
      return answers[answer](fiber) as Effect.Effect<never, SqlError>
    },
    stream: () => Stream.unwrap(Effect.withFiber((fiber) => Effect.map(answers[answer](fiber), Stream.succeed)))
  }
  const texts = new StatementTexts()
  const connection = new Connections(texts).toConnection(target)
  const transform = transforms[rows]
  const original = Statement.make(
    Effect.succeed(connection),
    Statement.makeCompilerSqlite((name) => name.toUpperCase()),
    attributes,
    transform,
    (f) => f(connection)
  )
  const spans = new StatementSpans(attributes)
  const ours = Statements.make({ original, targetOf: () => target, texts, placeholder: () => "?", transform, spans })
  return { ours, original, runs: () => runs }
}

const told = (value: unknown): unknown =>
  value instanceof Error ? [value.name, value.message] : JSON.parse(JSON.stringify(value ?? null))

/** What a tracer is told of a statement in a situation, how the statement ended, and how often it was run. */
const record = (
  { around, fault, interruptAfter, text, way }: Situation,
  sql: Statement.Constructor,
  runs: () => number
): Effect.Effect<ReadonlyArray<unknown>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const before = runs()
    // So that no time is zero, as all are where spans are not timed.
    yield* TestClock.adjust("1 second")
    const from = (yield* Clock.Clock).currentTimeNanosUnsafe()
    const recorder = new Recorder({ value: told, error: told }, { fault, from })
    const run = Effect.suspend(() => ways[way]!(texts[text]!(sql)))
    const wrapped = around.reduce<Effect.Effect<unknown, unknown>>((effect, name) => surroundings[name]!(effect), run)
    const fiber = yield* Effect.forkDetach(Effect.withTracer(wrapped, recorder.tracer), { startImmediately: true })
    if (interruptAfter !== undefined) {
      yield* TestClock.adjust(interruptAfter)
      fiber.interruptUnsafe(-2)
    }
    yield* TestClock.adjust("2 seconds")
    const ended = fiber.pollUnsafe()
    // One that never ends, in a region that cannot be interrupted.
    if (ended === undefined) return [...recorder.calls, "hangs", runs() - before]
    return [...recorder.calls, recorder.exit(ended), runs() - before]
  })

const compare = (situation: Situation) =>
  Effect.gen(function*() {
    const { original, ours, runs } = statements(situation)
    const own = yield* record(situation, original, runs)
    assert.deepStrictEqual(yield* record(situation, ours, runs), own)
    return own
  }).pipe(Effect.scoped)

const plain: Situation = {
  answer: "succeeds",
  text: "template",
  way: "rows",
  around: [],
  attributes: [["db.system.name", "sqlite"]],
  interruptAfter: undefined,
  fault: undefined,
  rows: "as they are"
}

describe("the spans that a tracer gets for a statement", () => {
  for (const answer of Object.keys(answers) as Array<keyof typeof answers>) {
    it.effect(`are those of Effect's own if the connection ${answer}, in every way and surroundings`, () =>
      Effect.gen(function*() {
        for (const way of Object.keys(ways)) {
          for (const text of Object.keys(texts)) yield* compare({ ...plain, answer, way, text, around: ["span"] })
          for (const around of Object.keys(surroundings)) {
            yield* compare({ ...plain, answer, way, around: [around] })
            yield* compare({ ...plain, answer, way, around: [around, "span"], interruptAfter: 300 })
            yield* compare({ ...plain, answer, way, around: ["span", around] })
          }
        }
      }))
  }

  for (const method of ["span", "attribute", "end"] as const) {
    it.effect(`are those of Effect's own if the tracer throws at ${method}`, () =>
      Effect.gen(function*() {
        for (const way of Object.keys(ways)) {
          for (const answer of Object.keys(answers) as Array<keyof typeof answers>) {
            yield* compare({ ...plain, answer, way, fault: { method, span: 0 } })
            yield* compare({ ...plain, answer, way, around: ["recovery", "span"], fault: { method, span: 1 } })
          }
        }
      }))
  }

  it.effect("are those of Effect's own in any combination of all that", () =>
    Effect.gen(function*() {
      const context = yield* Effect.context<never>()
      let ended = 0
      yield* Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(situation, (situation) =>
            Effect.runPromiseWith(context)(
              Effect.map(compare(situation), (calls) => {
                if (calls.some((call) => Array.isArray(call) && call[1] === "end")) ended++
              })
            )),
          { numRuns: 1000 }
        )
      )
      assert.isAbove(ended, 500)
    }), 120_000)

  it.effect("have all that they should have", () =>
    Effect.gen(function*() {
      const calls = yield* compare({
        ...plain,
        answer: "waits for a second",
        attributes: [["db.namespace", "shop"], ["db.system.name", "sqlite"]],
        around: ["links", "annotations", "span"]
      })
      assert.deepStrictEqual(calls.filter((call) => Array.isArray(call) && (call[0] === 1 || call[1] === 1)), [
        [
          "span",
          1,
          { kind: "client", name: "shop", root: false, sampled: true },
          0,
          [["external a", { why: "batch" }], ["external b", { why: "batch" }]],
          [],
          0n
        ],
        [1, "attribute", "db.namespace", "annotated"],
        [1, "attribute", "tenant", 7],
        [1, "attribute", "db.namespace", "shop"],
        [1, "attribute", "db.system.name", "sqlite"],
        [1, "attribute", "effect.sql.method", "execute"],
        [1, "attribute", "db.query.text", "select ?"],
        [1, "end", 1_000_000_000n, [{ n: 3 }]]
      ])
    }))

  it.effect("are not ended again if their tracer has ended them already", () =>
    Effect.gen(function*() {
      const { original, ours } = statements(plain)
      const endsOf = Effect.fnUntraced(function*(sql: Statement.Constructor, way: string) {
        const ends: Array<string> = []
        class Short extends Tracer.NativeSpan {
          override attribute(key: string, value: unknown): void {
            super.attribute(key, value)
            if (key === "db.query.text") this.end(0n, Exit.void)
          }
          override end(time: bigint, exit: Exit.Exit<unknown, unknown>): void {
            ends.push(this.name)
            super.end(time, exit)
          }
        }
        const tracer = Tracer.make({ span: (options) => new Short(options) })
        yield* Effect.withTracer(Effect.suspend(() => ways[way]!(texts["template"]!(sql))), tracer)
        return ends
      })
      for (const way of Object.keys(ways)) {
        assert.strictEqual((yield* endsOf(ours, way)).length, 1, way)
        assert.deepStrictEqual(yield* endsOf(ours, way), yield* endsOf(original, way))
      }
    }))

  it.effect("come in one step of the fiber, as the hook around steps sees", () =>
    Effect.gen(function*() {
      const { original, ours } = statements(plain)
      const steps = Effect.fnUntraced(function*(sql: Statement.Constructor, way: string) {
        const within: Array<ReadonlyArray<unknown>> = []
        const recorder = new Recorder({ value: told, error: told }, {
          context: (primitive, fiber) => {
            const before = recorder.calls.length
            const next = primitive["~effect/Effect/evaluate"](fiber)
            within.push(recorder.calls.slice(before).map(([, call]) => call))
            return next
          }
        })
        yield* Effect.withTracer(Effect.suspend(() => ways[way]!(texts["template"]!(sql))), recorder.tracer)
        return within.filter((calls) => calls.length > 0)
      })
      for (const way of Object.keys(ways).filter((way) => way !== "stream")) {
        assert.deepStrictEqual(yield* steps(ours, way), [[0, "attribute", "attribute", "attribute", "end"]])
        assert.isAbove((yield* steps(original, way)).length, 1)
      }
    }))
})
