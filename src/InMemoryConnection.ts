/**
 * A connection without a database: a key-value store in memory, for tests, for examples, and for trying out a pool.
 *
 * It behaves like a real connection: it is opened and closed, it can be slow, and it refuses to work after its lease has
 * ended. To test how code handles failures, use `effect-connection-pool/testing`.
 */
import { type Duration, Effect } from "effect"
import * as ConnectionFactory from "./ConnectionFactory.ts"
import { checkOrThrow } from "./internal/options/problems.ts"
import { table as makeTable } from "./internal/options/rules.ts"
import { LeaseExpiredError } from "./PoolError.ts"

/** One connection to a store. All connections of one factory see the same store. */
export interface InMemoryConnection {
  /** The number of the connection, from 1, in the order in which the factory opened them. */
  readonly id: number
  /** The value of a key, or `undefined`. */
  readonly get: (key: string) => Effect.Effect<unknown, LeaseExpiredError>
  readonly set: (key: string, value: unknown) => Effect.Effect<void, LeaseExpiredError>
  /** Removes a key, and returns whether it was there. */
  readonly remove: (key: string) => Effect.Effect<boolean, LeaseExpiredError>
  /** Runs a function on the whole store in one step, so no other fiber runs meanwhile. */
  readonly update: <A>(f: (store: Map<string, unknown>) => A) => Effect.Effect<A, LeaseExpiredError>
}

export interface Options {
  /** The store. Default: a new one for each factory. */
  readonly store?: Map<string, unknown> | undefined
  /** How long opening a connection takes. Default 0. */
  readonly connectLatency?: Duration.Input | undefined
  /** How long each operation takes before it happens. Default 0. */
  readonly latency?: Duration.Input | undefined
}

const table = makeTable({
  store: { kind: "value", accepts: (store) => store instanceof Map, mustBe: "a Map" },
  connectLatency: { kind: "duration", default: 0, zero: true },
  latency: { kind: "duration", default: 0, zero: true }
})

/**
 * Makes a factory of connections to one store in memory. Connecting never fails. Throws a `TypeError` if the options are
 * invalid.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ConnectionPool, InMemoryConnection } from "effect-connection-pool"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const store = new Map([["visits", 0]])
 *   const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory({ store }), max: 2 })
 *   const visit = pool.use((connection) =>
 *     connection.update((store) => store.set("visits", Number(store.get("visits")) + 1))
 *   )
 *   yield* Effect.all(Array.from({ length: 100 }, () => visit), { concurrency: "unbounded" })
 *   return store.get("visits") // 100
 * }))
 * ```
 */
export const factory = (options?: Options): ConnectionFactory.ConnectionFactory<InMemoryConnection> => {
  const { connectLatency, latency, store: given } = checkOrThrow("InMemoryConnection.factory", table, options)
  const store = given as Options["store"] ?? new Map<string, unknown>()
  let lastId = 0
  return ConnectionFactory.make<InMemoryConnection>({
    connect: Effect.acquireRelease(
      Effect.delay(Effect.sync(() => new Lent(++lastId, undefined, store, latency)), connectLatency),
      (connection) => Effect.sync(() => connection.expire())
    ),
    beginLease: (connection, pool) => new Lent(connection.id, pool, store, latency),
    endLease: (lent) => (lent as Lent).expire()
  })
}

/** A connection as one lease sees it. */
class Lent implements InMemoryConnection {
  readonly id: number
  readonly #pool: string | undefined
  readonly #store: Map<string, unknown>
  readonly #latency: number
  #isExpired = false

  constructor(id: number, pool: string | undefined, store: Map<string, unknown>, latency: number) {
    this.id = id
    this.#pool = pool
    this.#store = store
    this.#latency = latency
  }

  expire(): void {
    this.#isExpired = true
  }

  get(key: string) {
    return this.#work("get", (store) => store.get(key))
  }

  set(key: string, value: unknown) {
    return this.#work("set", (store) => void store.set(key, value))
  }

  remove(key: string) {
    return this.#work("remove", (store) => store.delete(key))
  }

  update<A>(f: (store: Map<string, unknown>) => A) {
    return this.#work("update", f)
  }

  #expired(operation: string): LeaseExpiredError {
    return new LeaseExpiredError(this.#pool === undefined ? { operation } : { pool: this.#pool, operation })
  }

  #work<A>(operation: string, f: (store: Map<string, unknown>) => A): Effect.Effect<A, LeaseExpiredError> {
    const step = Effect.suspend(() =>
      this.#isExpired ? Effect.fail(this.#expired(operation)) : Effect.sync(() => f(this.#store))
    )
    return this.#latency === 0 ? step : Effect.delay(step, this.#latency)
  }
}
