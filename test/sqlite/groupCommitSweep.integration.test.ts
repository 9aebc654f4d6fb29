/** Interrupts at every point of callers that are committed together. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch } from "effect"
import { Sweep } from "effect-connection-pool/testing"
import { type Database, insert, make } from "../support/groups.ts"
import { mode } from "../support/modes/mode.ts"
import { settle } from "../support/pools.ts"

interface World {
  readonly db: Database
  /** Those beside the one that is interrupted, and what each writes. */
  readonly others: Array<readonly [number, Fiber.Fiber<unknown, unknown>]>
  readonly cancelled: number
  readonly uses: number
}

const own = 1

/** A writer in a thread runs no functions: there, statements take their places, and all others have to hold. */
const hasFunctions = mode !== "writer"

const body = (db: Database, n: number): Effect.Effect<unknown, unknown> =>
  hasFunctions
    ? db.pool.writeSync((connection) => {
      connection.runUnsafe("insert into t values (?)", [n])
      connection.runUnsafe("insert into t values (?)", [n + 1000])
    })
    : insert(db, n)

/** Others write at the same time, before and after. */
const beside = (
  world: World,
  turns: number,
  effects: ReadonlyArray<readonly [number, Effect.Effect<unknown, unknown>]>
) =>
  Effect.forEach(effects, ([n, effect]) => {
    const later = Effect.andThen(Effect.repeat(Effect.yieldNow, { times: turns }), effect)
    // An interrupt between the two would have one forgotten.
    return Effect.uninterruptible(
      Effect.map(Effect.forkDetach(later, { startImmediately: true }), (fiber) => world.others.push([n, fiber]))
    )
  }, { discard: true })

const crowd = (world: World, turns: number) =>
  Effect.andThen(
    beside(world, turns, [[10, insert(world.db, 10)], [11, body(world.db, 11)], [12, insert(world.db, 12)]]),
    beside(world, turns + 1, [[13, insert(world.db, 13)], [14, body(world.db, 14)]])
  )

/** A lease is held for some turns, so that all others stand in line. */
const held = (world: World, turns: number) =>
  // An interrupt half-way would have the gate stay closed.
  Effect.uninterruptible(Effect.gen(function*() {
    const gate = yield* Latch.make()
    yield* beside(world, 0, [[0, world.db.pool.write(() => gate.await)]])
    yield* Effect.forkDetach(Effect.andThen(Effect.repeat(Effect.yieldNow, { times: turns }), gate.open))
  }))

const ending = ({ sql }: Database) => sql`insert or rollback into t values (5)`

const scenarios: Record<string, (world: World) => Effect.Effect<unknown, unknown>> = {
  "a statement that gathers others": (world) => Effect.andThen(crowd(world, 0), insert(world.db, own)),
  "a statement before others": (world) => Effect.andThen(crowd(world, 2), insert(world.db, own)),
  "a function in company": (world) => Effect.andThen(crowd(world, 1), body(world.db, own)),
  "a statement in line": (world) =>
    Effect.andThen(Effect.andThen(held(world, 4), crowd(world, 0)), insert(world.db, own)),
  "a function in line": (world) => Effect.andThen(Effect.andThen(held(world, 3), crowd(world, 1)), body(world.db, own)),
  "a statement in a group that is undone": (world) =>
    Effect.gen(function*() {
      yield* held(world, 3)
      yield* crowd(world, 0)
      yield* beside(world, 0, [[5, Effect.exit(ending(world.db))]])
      yield* insert(world.db, own)
    }),
  "a statement that has the group undone": (world) =>
    Effect.gen(function*() {
      yield* held(world, 3)
      yield* crowd(world, 0)
      yield* Effect.andThen(Effect.ignore(ending(world.db)), insert(world.db, own))
    })
}

const count = (rows: ReadonlyArray<unknown>, n: number) => rows.filter((row) => row === n).length

const check = ({ cancelled, db, others, uses }: World, exit: Exit.Exit<unknown, unknown>) =>
  Effect.gen(function*() {
    for (const [n, fiber] of others) {
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)), `${n} has failed`)
    }
    const { rows } = db
    const { writer } = yield* db.pool.stats
    // All who were told so are stored, each once, and a function as a whole.
    for (const n of [10, 11, 12, 13, 14]) {
      const isAsked = others.some(([other]) => other === n)
      assert.strictEqual(count(rows, n), isAsked ? 1 : 0, `${n} in ${rows.join()}`)
      assert.strictEqual(count(rows, n + 1000), isAsked && hasFunctions && (n === 11 || n === 14) ? 1 : 0)
    }
    if (Exit.isSuccess(exit)) assert.strictEqual(count(rows, own), 1)
    // A fiber that runs many steps may be interrupted after the commit. One that waits for a thread is told that it is stored.
    else assert.isAtMost(count(rows, own), hasFunctions ? 1 : 0)
    assert.isTrue([0, count(rows, own)].includes(count(rows, own + 1000)), "a function by half")
    // Who has left the line was interrupted before its turn. A thread may have been at its statement by then: see `pipeline.ts`.
    if (writer.cancelled > cancelled) {
      assert.strictEqual(writer.cancelled, cancelled + 1)
      if (hasFunctions) assert.strictEqual(count(rows, own), 0, "interrupted before its turn, and stored")
    }
    assert.deepStrictEqual([writer.inUse, writer.waiting, writer.checkouts - writer.returns], [0, 0, 0])
    assert.isAtLeast(writer.checkouts, uses)
    // The pool is whole: it serves one alone, and several.
    yield* Effect.all([insert(db, 20), insert(db, 21), insert(db, 22)], { concurrency: "unbounded" })
    yield* insert(db, 23)
    assert.deepStrictEqual(db.rows.slice(-4), [20, 21, 22, 23])
  }).pipe(Effect.orDie)

describe("an interrupt at any point of a caller in company", () => {
  for (const [name, scenario] of Object.entries(scenarios)) {
    it.effect(`has all or nothing stored, and disturbs nobody: ${name}`, () =>
      Effect.gen(function*() {
        const db = yield* make({ synchronous: "off" })
        const sweep = (budgets: readonly [number, number], turns: readonly [number, number]) =>
          Sweep.run({
            setup: Effect.gen(function*() {
              yield* settle
              db.other.exec("delete from t; insert into t values (5)")
              const { writer } = yield* db.pool.stats
              return { db, others: [], cancelled: writer.cancelled, uses: writer.checkouts } as World
            }),
            scenario,
            check,
            budgets,
            turns
          })
        const small = yield* sweep([3, 48], [0, 9])
        const usual = yield* sweep([2040, 2049], [0, 9])
        assert.isAbove(small.interrupted, small.cases / 20, "the interrupts come too late")
        assert.isAbove(usual.interrupted, 0, "the interrupts come too late")
        // Among the cases are such that were committed together.
        assert.isAbove((yield* db.groups).filter(({ size }) => size > 2).length, 5)
      }), 120_000)
  }
})
