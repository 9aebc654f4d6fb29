/** Interrupts at every point of a transaction, a lock and a listener, and what they leave: in the table, and on the server. */
import { assert } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Queue, Stream } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { Sweep } from "effect-connection-pool/testing"
import { describeServer, make as makeAlone, until } from "../support/postgres.ts"

/** A pool, and a second one that judges it: a connection for each question would take most of the time. */
const make = Effect.fnUntraced(function*(setup: ReadonlyArray<string> = []) {
  // What a cancel leaves behind shows soon.
  const { database, db } = yield* makeAlone({ max: 2, applicationName: "judged", cancelTimeout: "50 millis", setup })
  const judge = yield* PgPool.make({ ...database, max: 1, applicationName: "judge", drainTimeout: 0 })
  /** What the sessions of the pool do or hold, besides being idle. */
  const left = judge.sql<{ readonly what: string }>`
    select state as what from pg_stat_activity
      where datname = current_database() and application_name = 'judged' and state <> 'idle'
    union all select locktype || ' ' || mode from pg_locks
      where pid in (select pid from pg_stat_activity where datname = current_database() and application_name = 'judged')`
  const sessions = Effect.map(
    judge.sql`select 1 from pg_stat_activity where datname = current_database() and application_name = 'judged'`,
    (rows) => rows.length
  )
  return {
    db,
    judge,
    sessions,
    isClean: until("nothing is left on the server", Effect.map(left, (all) => all.length === 0))
  }
})

/**
 * Interrupts a scenario at points all over it, until an interrupt has come in each of its parts.
 *
 * A network does not take the same turns each time, so not each turn has a case. How many there are is looked at again and again: the
 * first runs take many more than those after them.
 */
const sweep = <Part extends string, A, E>(options: {
  readonly parts: ReadonlyArray<Part>
  /** The scenario, which says when a part begins. The first begins with it. `n` is the number of the case. */
  readonly scenario: (begin: (part: Part) => Effect.Effect<void>, n: number) => Effect.Effect<A, E>
  /** Asserts what is left after each case. `part` is the one that had begun last. */
  readonly check: (exit: Exit.Exit<A, E>, part: Part, n: number) => Effect.Effect<unknown, unknown>
}): Effect.Effect<void, unknown> =>
  Effect.gen(function*() {
    const { check, parts, scenario } = options
    let present = parts[0]!
    let n = 0
    const missed = new Set(parts)
    const run = (n: number) => scenario((part) => Effect.sync(() => void (present = part)), n)
    yield* Effect.exit(run(++n))
    let most = 0
    for (let points = 0; points < 150 || missed.size > 0; points++) {
      if (points % 20 === 0) most = Math.ceil(1.3 * (yield* turnsOf(run(++n))))
      // The fractional part of multiples of the golden ratio: spread evenly, however many there are.
      const turns = Math.floor(most * ((points * 0.6180339887) % 1))
      const budget = 3 + points % 4
      yield* Sweep.run({
        setup: Effect.sync(() => {
          present = parts[0]!
          return ++n
        }),
        scenario: run,
        check: (n, exit) => {
          if (Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)) missed.delete(present)
          return check(exit, present, n)
        },
        budgets: [budget, budget],
        turns: [turns, turns]
      })
    }
  })

/** How many turns of the scheduler an effect takes, when nobody interrupts it. */
const turnsOf = (effect: Effect.Effect<unknown, unknown>): Effect.Effect<number> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    let turns = 0
    for (; fiber.pollUnsafe() === undefined; turns++) yield* Effect.yieldNow
    return turns
  })

