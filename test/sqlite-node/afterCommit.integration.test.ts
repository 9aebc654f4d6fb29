/** What waits for the commit of a transaction, beside the client of `@effect/sql-sqlite-node`. */
import { SqliteClient as Original } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Latch, type Scope } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlClient } from "effect/sql/SqlClient"
import * as fc from "fast-check"
import { currentTransactionService } from "../../src/internal/runtime.ts"
import { file } from "../support/files.ts"

/** A client of each kind, on a file of its own. */
const clients: Effect.Effect<Record<"original" | "drop-in" | "pool", SqlClient>, unknown, Scope.Scope> = Effect.gen(
  function*() {
    const all = {
      original: yield* Original.make({ filename: yield* file }),
      "drop-in": yield* SqliteClient.make({ filename: yield* file, drainTimeout: 0 }),
      pool: (yield* SqlitePool.make({ filename: yield* file, drainTimeout: 0 })).sql
    }
    for (const sql of Object.values(all)) yield* sql`create table t(n integer)`
    return all
  }
).pipe(Effect.provide(Reactivity.layer))

type Log = (event: unknown) => void

/** Runs something on each client, and compares what it has logged, and how it ended. */
const compare = Effect.fnUntraced(function*(
  all: Record<string, SqlClient>,
  run: (sql: SqlClient, log: Log) => Effect.Effect<unknown, unknown, Reactivity.Reactivity | Scope.Scope>
) {
  const found: Array<ReadonlyArray<unknown>> = []
  for (const sql of Object.values(all)) {
    const events: Array<unknown> = []
    const log: Log = (event) => void events.push(event)
    const telling = Effect.gen(function*() {
      const reactivity = yield* Reactivity.Reactivity
      for (const key of ["a", "b"]) reactivity.registerUnsafe([key], () => log(`told ${key}`))
      return yield* Effect.exit(Effect.scoped(run(sql, log)))
    })
    const exit = yield* Effect.provide(telling, Reactivity.layer, { local: true })
    found.push([...events, Exit.isSuccess(exit) ? "success" : exit.cause.reasons.map(({ _tag }) => _tag)])
  }
  for (const ours of found.slice(1)) assert.deepStrictEqual(ours, found[0])
  return found[0]!
})

/** A step of a body. */
type Step =
  | { readonly do: "note"; readonly name: number; readonly dies: boolean }
  | { readonly do: "tell"; readonly key: string }
  | { readonly do: "change"; readonly key: string }
  | { readonly do: "write" }
  | { readonly do: "nest"; readonly steps: ReadonlyArray<Step>; readonly end: End }

type End = "commits" | "fails" | "dies" | "interrupts itself"

const ends: Record<End, Effect.Effect<void, string>> = {
  commits: Effect.void,
  fails: Effect.fail("no"),
  dies: Effect.die("no"),
  "interrupts itself": Effect.interrupt
}

const take = (sql: SqlClient, log: Log, step: Step): Effect.Effect<unknown, unknown, Reactivity.Reactivity> => {
  switch (step.do) {
    case "note":
      return sql.afterCommit(Effect.gen(function*() {
        // The transaction is over, and its work can be seen.
        const [row] = (yield* Effect.orDie(sql`select count(*) from t`.values)) as ReadonlyArray<ReadonlyArray<number>>
        log([step.name, row![0]])
        if (step.dies) yield* Effect.die("no")
      }))
    case "tell":
      return Reactivity.invalidate([step.key])
    case "change":
      return Reactivity.mutation(sql`insert into t values (1)`, [step.key])
    case "write":
      return sql`insert into t values (1)`
    case "nest":
      return Effect.map(
        Effect.exit(sql.withTransaction(Effect.andThen(
          Effect.forEach(step.steps, (inner) => take(sql, log, inner), { discard: true }),
          ends[step.end]
        ))),
        (exit) => log(exit._tag)
      )
  }
}

const { steps } = fc.letrec<{ step: Step; steps: ReadonlyArray<Step> }>((tie) => ({
  step: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.record({ do: fc.constant("note" as const), name: fc.nat(9), dies: fc.boolean() }),
    fc.record({ do: fc.constant("tell" as const), key: fc.constantFrom("a", "b") }),
    fc.record({ do: fc.constant("change" as const), key: fc.constantFrom("a", "b") }),
    fc.record({ do: fc.constant("write" as const) }),
    fc.record({
      do: fc.constant("nest" as const),
      steps: tie("steps"),
      end: fc.constantFrom<End>("commits", "commits", "commits", "fails", "dies", "interrupts itself")
    })
  ),
  steps: fc.array(tie("step"), { maxLength: 5 })
}))

