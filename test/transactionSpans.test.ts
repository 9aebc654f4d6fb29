import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Tracer } from "effect"
import { TestClock } from "effect/testing"
import { tracing } from "./support/tracing.ts"
import { make } from "./support/words.ts"

describe("the spans of transactions", () => {
  it.effect("tell how each has ended, with the time, and the spans of its body are below", () =>
    Effect.gen(function*() {
      const { transaction } = yield* make
      // The connection is open before the tracer is there.
      yield* transaction(Effect.void)
      const { spans, tracer } = tracing()
      const body = Effect.withSpan(TestClock.adjust("2 seconds"), "body")
      yield* transaction(Effect.gen(function*() {
        yield* body
        yield* transaction(body)
        yield* Effect.ignore(transaction(Effect.andThen(body, Effect.fail("no"))))
      })).pipe(Effect.provideService(Tracer.Tracer, tracer))
      yield* Effect.ignore(transaction(Effect.fail("no"))).pipe(Effect.provideService(Tracer.Tracer, tracer))
      const of = (span: Tracer.Span) => {
        const parent = Option.getOrUndefined(span.parent)
        return [span.name, span.kind, parent === undefined ? "none" : spans.indexOf(parent as Tracer.Span)]
      }
      assert.deepStrictEqual(spans.map(of), [
        ["sql.transaction", "internal", "none"],
        ["body", "internal", 0],
        ["sql.transaction", "internal", 0],
        ["body", "internal", 2],
        ["sql.transaction", "internal", 0],
        ["body", "internal", 4],
        ["sql.transaction", "internal", "none"]
      ])
      const events = spans.map((span) =>
        (span as Tracer.NativeSpan).events.map(([name, time]) => [name, Number(time) / 1e6])
      )
      assert.deepStrictEqual(events, [
        [["effect.sql.transaction.commit", 6000]],
        [],
        [["effect.sql.transaction.savepoint", 4000]],
        [],
        [["effect.sql.transaction.rollback", 6000]],
        [],
        [["effect.sql.transaction.rollback", 6000]]
      ])
    }))
})