describeServer("an interrupt at any point", (it) => {
  it.effect(
    "of a transaction that commits stores all of it or nothing, and leaves nothing on the server",
    () =>
      Effect.gen(function*() {
        const { db, isClean, judge } = yield* make(["create table pair (n int, m int)"])
        yield* sweep({
          parts: ["begin", "body", "commit"],
          scenario: (begin, n) =>
            db.transaction(Effect.gen(function*() {
              yield* begin("body")
              yield* db.sql`insert into pair values (${n}, 1)`
              yield* db.sql`insert into pair values (${n}, 2)`
              yield* begin("commit")
            })),
          check: (exit, part, n) =>
            Effect.gen(function*() {
              yield* isClean
              const stored = (yield* judge.sql`select 1 from pair where n = ${n}`).length
              if (Exit.isSuccess(exit)) assert.strictEqual(stored, 2)
              else if (part === "commit") assert.include([0, 2], stored)
              else assert.strictEqual(stored, 0, part)
            })
        })
        assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
        assert.strictEqual((yield* db.stats).primary.inUse, 0)
      }),
    120_000
  )

  it.effect(
    "of a transaction that rolls back stores nothing, and leaves nothing on the server",
    () =>
      Effect.gen(function*() {
        const { db, isClean, judge } = yield* make(["create table undone (n int)"])
        yield* sweep({
          parts: ["begin", "body", "savepoint", "rollback"],
          scenario: (begin) =>
            db.transaction(Effect.gen(function*() {
              yield* begin("body")
              yield* db.sql`insert into undone values (1)`
              yield* begin("savepoint")
              const inner = db.transaction(Effect.andThen(db.sql`insert into undone values (2)`, Effect.fail("inner")))
              yield* Effect.ignore(inner)
              yield* begin("rollback")
              return yield* Effect.fail("outer")
            })),
          check: () =>
            Effect.andThen(
              isClean,
              Effect.map(judge.sql`select n from undone`, (rows) => assert.deepStrictEqual(rows, []))
            )
        })
        assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
        assert.strictEqual((yield* db.stats).primary.inUse, 0)
      }),
    120_000
  )

  it.effect("of a lock gives it back", () =>
    Effect.gen(function*() {
      const { db, isClean } = yield* make()
      yield* sweep({
        parts: ["lock", "body", "unlock"],
        scenario: (begin) =>
          db.lock("k", Effect.andThen(begin("body"), Effect.andThen(db.sql`select 1`, begin("unlock")))),
        check: () => isClean
      })
      yield* db.lock("k", Effect.void)
      assert.strictEqual((yield* db.stats).primary.inUse, 0)
    }), 120_000)

  for (const isAlone of [true, false]) {
    const name = isAlone ? "alone leaves no session that listens" : "beside another leaves the other its session"
    it.effect(`of a listener ${name}`, () =>
      Effect.gen(function*() {
        const { db, judge, sessions } = yield* make()
        const heard = (begin: (part: "listen" | "hear") => Effect.Effect<void>) =>
          db.listen("news").pipe(
            Stream.tap(({ _tag }) =>
              _tag === "Notification"
                ? Effect.void
                : Effect.andThen(begin("hear"), judge.sql`select pg_notify('news', 'one')`)
            ),
            Stream.takeUntil(({ _tag }) => _tag === "Notification"),
            Stream.runDrain
          )
        let renewed = 0
        const other = yield* Effect.forkChild(Stream.runForEach(
          isAlone ? Stream.never : db.listen("news"),
          ({ _tag }) => Effect.sync(() => void (renewed += Number(_tag === "Listening")))
        ))
        if (!isAlone) yield* until("the other listens", Effect.sync(() => renewed === 1))
        yield* sweep({
          parts: ["listen", "hear"],
          scenario: heard,
          // One that listens. Those before it may still be closing.
          check: () => until("at most one session is left", Effect.map(sessions, (count) => count <= 1))
        })
        yield* heard(() => Effect.void)
        assert.strictEqual(renewed, isAlone ? 0 : 1)
        yield* Fiber.interrupt(other)
        yield* until("no session is left", Effect.map(sessions, (count) => count === 0))
      }), 120_000)
  }

  it.effect("of a listener of `sql` returns its connection, which is not closed later", () =>
    Effect.gen(function*() {
      const { db, judge } = yield* make()
      yield* sweep({
        parts: ["listen", "hear"],
        scenario: (begin) =>
          Effect.scoped(Effect.flatMap(db.sql.listen("news"), (queue) =>
            Effect.gen(function*() {
              yield* begin("hear")
              yield* judge.sql`select pg_notify('news', 'one')`
              yield* Queue.take(queue)
            }))),
        check: () =>
          Effect.map(db.stats, ({ primary }) => assert.deepStrictEqual([primary.inUse, primary.disconnects], [0, 0]))
      })
    }), 120_000)
})
