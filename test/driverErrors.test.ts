/** What a driver throws when a lease begins or ends, as operators see it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Stream } from "effect"
import { ConnectionFactory, ConnectionPool } from "effect-connection-pool"
import { settle } from "./support/pools.ts"

const raise = (error: unknown): never => {
  throw error
}

describe("errors that a driver throws when a lease begins or ends", () => {
  it.effect("are in the event of the eviction, and in the log", () =>
    Effect.gen(function*() {
      const thrown = new Error("the file was moved")
      const hooks: ReadonlyArray<Partial<ConnectionFactory.ConnectionFactory<{ readonly id: number }>>> = [
        { beginLease: (connection) => connection.id === 1 ? raise(thrown) : connection },
        { endLease: (connection) => connection.id === 1 ? raise(thrown) : undefined },
        { isInTransaction: () => raise(thrown), reset: () => Effect.void },
        { judge: () => raise(thrown) }
      ]
      for (const hook of hooks) {
        const lines: Array<string> = []
        const logger = Logger.make<unknown, void>(({ message }) => {
          lines.push(String(message))
        })
        const errors: Array<unknown> = []
        yield* Effect.gen(function*() {
          let opened = 0
          const connect = Effect.sync(() => ({ id: ++opened }))
          const factory = ConnectionFactory.make<{ readonly id: number }>({ connect, ...hook })
          const pool = yield* ConnectionPool.make({ factory, max: 1 })
          yield* Effect.forkScoped(
            Stream.runForEach(pool.events, (event) =>
              Effect.sync(() => {
                if (event._tag === "Evicted" && event.reason === "driver") errors.push(event.error)
              })),
            { startImmediately: true }
          )
          yield* Effect.exit(pool.use(() => Effect.fail("no")))
          yield* pool.use(() => Effect.void)
          yield* settle
        }).pipe(Effect.scoped, Effect.provide(Logger.layer([logger])))
        assert.strictEqual(errors[0], thrown)
        assert.include(
          lines,
          "connection 1 is evicted: Error: the file was moved (its driver threw when a lease began or ended)"
        )
      }
    }))

  it.effect("are in the log without a reason if nothing was thrown but undefined", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => {
        lines.push(String(message))
      })
      yield* Effect.gen(function*() {
        const factory = ConnectionFactory.make({
          connect: Effect.succeed({}),
          endLease: () => raise(undefined)
        })
        const pool = yield* ConnectionPool.make({ factory, max: 1 })
        yield* pool.use(() => Effect.void)
        yield* settle
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([logger])))
      assert.include(lines, "connection 1 is evicted: its driver threw when a lease began or ended")
    }))
})
