import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, type Scope } from "effect"
import { ConnectionFactory, ConnectionPool, type PoolError, SqlClientFactory } from "effect-connection-pool"
import type { SqlClient } from "effect/sql/SqlClient"

interface Session {
  readonly id: number
}

class Url extends Context.Service<Url, string>()("test/Url") {}

const connect = Effect.acquireRelease(Effect.succeed<Session>({ id: 1 }), () => Effect.void)

describe("the types of a factory", () => {
  it.effect("have no scope in them: that is each connection's own", () =>
    Effect.gen(function*() {
      const plain: ConnectionFactory.ConnectionFactory<Session> = ConnectionFactory.make({ connect })
      const told: ConnectionFactory.ConnectionFactory<Session> = ConnectionFactory.make({ connect: () => connect })
      const pool: ConnectionPool.ConnectionPool<Session> = yield* ConnectionPool.make({ factory: plain })
      const needs: Effect.Effect<
        ConnectionPool.ConnectionPool<Session>,
        PoolError.PoolConfigError | PoolError.ConnectError,
        Scope.Scope
      > = ConnectionPool.make({ factory: told })
      assert.deepStrictEqual([yield* pool.use(Effect.succeed), yield* (yield* needs).use(Effect.succeed)], [
        { id: 1 },
        { id: 1 }
      ])
    }))

  it.effect("keep what else connecting needs, and fails with", () =>
    Effect.gen(function*() {
      const failing = Effect.flatMap(Url, (url) => url === "" ? Effect.fail("no url" as const) : connect)
      const factory: ConnectionFactory.ConnectionFactory<Session, "no url", Url> = ConnectionFactory.make({
        connect: failing,
        isTransient: (error) => error === "no url",
        validate: ({ id }) => Effect.succeed(id === 1)
      })
      const pool: ConnectionPool.ConnectionPool<Session, "no url"> = yield* ConnectionPool.make({ factory })
      assert.deepStrictEqual(yield* pool.use(Effect.succeed), { id: 1 })
    }).pipe(Effect.provideService(Url, "db.internal")))

  it("are the same for clients of effect/sql", () => {
    const client = Effect.acquireRelease(Effect.succeed({} as SqlClient), () => Effect.void)
    const factory: ConnectionFactory.ConnectionFactory<SqlClient> = SqlClientFactory.make({ connect: client })
    const told: ConnectionFactory.ConnectionFactory<SqlClient> = SqlClientFactory.make({ connect: () => client })
    assert.isTrue(Effect.isEffect(factory.connect) && Effect.isEffect(told.connect))
  })
})
