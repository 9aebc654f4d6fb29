import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, type Scope } from "effect"
import { ConnectionPool, InMemoryConnection, PoolMap } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"

/** A function of an application that was written for another library: its promise fails a little later. */
const later = (): never => Promise.reject(new Error("nobody waits for this")) as never

const withPool = <A, E>(f: (pool: SqlitePool.SqlitePool) => Effect.Effect<A, E>, options?: object) =>
  Effect.flatMap(SqlitePool.make({ filename: ":memory:", ...options }), f)

const computing = (functions: { readonly [part: string]: unknown }) => ({
  aggregates: { broken: { start: () => 0, step: (sum: number, _: unknown) => sum, result: () => 1, ...functions } }
})

const call = ({ sql }: SqlitePool.SqlitePool) => sql`select broken(1)`

const waiting: { readonly [what: string]: Effect.Effect<unknown, unknown, Scope.Scope> } = {
  "the function given to writeSync": withPool((pool) => pool.writeSync(later)),
  "the function given to readSync": withPool((pool) => pool.readSync(later)),
  "the body of write": withPool((pool) => pool.write(later)),
  "the body of read": withPool((pool) => pool.read(later)),
  "a transaction": withPool((pool) => Effect.suspend(() => pool.transaction(later()))),
  "a SQL function": withPool(call, { functions: { broken: (_: unknown) => later() } }),
  "the start of an aggregate": withPool(call, computing({ start: later })),
  "the step of an aggregate": withPool(call, computing({ step: (_: unknown, __: unknown) => later() })),
  "the result of an aggregate": withPool(call, computing({ result: later })),
  "onOpen": SqlitePool.make({ filename: ":memory:", onOpen: later }),
  "the body of use": Effect.flatMap(
    ConnectionPool.make({ factory: InMemoryConnection.factory() }),
    (pool) => pool.use(later)
  ),
  "the function given to useSync": Effect.flatMap(
    ConnectionPool.make({ factory: InMemoryConnection.factory() }),
    (pool) => pool.useSync(later)
  ),
  "open of a map": Effect.flatMap(PoolMap.make({ open: later }), (map) => map.use("a", () => Effect.void)),
  "the effect given to provide of a map": Effect.flatMap(
    PoolMap.make({ open: () => SqlitePool.make({ filename: ":memory:" }) }),
    (map) => Effect.suspend(() => map.provide("a", later()))
  )
}

describe("a promise where nothing waits for one", () => {
  for (const [what, effect] of Object.entries(waiting)) {
    it.live(`is refused, and its failure ends no process: ${what}`, () =>
      Effect.gen(function*() {
        const unhandled: Array<unknown> = []
        const note = (reason: unknown) => unhandled.push(reason)
        yield* Effect.acquireRelease(
          Effect.sync(() => process.on("unhandledRejection", note)),
          () => Effect.sync(() => process.off("unhandledRejection", note))
        )
        const exit = yield* Effect.exit(Effect.scoped(effect))
        assert.match(
          Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "success",
          /a promise|an object \(Promise\)/
        )
        // Node tells of it after the microtasks of this turn.
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        assert.deepStrictEqual(unhandled, [])
      }))
  }
})