describe("what waits for a commit", () => {
  it.effect(
    "is done as the original client does it, whatever is nested and however it ends",
    () =>
      Effect.gen(function*() {
        const all = yield* clients
        const seen = { notes: 0, told: 0 }
        const context = yield* Effect.context<Scope.Scope>()
        const property = fc.asyncProperty(steps, (steps) =>
          Effect.runPromiseWith(context)(Effect.gen(function*() {
            const events = yield* compare(all, (sql, log) =>
              Effect.gen(function*() {
                // The callbacks that die are logged.
                yield* sql`delete from t`
                for (const end of ["commits", "fails"] as const) {
                  yield* take(sql, log, { do: "nest", steps, end })
                  yield* take(sql, log, { do: "nest", steps: [{ do: "nest", steps, end: "commits" }], end })
                }
              }))
            seen.notes += events.filter(Array.isArray).length
            seen.told += events.filter((event) => typeof event === "string" && event.startsWith("told")).length
          })))
        yield* Effect.promise(() => fc.assert(property, { numRuns: 60 }))
        // Now and then, the first show little.
        for (let more = 0; more < 20 && Math.min(seen.notes, seen.told) <= 60; more++) {
          yield* Effect.promise(() => fc.assert(property, { numRuns: 10 }))
        }
        assert.isAbove(seen.notes, 60)
        assert.isAbove(seen.told, 60)
      }),
    120_000
  )

  it.effect("is refused once the transaction is over, and so is what is told there", () =>
    Effect.gen(function*() {
      const events = yield* compare(yield* clients, (sql, log) =>
        Effect.gen(function*() {
          const over = yield* Latch.make()
          const late = yield* sql.withTransaction(sql.withTransaction(Effect.forkDetach(Effect.gen(function*() {
            yield* over.await
            const exit = yield* Effect.exit(sql.afterCommit(Effect.sync(() => log("ran"))))
            log(Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "succeeded")
          }))))
          yield* over.open
          yield* Fiber.join(late)
        }))
      assert.deepStrictEqual(events, ["Error: SqlClient.afterCommit: the transaction has already ended", "success"])
    }))

  it.effect("runs even if the fiber is interrupted meanwhile, which then learns that all is stored", () =>
    Effect.gen(function*() {
      const run = Effect.fnUntraced(function*(sql: SqlClient) {
        const begun = yield* Deferred.make<void>()
        const goOn = yield* Latch.make()
        const events: Array<string> = []
        const waiting = sql.afterCommit(Effect.gen(function*() {
          yield* Deferred.succeed(begun, undefined)
          yield* goOn.await
          events.push("ran")
        }))
        const fiber = yield* sql.withTransaction(Effect.andThen(sql`insert into t values (1)`, waiting)).pipe(
          Effect.tap(() => Effect.sync(() => events.push("went on"))),
          Effect.andThen(Effect.yieldNow),
          Effect.tap(() => Effect.sync(() => events.push("went too far"))),
          Effect.forkDetach
        )
        yield* Deferred.await(begun)
        fiber.interruptUnsafe()
        yield* goOn.open
        const exit = yield* Fiber.await(fiber)
        assert.isTrue(Exit.hasInterrupts(exit))
        return events
      })
      const { "drop-in": dropIn, original, pool } = yield* clients
      assert.deepStrictEqual(yield* run(original), ["ran"])
      // The original hides from the fiber that its transaction is stored.
      for (const sql of [dropIn, pool]) assert.deepStrictEqual(yield* run(sql), ["ran", "went on"])
    }))

  it.effect("runs with the services of its registration, and outside of the transaction", () =>
    Effect.gen(function*() {
      const Name = Context.Reference("Name", { defaultValue: () => "nobody" })
      const events = yield* compare(yield* clients, (sql, log) =>
        sql.withTransaction(Effect.provideService(
          sql.afterCommit(Effect.withFiber((fiber) => {
            log([fiber.getRef(Name), Context.getOrUndefined(fiber.context, sql.transactionService) === undefined])
            return Effect.void
          })),
          Name,
          "somebody"
        )))
      assert.deepStrictEqual(events, [["somebody", true], "success"])
    }))
})

describe("the innermost transaction", () => {
  it.effect("is named in the context as by the original client, for the resolvers of Effect", () =>
    Effect.gen(function*() {
      const all = yield* clients
      const [first] = Object.values(all)
      const events = yield* compare(all, (sql, log) => {
        const look = Effect.withFiber((fiber) => {
          const named = fiber.getRef(currentTransactionService)
          log(named === undefined ? "none" : named === sql.transactionService ? "its own" : "another's")
          return Effect.void
        })
        const other = sql === first ? all.pool : first!
        return Effect.all([
          look,
          sql.withTransaction(Effect.andThen(look, sql.withTransaction(look))),
          sql.withTransaction(Effect.andThen(other.withTransaction(look), look))
        ])
      })
      assert.deepStrictEqual(events, ["none", "its own", "its own", "another's", "its own", "success"])
    }))
})
