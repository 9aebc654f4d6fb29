/** Encrypted connections to PostgreSQL. */
import { assert } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { describeServer, make, until } from "../support/postgres.ts"
import { certificate, key } from "../support/tls.ts"

const { failsWith } = PoolAssert

const isEncrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"

describeServer("an encrypted connection", (it) => {
  it.effect("is what the server says it is", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1, ssl: { ca: certificate } })
      assert.deepStrictEqual(yield* db.sql.unsafe(isEncrypted), [{ ssl: true }])
      const { db: plain } = yield* make({ max: 1, ssl: false })
      assert.deepStrictEqual(yield* plain.sql.unsafe(isEncrypted), [{ ssl: false }])
    }))

  it.effect("is not made with a certificate that nobody knows, and no other attempt is made", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1, ssl: true })
      const error = yield* failsWith(db.write(() => Effect.void), "ConnectError")
      assert.include(error.message, "self-signed certificate")
      assert.strictEqual((yield* db.stats).primary.connectAttempts, 1)
    }))

  it.effect("cancels a statement, and is kept", () =>
    Effect.gen(function*() {
      const { backends, db } = yield* make({ max: 1, cancelTimeout: "5 seconds", ssl: { ca: certificate } })
      const sleeping = yield* Effect.forkChild(db.sql`select pg_sleep(20)`)
      yield* until(
        "it runs",
        Effect.map(backends, (all) => all.some(({ query, state }) => state === "active" && query.includes("pg_sleep")))
      )
      const [before] = yield* backends
      yield* Fiber.interrupt(sleeping)
      assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
      assert.deepStrictEqual((yield* backends).map(({ processId }) => processId), [before!.processId])
    }))

  it.effect("is replaced when it is lost, while nobody asks", () =>
    Effect.gen(function*() {
      const { backends, kill } = yield* make({ min: 1, max: 1, ssl: { ca: certificate } })
      const [before] = yield* backends
      yield* kill
      yield* until(
        "another is there",
        Effect.map(backends, (all) => all.length === 1 && all[0]!.processId !== before!.processId)
      )
    }))
}, { tls: { certificate, key } })
