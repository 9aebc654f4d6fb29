import type { PgConnection } from "@effect/sql-pg/PgConnection"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { Session } from "../../src/postgres/internal/connection/session.ts"
import type { Wire } from "../../src/postgres/internal/connection/wire.ts"
import { StatementTexts } from "../../src/postgres/internal/sql/statementText.ts"

/** A session whose driver answers what the test says, on a socket that stays open. */
const make = (query: (sql: string) => Effect.Effect<{ readonly command: string }, SqlError>) => {
  const wire = { isOpen: true, isDoubtful: false, reason: undefined as string | undefined, settled: () => {} }
  const session = new Session({
    driver: { query, interrupt: Effect.void } as unknown as PgConnection,
    wire: wire as unknown as Wire,
    statements: { isMeasured: false, run: (_, effect) => effect, runSync: (_, f) => f(), stream: (_, rows) => rows },
    texts: new StatementTexts(),
    isPooled: false,
    isOfSession: true,
    isReadOnly: false
  })
  return { session, wire }
}

describe("a session of PostgreSQL", () => {
  it.effect("counts a transaction as open whose begin was interrupted, so that it is rolled back", () =>
    Effect.gen(function*() {
      const asked: Array<string> = []
      const begun = yield* Deferred.make<void>()
      const { session } = make((sql) => {
        asked.push(sql)
        return sql === "begin"
          ? Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)
          : Effect.succeed({ command: "ROLLBACK" })
      })
      const beginning = yield* Effect.forkChild(session.control("begin"))
      yield* Deferred.await(begun)
      assert.strictEqual(session.running, "begin")
      yield* Fiber.interrupt(beginning)
      assert.deepStrictEqual([session.running, session.isInTransaction, session.needsReset], [undefined, true, true])
      yield* session.reset
      assert.deepStrictEqual([asked, session.isInTransaction, session.needsReset], [
        ["begin", "rollback"],
        false,
        false
      ])
    }))

  const refused = (code: string) =>
    Effect.fail(
      new SqlError({ reason: new UnknownError({ cause: Object.assign(new Error("no"), { code }), message: "no" }) })
    )

  const withTransaction: ReadonlyArray<readonly [mayBeLent: boolean, before: ReadonlyArray<string>]> = [
    [false, []],
    [false, ["begin"]],
    [false, ["begin read write", "set local work_mem = '1MB'"]],
    [false, ["begin read only", "commit"]],
    [false, ["begin read only", "rollback", "begin"]],
    [true, ["begin read only"]],
    [true, ["begin read only", "set local work_mem = '1MB'"]],
    [true, ["begin", "set transaction read only"]],
    [true, ["set default_transaction_read_only = on"]],
    [true, ["set default_transaction_read_only = on", "begin"]]
  ]
  for (const [mayBeLent, before] of withTransaction) {
    const name = before.length === 0 ? "alone" : `after ${before.join(", ")}`
    it.effect(`that is refused a write ${name} ${mayBeLent ? "wanted it so" : "has no primary, and is not lent again"}`, () =>
      Effect.gen(function*() {
        const { session } = make((sql) => sql === "insert" ? refused("25006") : Effect.succeed({ command: "" }))
        for (const sql of before) yield* session.control(sql)
        const error = yield* Effect.flip(session.control("insert"))
        assert.strictEqual(error.reason._tag, mayBeLent ? "AuthorizationError" : "ConnectionError")
        assert.strictEqual(session.mayBeLent, mayBeLent)
        assert.strictEqual(error.message.includes("this server takes no writes"), !mayBeLent)
      }))
  }

  it.effect("calls only a refused write one, and keeps on where a feature is missing", () =>
    Effect.gen(function*() {
      const { session } = make((sql) => refused(sql === "select 1" ? "0A000" : "40001"))
      yield* Effect.flip(session.control("select 1"))
      yield* Effect.flip(session.control("begin"))
      assert.isTrue(session.mayBeLent)
      const standby = make(() => refused("0A000"))
      const error = yield* Effect.flip(standby.session.control("begin read write"))
      assert.deepStrictEqual([error.isRetryable, standby.session.mayBeLent, standby.session.isInTransaction], [
        true,
        false,
        false
      ])
    }))

  it.effect("whose cancel may still come is not used again", () =>
    Effect.gen(function*() {
      const { session, wire } = make(() => Effect.succeed({ command: "SELECT" }))
      yield* session.control("select 1")
      wire.isDoubtful = true
      wire.reason = "it is doubtful"
      assert.isFalse(session.isAlive)
      const error = yield* Effect.flip(session.control("select 1"))
      assert.strictEqual(error.message, "select 1 was not sent, because the connection was lost: it is doubtful")
    }))
})
