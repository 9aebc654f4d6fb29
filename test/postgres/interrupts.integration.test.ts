/** What becomes of a statement whose caller is interrupted: on the connection, on the server, and in the table. */
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { isCancel, network } from "../support/network.ts"
import { describeServer, type Made, make, runs, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

/** Waits until a statement is on its way to the server. */
const isSent = ({ db }: Made, text: string) =>
  until(
    `${text} is sent`,
    Effect.map(
      db.primary.holders,
      ([holder]) => holder?.statement?.isRunning === true && holder.statement.text.startsWith(text)
    )
  )

const isIdle = ({ backends }: Made) =>
  until("all sessions are idle", Effect.map(backends, (all) => all.every(({ state }) => state === "idle")))

/** A machine that stands still for a moment keeps its connections. */
const patient = { max: 1, cancelTimeout: "5 seconds" } as const

describeServer("an interrupt", (it) => {
  it.effect("cancels the statement on the server, and keeps the connection", () =>
    Effect.gen(function*() {
      const made = yield* make(patient)
      const { backends, db } = made
      const sleeping = yield* Effect.forkChild(db.sql`select pg_sleep(20)`)
      yield* runs(made, "pg_sleep(20)")
      const [before] = yield* backends
      yield* Fiber.interrupt(sleeping)
      const [after] = yield* backends
      assert.deepStrictEqual([after?.processId, after?.state], [before?.processId, "idle"])
      assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
      assert.strictEqual((yield* db.stats).primary.disconnects, 0)
    }))

  it.effect("stores nothing of a statement that the server cancels", () =>
    Effect.gen(function*() {
      const made = yield* make({ ...patient, setup: ["create table t (n int)"] })
      const { db, value } = made
      const inserting = yield* Effect.forkChild(db.sql`insert into t select 1 from pg_sleep(20)`)
      yield* runs(made, "pg_sleep(20)")
      yield* Fiber.interrupt(inserting)
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
    }))

  it.effect("while a statement waits for a connection sends nothing", () =>
    Effect.gen(function*() {
      const made = yield* make({ ...patient, setup: ["create table t (n int)"] })
      const { db, value } = made
      const sleeping = yield* Effect.forkChild(db.sql`select pg_sleep(20)`)
      yield* runs(made, "pg_sleep(20)")
      const waiting = yield* Effect.forkChild(db.sql`insert into t values (1)`, { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      yield* Fiber.interrupt(sleeping)
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
    }))

  it.effect("of a transaction rolls it back, and keeps the connection", () =>
    Effect.gen(function*() {
      const made = yield* make({ ...patient, setup: ["create table t (n int)"] })
      const { backends, db, value } = made
      const { sql } = db
      const running = yield* Effect.forkChild(
        db.transaction(Effect.andThen(sql`insert into t values (1)`, sql`select pg_sleep(20)`))
      )
      yield* runs(made, "pg_sleep(20)")
      const [before] = yield* backends
      yield* Fiber.interrupt(running)
      const [after] = yield* backends
      assert.deepStrictEqual([after?.processId, after?.state, after?.query], [before?.processId, "idle", "rollback"])
      // By the transaction itself: nothing was left for a reset.
      assert.strictEqual((yield* db.stats).primary.resets, 0)
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
    }))

  it.effect("of one fiber of a transaction leaves the others their transaction, if it is a savepoint", () =>
    Effect.gen(function*() {
      const made = yield* make({ ...patient, setup: ["create table t (n int)"] })
      const { db, value } = made
      const { sql } = db
      yield* db.transaction(Effect.gen(function*() {
        yield* sql`insert into t values (1)`
        const inner = yield* Effect.forkChild(
          db.transaction(Effect.andThen(sql`insert into t values (2)`, sql`select pg_sleep(20)`))
        )
        yield* runs(made, "pg_sleep(20)")
        yield* Fiber.interrupt(inner)
        yield* sql`insert into t values (3)`
      }))
      assert.deepStrictEqual(yield* value("select array_agg(n order by n) from t"), [1, 3])
    }))

  it.effect("of a stream cancels it, and keeps the connection", () =>
    Effect.gen(function*() {
      const made = yield* make(patient)
      const { db } = made
      const reading = yield* Effect.forkChild(
        Stream.runDrain(db.stream("select pg_sleep(20) from generate_series(1, 2)"))
      )
      yield* runs(made, "pg_sleep(20)")
      yield* Fiber.interrupt(reading)
      yield* isIdle(made)
      assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
      assert.strictEqual((yield* db.stats).primary.disconnects, 0)
    }))

  it.effect("frees the caller of a frozen server within `cancelTimeout`, and its connection is not used again", () =>
    Effect.gen(function*() {
      const made = yield* make({ max: 1, cancelTimeout: "200 millis" })
      const { db, server } = made
      const frozen = yield* db.write((connection) => connection.processId)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* server.freeze(frozen)
        const error = yield* db.write((connection) =>
          Effect.andThen(
            Effect.exit(Effect.timeout(connection.query("select 1"), "50 millis")),
            failsWith(connection.query("select 2"), "SqlError")
          )
        )
        // The driver alone would wait for five seconds.
        assert.include(error.message, "a statement was cancelled, but did not end within 200 ms (cancelTimeout)")
        // The server is still frozen.
        assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
        const next = yield* db.write((connection) => connection.processId)
        assert.notStrictEqual(next, frozen)
      }))
    }))

  it.effect("during a begin that is answered late leaves no transaction open, and stores nothing", () =>
    Effect.gen(function*() {
      const made = yield* make({ max: 1, cancelTimeout: "5 seconds", setup: ["create table t (n int)"] })
      const { db, server, value } = made
      const late = yield* Scope.make()
      yield* Scope.provide(server.freeze(yield* db.write((connection) => connection.processId)), late)
      const beginning = yield* Effect.forkChild(db.transaction(db.sql`insert into t values (1)`))
      yield* isSent(made, "begin")
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(beginning), { startImmediately: true })
      yield* Scope.close(late, Exit.void)
      yield* Fiber.join(interrupting)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(beginning)))
      yield* isIdle(made)
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
      assert.deepStrictEqual(yield* db.sql`select count(*)::int4 as n from t`, [{ n: 0 }])
    }))

  const ends: ReadonlyArray<readonly [control: "commit" | "rollback", stored: ReadonlyArray<unknown>]> = [
    ["commit", [{ n: 1 }]],
    ["rollback", []]
  ]
  for (const [control, stored] of ends) {
    it.effect(`during a ${control} that is answered late comes after it: the ${control} goes on, and the connection is kept`, () =>
      Effect.gen(function*() {
        const made = yield* make({ ...patient, controlTimeout: "1 minute", setup: ["create table t (n int)"] })
        const { db, judge, server } = made
        const processId = yield* db.write((connection) => connection.processId)
        const late = yield* Scope.make()
        const body = Effect.gen(function*() {
          yield* db.sql`insert into t values (1)`
          yield* Scope.provide(server.freeze(processId), late)
          if (control === "rollback") yield* Effect.fail("no")
        })
        const ending = yield* Effect.forkChild(Effect.andThen(db.transaction(body), Effect.never))
        yield* isSent(made, control)
        const interrupting = yield* Effect.forkChild(Fiber.interrupt(ending), { startImmediately: true })
        yield* Effect.repeat(judge("select 1"), { times: 20 })
        assert.isUndefined(ending.pollUnsafe())
        yield* Scope.close(late, Exit.void)
        yield* Fiber.join(interrupting)
        assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(ending)))
        assert.deepStrictEqual(yield* judge("select n from t"), stored)
        assert.strictEqual(yield* db.write((connection) => connection.processId), processId)
      }))
  }

  it.effect("whose cancel is lost on its way, and may come late, leaves the next caller another connection", () =>
    Effect.gen(function*() {
      const made = yield* make({
        setup: [
          "create table gate (n int)",
          `create function gated(n int) returns int language plpgsql as 'begin
            while not exists (select from gate where gate.n = gated.n) loop perform pg_sleep(0.005); end loop; return n; end'`
        ]
      })
      const { backends, database, judge, server } = made
      let cancel: (() => void) | undefined
      const { host, port } = yield* network(server, (message, { client, hold }) => {
        if (!isCancel(message)) return
        cancel = hold()
        client.resetAndDestroy()
      })
      const db = yield* PgPool.make({ ...database, ...patient, host, port, drainTimeout: 0 })
      const first = yield* db.write((connection) => connection.processId)
      const waiting = yield* Effect.forkChild(db.sql`select gated(1)`)
      yield* runs(made, "gated(1)")
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(waiting), { startImmediately: true })
      yield* until("it was to be cancelled", Effect.sync(() => cancel !== undefined))
      // It ends by itself.
      yield* judge("insert into gate values (1)")
      yield* Fiber.join(interrupting)
      const next = yield* Effect.forkChild(db.sql`select gated(2) as n, pg_backend_pid() as pid`)
      yield* runs(made, "gated(2)")
      cancel!()
      // Long enough for the cancel to reach the server.
      yield* Effect.repeat(backends, { times: 20 })
      yield* judge("insert into gate values (2)")
      const [row] = yield* Fiber.join(next)
      assert.strictEqual(row!["n"], 2)
      assert.notStrictEqual(row!["pid"], first)
    }))

  for (const isInTransaction of [true, false]) {
    const what = isInTransaction ? "of a transaction" : "outside of a transaction"
    const stored = isInTransaction ? "stores nothing" : "stores the statement or does not, which its caller cannot know"
    it.effect(`${what} whose server does not answer the cancel ${stored}`, () =>
      Effect.gen(function*() {
        const made = yield* make({
          max: 1,
          cancelTimeout: "50 millis",
          controlTimeout: "1 minute",
          setup: ["create table t (n int)"]
        })
        const { backends, db, server, value } = made
        const insert = db.sql`insert into t values (1)`
        const frozen = yield* db.write((connection) => connection.processId)
        const away = yield* Scope.make()
        const freeze = Scope.provide(server.freeze(frozen), away)
        if (!isInTransaction) yield* freeze
        const writing = yield* Effect.forkChild(
          isInTransaction ? db.transaction(Effect.andThen(db.sql`select 1`, Effect.andThen(freeze, insert))) : insert
        )
        yield* isSent(made, "insert")
        yield* Fiber.interrupt(writing)
        // The server is still frozen, and the next caller has another connection.
        assert.notStrictEqual(yield* db.write((connection) => connection.processId), frozen)
        yield* Scope.close(away, Exit.void)
        yield* until(
          "the old session is gone",
          Effect.map(backends, (all) => all.every(({ processId }) => processId !== frozen))
        )
        assert.include(isInTransaction ? [0] : [0, 1], yield* value("select count(*)::int4 from t"))
      }))
  }

  const controls: ReadonlyArray<
    readonly [operation: string, tag: "TransactionBeginError" | "TransactionOutcomeUnknownError"]
  > = [
    ["begin", "TransactionBeginError"],
    ["commit", "TransactionOutcomeUnknownError"]
  ]
  for (const [operation, tag] of controls) {
    it.effect(`is not needed where a frozen server does not answer a ${operation}: it has a deadline`, () =>
      Effect.gen(function*() {
        const { db, server } = yield* make({ max: 1, controlTimeout: "2 seconds", cancelTimeout: "50 millis" })
        const frozen = yield* db.write((connection) => connection.processId)
        yield* Effect.scoped(Effect.gen(function*() {
          const freeze = server.freeze(frozen)
          if (operation === "begin") yield* freeze
          const body = operation === "begin" ? Effect.void : Effect.andThen(db.sql`select 1`, freeze)
          const error = yield* failsWith(db.transaction(body), tag)
          assert.include(error.message, `${operation} was not answered within 2000 ms (controlTimeout)`)
          assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
        }))
      }))
  }

  it.effect("frees the caller of a begin that a frozen server does not answer, within `cancelTimeout`", () =>
    Effect.gen(function*() {
      const { db, server } = yield* make({ max: 1, controlTimeout: "1 minute", cancelTimeout: "50 millis" })
      const frozen = yield* db.write((connection) => connection.processId)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* server.freeze(frozen)
        const exit = yield* Effect.exit(Effect.timeout(db.transaction(Effect.void), "50 millis"))
        assert.isTrue(Exit.isFailure(exit))
        assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
      }))
    }))

  it.effect("by a shutdown ends in bounded time, also while a begin is not answered", () =>
    Effect.gen(function*() {
      const { database, server } = yield* make()
      const db = yield* PgPool.make({
        ...database,
        max: 1,
        drainTimeout: "50 millis",
        closeTimeout: "2 seconds",
        controlTimeout: "1 minute",
        cancelTimeout: "50 millis"
      })
      const frozen = yield* db.write((connection) => connection.processId)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* server.freeze(frozen)
        const hanging = yield* Effect.forkDetach(db.transaction(Effect.void), { startImmediately: true })
        const { primary } = yield* db.shutdown()
        assert.strictEqual(primary.returned + primary.interrupted + primary.revoked, 1)
        assert.isTrue(Exit.isFailure(yield* Fiber.await(hanging)))
      }))
    }))

  it.effect("of a rollback's wait on a frozen server ends with its connection", () =>
    Effect.gen(function*() {
      const { db, server, value } = yield* make({
        max: 1,
        controlTimeout: "2 seconds",
        cancelTimeout: "50 millis",
        setup: ["create table t (n int)"]
      })
      const frozen = yield* db.write((connection) => connection.processId)
      const body = Effect.gen(function*() {
        yield* db.sql`insert into t values (1)`
        yield* server.freeze(frozen)
        return yield* Effect.fail("no")
      })
      const error = yield* Effect.scoped(Effect.andThen(
        Effect.flip(db.transaction(body)),
        (error) => Effect.as(db.sql`select 1`, error)
      ))
      assert.strictEqual(error, "no")
      yield* until("it is rolled back", Effect.map(value("select count(*)::int4 from t"), (count) => count === 0))
    }))

  it.effect("by a shutdown cancels what runs on the server", () =>
    Effect.gen(function*() {
      const made = yield* make()
      const { database } = made
      const db = yield* PgPool.make({ ...database, max: 1, drainTimeout: "50 millis" })
      // Without a cancel it would outlast this test: the server does not notice that its client is gone.
      const sleeping = yield* Effect.forkDetach(db.sql`select pg_sleep(600)`)
      yield* runs(made, "pg_sleep(600)")
      const { primary } = yield* db.shutdown()
      assert.strictEqual(primary.interrupted, 1)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(sleeping)))
      yield* until("it is gone", Effect.map(made.backends, (all) => all.length === 0))
    }))
})
