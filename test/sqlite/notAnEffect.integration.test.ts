import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { settle } from "../support/pools.ts"

/** A mistake that types do not always catch: the fiber that evaluates it ends at once, without its finalizers. */
const noEffect = Effect.flatMap(Effect.void, () => undefined as unknown as Effect.Effect<void>)

type Way = (pool: SqlitePool.SqlitePool) => Effect.Effect<unknown, unknown>

const ways: Readonly<Record<string, Way>> = {
  read: (pool) => pool.read(() => noEffect),
  write: (pool) => pool.write(() => noEffect),
  snapshot: (pool) => pool.snapshot(noEffect),
  stream: (pool) => Stream.runForEach(pool.stream("select a from t"), () => noEffect),
  "a stream within a transaction": (pool) =>
    pool.transaction(Stream.runForEach(pool.stream("select a from t"), () => noEffect)),
  transaction: (pool) => pool.transaction(Effect.andThen(pool.sql`insert into t values (2)`, noEffect)),
  "an inner transaction": (pool) =>
    pool.transaction(pool.transaction(Effect.andThen(pool.sql`insert into t values (2)`, noEffect))),
  "a transaction without foreign keys": (pool) =>
    pool.transaction(Effect.andThen(pool.sql`insert into t values (2)`, noEffect), { foreignKeys: "off" }),
  "sql.withTransaction": (pool) =>
    pool.sql.withTransaction(Effect.andThen(pool.sql`insert into t values (2)`, noEffect)),
  "a body that is none": (pool) => pool.transaction(undefined as unknown as Effect.Effect<void>)
}

describe("something that is no Effect, evaluated inside", () => {
  for (const [name, way] of Object.entries(ways)) {
    for (const memory of [false, true]) {
      it.effect(`${name}${memory ? " in memory" : ""}, costs no connection and leaves nothing behind`, () =>
        Effect.gen(function*() {
          const pool = memory
            ? yield* SqlitePool.make({ filename: ":memory:", drainTimeout: 0 })
            : yield* SqlitePool.makeTemporary({ readers: 1, drainTimeout: 0 })
          yield* pool.write((connection) => connection.exec("create table t(a); insert into t values (1)"))
          const fiber = yield* Effect.forkDetach(way(pool))
          yield* Fiber.await(fiber)
          yield* settle
          const { readers, writer } = yield* pool.stats
          assert.deepStrictEqual([readers.inUse, writer.inUse], [0, 0])
          yield* pool.write((connection) => connection.run("insert into t values (3)"))
          assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select a from t")), [[1], [3]])
          const [[on]] = (yield* pool.write((connection) => connection.values("pragma foreign_keys"))) as [[number]]
          assert.strictEqual(on, 1)
        }))
    }
  }
})
