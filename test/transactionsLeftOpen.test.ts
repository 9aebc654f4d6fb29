import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { ConnectionFactory, ConnectionPool, PoolEvent } from "effect-connection-pool"
import { settle } from "./support/pools.ts"

interface Connection {
  isOpen: boolean
}

/** A pool over a driver on which transactions are begun by hand, and the holders that were reported to have left one open. */
const make = Effect.fnUntraced(function*(
  hooks?: Partial<Pick<ConnectionFactory.ConnectionFactory<Connection>, "isInTransaction" | "judge" | "isAlive">>
) {
  const pool = yield* ConnectionPool.make({
    factory: ConnectionFactory.make<Connection>({
      connect: Effect.sync(() => ({ isOpen: false })),
      isInTransaction: ({ isOpen }) => isOpen,
      needsReset: ({ isOpen }) => isOpen,
      reset: (connection) =>
        Effect.sync(() => {
          connection.isOpen = false
        }),
      ...hooks
    }),
    max: 1,
    drainTimeout: 0
  })
  const reported: Array<string | undefined> = []
  yield* Effect.forkDetach(Stream.runForEach(pool.events, (event) =>
    Effect.sync(() => {
      if (PoolEvent.$is("TransactionLeftOpen")(event)) reported.push(event.holder.label)
    })))
  yield* settle
  return { pool, reported }
})

const begin = (connection: Connection) =>
  Effect.sync(() => {
    connection.isOpen = true
  })

describe("a lease that ends with a transaction open", () => {
  it.effect("is reported with its holder, and its connection is lent clean", () =>
    Effect.gen(function*() {
      const { pool, reported } = yield* make()
      yield* pool.use(begin, { label: "import" })
      yield* pool.use(() => Effect.void, { label: "report" })
      yield* pool.useSync((connection) => void (connection.isOpen = true), { label: "at once" })
      yield* settle
      assert.deepStrictEqual(reported, ["import", "at once"])
      assert.isFalse(yield* pool.use(({ isOpen }) => Effect.succeed(isOpen)))
      assert.strictEqual((yield* pool.stats).connects, 1)
    }))

  it.effect("is not reported if the connection is evicted: then the holder is not to blame", () =>
    Effect.gen(function*() {
      const { pool, reported } = yield* make({ judge: () => "fatal" })
      yield* Effect.ignore(pool.use((connection) => Effect.andThen(begin(connection), Effect.fail("broken"))))
      yield* pool.use((connection) => Effect.andThen(begin(connection), pool.invalidate(connection)))
      yield* settle
      assert.deepStrictEqual(reported, [])
      const { evictions } = yield* pool.stats
      assert.deepStrictEqual([evictions.fatal, evictions.invalidated], [1, 1])
    }))

  it.effect("costs the connection if its driver throws when it is asked", () =>
    Effect.gen(function*() {
      const { pool, reported } = yield* make({
        isInTransaction: () => {
          throw new Error("no driver")
        }
      })
      yield* pool.use(begin)
      yield* settle
      assert.deepStrictEqual(reported, [])
      assert.strictEqual((yield* pool.stats).evictions.driver, 1)
    }))
})
