/** A session that does not answer: what waits for it in this library has a deadline, also where the caller has given none. */
import { assert } from "@effect/vitest"
import { Effect, Scope } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { network } from "../support/network.ts"
import { describeServer, make } from "../support/postgres.ts"

const { failsWith } = PoolAssert

/** A pool of one connection, and an effect that freezes this connection until the scope ends. */
const frozen = Effect.fnUntraced(function*() {
  const { db, server } = yield* make({ max: 1, controlTimeout: "2 seconds", cancelTimeout: "50 millis" })
  const processId = yield* db.write((connection) => connection.processId)
  const scope = yield* Effect.scope
  return { db, processId, freeze: Effect.orDie(Scope.provide(server.freeze(processId), scope)) }
})

/** Asserts that another connection serves while the old one is still frozen. */
const isReplaced = ({ db, processId }: Effect.Success<ReturnType<typeof frozen>>) =>
  Effect.map(db.write((connection) => connection.processId), (next) => assert.notStrictEqual(next, processId))

const late = (operation: string) => `${operation} was not answered within 2000 ms (controlTimeout)`

describeServer("a session that does not answer", (it) => {
  it.effect("a savepoint ends it", () =>
    Effect.gen(function*() {
      const made = yield* frozen()
      const { db, freeze } = made
      const error = yield* failsWith(
        db.transaction(Effect.andThen(freeze, db.transaction(Effect.void))),
        "TransactionBeginError"
      )
      assert.include(error.message, late("savepoint"))
      yield* isReplaced(made)
    }))

  it.effect("the release of a savepoint ends it", () =>
    Effect.gen(function*() {
      const made = yield* frozen()
      const { db, freeze } = made
      const error = yield* failsWith(db.transaction(db.transaction(freeze)), "TransactionCommitError")
      assert.include(error.message, late("release"))
      yield* isReplaced(made)
    }))

  it.effect("the rollback to a savepoint ends it, and the body's own error is kept", () =>
    Effect.gen(function*() {
      const made = yield* frozen()
      const { db, freeze } = made
      const error = yield* Effect.flip(db.transaction(db.transaction(Effect.andThen(freeze, Effect.fail("no")))))
      assert.strictEqual(error, "no")
      yield* isReplaced(made)
    }))

  it.effect("the question for the position ends it, and another one answers", () =>
    Effect.gen(function*() {
      const made = yield* frozen()
      const { db, freeze } = made
      yield* freeze
      assert.match(yield* db.position, /^[0-9A-F]+\/[0-9A-F]+$/)
      yield* isReplaced(made)
    }))

  it.effect("a `read` ends it that has to make it refuse writes", () =>
    Effect.gen(function*() {
      const made = yield* frozen()
      const { db, freeze } = made
      yield* freeze
      const error = yield* failsWith(db.read(() => Effect.void), "SqlError")
      assert.include(error.message, late("read"))
      yield* isReplaced(made)
    }))

  it.effect("a snapshot ends it that has begun and is not pinned", () =>
    Effect.gen(function*() {
      const { database, server } = yield* make()
      // The begin is answered, and what fixes the state that is seen is not.
      const { host, port } = yield* network(server, (message, { lose }) => {
        if (message.includes("select 1\0")) lose()
      })
      const db = yield* PgPool.make({ ...database, host, port, max: 1, controlTimeout: "2 seconds", drainTimeout: 0 })
      const error = yield* failsWith(db.snapshot(Effect.void), "TransactionBeginError")
      assert.include(error.message, late("begin"))
    }))

  it.effect("its close does not wait for it, so that another takes its room", () =>
    Effect.gen(function*() {
      // No other deadline ends the wait before the next caller gives up.
      const { db, server } = yield* make({ max: 1, closeTimeout: "2 minutes" })
      const processId = yield* db.write((connection) => connection.processId)
      const scope = yield* Effect.scope
      yield* Scope.provide(server.freeze(processId), scope)
      yield* db.primary.recycle
      yield* isReplaced({ db, processId, freeze: Effect.void })
    }))

  it.effect("a reset ends it, and its next caller has another", () =>
    Effect.gen(function*() {
      const { db, server } = yield* make({ max: 1, resetTimeout: "2 seconds", cancelTimeout: "50 millis" })
      const scope = yield* Effect.scope
      const processId = yield* db.write((connection) =>
        Effect.gen(function*() {
          yield* connection.query("begin")
          const processId = yield* connection.processId
          yield* Scope.provide(server.freeze(processId), scope)
          return processId
        })
      )
      yield* isReplaced({ db, processId, freeze: Effect.void })
      assert.strictEqual((yield* db.stats).primary.disconnects, 1)
    }))
})
