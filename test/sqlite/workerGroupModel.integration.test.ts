/** Random programs of many callers that write at the same time, on a writer in a thread. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { Oracle } from "../support/writers/oracle.ts"
import { programs } from "../support/writers/programs.ts"
import { run } from "../support/writers/run.ts"
import { threaded } from "../support/writers/targets.ts"

const world = Layer.mergeAll(TestClock.layer(), Logger.layer([]))

/** More for a longer look: `MODEL_RUNS=10000 npm test -- test/sqlite/workerGroupModel`. */
const numRuns = Number(process.env["MODEL_RUNS"] ?? 40)

describe("callers that write at the same time, with a writer in a thread", () => {
  it("are told what they would be told alone, and that is stored", async () => {
    const told: Record<string, number> = {}
    const groups: Array<readonly [size: number, undoneBecause: string | undefined]> = []
    const property = fc.asyncProperty(programs(100, false), (program) =>
      Effect.runPromise(
        Effect.gen(function*() {
          const watched = yield* threaded(program)
          const waves = yield* run(watched, program)
          const oracle = new Oracle(program, watched.lasts)
          for (const [at, { callers, isHeld, outside }] of program.waves.entries()) {
            if (outside !== undefined) oracle.outside(outside)
            for (const [index, caller] of callers.entries()) {
              const answer = waves[at]![index]!
              told[answer.told] = (told[answer.told] ?? 0) + 1
              const where = `wave ${at}, caller ${index}: ${JSON.stringify(caller)}`
              if (caller.operation.kind === "read") assert.include(["rows", "interrupted"], answer.told, where)
              else if (isHeld && caller.fate === "interrupted") assert.strictEqual(answer.told, "interrupted", where)
              else {
                const expected = oracle.answer(caller.operation)
                assert.deepStrictEqual(oracle.explained(answer), expected, where)
              }
            }
          }
          assert.deepStrictEqual(yield* watched.stored, oracle.dump())
          oracle.close()
          groups.push(...watched.groups)
        }).pipe(Effect.scoped, Effect.provide(world, { local: true }))
      ))
    await fc.assert(property, { numRuns })
    // A test in which nothing happens shows nothing.
    for (const what of ["rows", "failure", "interrupted"]) assert.isAbove(told[what] ?? 0, numRuns, what)
    const missing = () => {
      const reasons = groups.map(([, why]) => why).join("\n")
      const missed = ["SQLite has ended the transaction", "a part of"].filter((why) => !reasons.includes(why))
      return Math.max(...groups.map(([size]) => size)) > 5 ? missed : [...missed, "large groups"]
    }
    // What is in a third of all programs may be in none of so few.
    /* oxlint-disable-next-line no-await-in-loop -- Most often, none is needed. */
    for (let more = 0; more < 20 && missing().length > 0; more++) await fc.assert(property, { numRuns: 10 })
    assert.deepStrictEqual(missing(), [])
  }, numRuns * 5000 + 120_000)
})
