import { Effect, Fiber } from "effect"
import { ConnectionPool, type PoolConfig } from "effect-connection-pool"
import { FaultyFactory } from "effect-connection-pool/testing"
import { settled } from "./modes/threads.ts"

export type Connection = FaultyFactory.FaultyConnection
export type Pool = ConnectionPool.ConnectionPool<Connection, FaultyFactory.FaultyError>

/** A pool over a driver whose faults the test controls. What a test leaves behind is not waited for. */
export const make = Effect.fnUntraced(function*(
  config?: PoolConfig.PoolConfig & { readonly driver?: FaultyFactory.Options }
) {
  const { driver, ...rest } = config ?? {}
  const faulty = yield* FaultyFactory.make(driver)
  const pool: Pool = yield* ConnectionPool.make({ factory: faulty.factory, drainTimeout: 0, ...rest })
  // A test that fails half-way must not wait for what it holds.
  yield* Effect.addFinalizer(() =>
    Effect.forEach(
      [faulty.connect, faulty.validate, faulty.reset, faulty.settle, faulty.disconnect],
      (faults) => Effect.andThen(faults.clear, faults.open),
      { discard: true }
    )
  )
  return { faulty, pool }
})

const turns = Effect.asVoid(Effect.repeat(Effect.yieldNow, { times: 30 }))

/** Lets every fiber that can run do so, and where connections are in threads, those too: see `modes`. */
export const settle: Effect.Effect<void> = process.env["SQLITE_MODE"] === undefined ? turns : settled(turns)

/** Leases a connection in a fiber of its own, until it is told to let go. */
export const borrow = Effect.fnUntraced(function*(pool: Pool, options?: ConnectionPool.AcquireOptions) {
  let resume: (() => void) | undefined
  let lent: Connection | undefined
  const fiber = yield* Effect.forkDetach(
    pool.use((connection) => {
      lent = connection
      return Effect.callback<number>((done) => {
        resume = () => done(Effect.succeed(connection.id))
      })
    }, options)
  )
  yield* settle
  return {
    fiber,
    /** The connection, once it has been lent. */
    get connection() {
      return lent
    },
    giveBack: Effect.suspend(() => {
      resume?.()
      return Fiber.join(fiber)
    })
  }
})

/** Takes a lease that is interrupted while something runs on its connection, which `faulty.settle` holds up. */
export const leaveRunning = Effect.fnUntraced(function*(pool: Pool, options?: ConnectionPool.AcquireOptions) {
  const lease = yield* borrow(pool, options)
  yield* lease.connection!.start
  yield* Fiber.interrupt(lease.fiber)
  yield* settle
  return lease
})

/** The names of the states and how many connections are in each, without those that have none. */
export const shape = (pool: Pick<Pool, "stats">) =>
  Effect.map(
    pool.stats,
    ({ abandoned, closing, connecting, idle, inUse, resetting, validating, waiting }) =>
      Object.fromEntries(
        Object.entries({ connecting, idle, validating, inUse, resetting, abandoned, closing, waiting }).filter((
          [, count]
        ) => count > 0)
      )
  )
