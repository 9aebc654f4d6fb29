import type { PgConnection } from "@effect/sql-pg/PgConnection"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import type { SqlError } from "effect/sql/SqlError"
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
