import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as fc from "fast-check"
import * as Database from "../support/database.ts"

/** What a transaction does: statements, and transactions inside it, one after the other or all at once. */
interface Level {
  readonly how: "transaction" | "withTransaction"
  readonly end: "succeeds" | "fails" | "dies"
  readonly isParallel: boolean
  readonly parts: ReadonlyArray<Part>
}
type Part = Level | { readonly how: "statement" | "stream"; readonly yields: number }

const { level } = fc.letrec<{ readonly level: Level; readonly part: Part }>((tie) => ({
  level: fc.record({
    how: fc.constantFrom("transaction", "withTransaction"),
    end: fc.oneof(
      { weight: 3, arbitrary: fc.constant("succeeds" as const) },
      { weight: 1, arbitrary: fc.constantFrom("fails" as const, "dies" as const) }
    ),
    isParallel: fc.boolean(),
    parts: fc.array(tie("part"), { maxLength: 5, depthIdentifier: "levels" })
  }),
  part: fc.oneof(
    { depthIdentifier: "levels", maxDepth: 4 },
    fc.record({ how: fc.constantFrom("statement" as const, "stream" as const), yields: fc.nat(3) }),
    tie("level")
  )
}))

describe("a tree of transactions", () => {
  it.effect(
    "leaves what was done in those that succeeded, up to the root, and nothing else",
    () =>
      Effect.gen(function*() {
        const db = yield* Database.make()
        const { sql } = db
        const context = yield* Effect.context<never>()
        let kept = 0
        let undone = 0

        const check = Effect.fnUntraced(function*(root: Level) {
          const expected: Array<number> = []
          let next = 0
          const run = (part: Part, isKept: boolean): Effect.Effect<unknown> => {
            if (!("parts" in part)) {
              const n = next++
              if (isKept) expected.push(n)
              const insert = sql`insert into t values (${n}) returning n`
              return Effect.andThen(
                Effect.repeat(Effect.yieldNow, { times: part.yields }),
                Effect.orDie(part.how === "stream" ? Stream.runDrain(insert.stream) : Effect.asVoid(insert))
              )
            }
            const { end, how, isParallel, parts } = part
            const body = Effect.forEach(
              parts.map((part) => run(part, isKept && end === "succeeds")),
              (effect) => effect,
              { concurrency: isParallel ? "unbounded" : 1, discard: true }
            ).pipe(
              Effect.andThen(end === "fails" ? Effect.fail("no") : end === "dies" ? Effect.die("no") : Effect.void)
            )
            return how === "transaction" ? Effect.exit(db.transaction(body)) : Effect.exit(db.withTransaction(body))
          }
          yield* run(root, true)
          assert.deepStrictEqual(db.rows, expected)
          assert.strictEqual((yield* db.writer.stats).inUse, 0)
          db.other.exec("delete from t")
          kept += expected.length
          undone += next - expected.length
        })

        yield* Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(level, (root) => Effect.runPromiseWith(context)(check(root))),
            { numRuns: 400 }
          )
        )
        assert.isAbove(Math.min(kept, undone), 100)
        assert.strictEqual((yield* db.writer.stats).connects, 1)
      }),
    120_000
  )
})
