import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import type { ConnectionPool, PoolError } from "effect-connection-pool"
import { HealthChecker } from "effect-connection-pool"
import { type FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

type Pool = ConnectionPool.ConnectionPool<FaultyFactory.FaultyConnection, FaultyFactory.FaultyError>
type Failure = PoolError.PoolError<FaultyFactory.FaultyError>

/** Everything that takes the options of a call, with options that the compiler would not let through. */
const calls: Readonly<Record<string, (pool: Pool, options: never) => Effect.Effect<unknown, Failure>>> = {
  use: (pool, options) => pool.use(() => Effect.void, options),
  useSync: (pool, options) => pool.useSync(() => undefined, options),
  "useSync with catch": (pool, options) => pool.useSync({ try: () => undefined, catch: () => assert.fail() }, options),
  acquire: (pool, options) => Effect.scoped(pool.acquire(options))
}

class Ticket {
  readonly ticket = 1
}

const duration = "a duration of zero or more, such as \"5 seconds\", or Infinity"

const invalid: ReadonlyArray<readonly [options: unknown, ...messages: ReadonlyArray<string>]> = [
  [null, "options is null, but must be an object"],
  [5, "options is 5, but must be an object"],
  ["5 seconds", "options is \"5 seconds\", but must be an object"],
  [["5 seconds"], "options is an array, but must be an object"],
  [() => 1, "options is a function, but must be an object"],
  [Symbol("soon"), "options is Symbol(soon), but must be an object"],
  [true, "options is true, but must be an object"],
  [new Ticket(), "ticket is no option; the options are timeout, label"],
  [{ timeOut: "1 second" }, "timeOut is no option; did you mean timeout?"],
  [{ timeoutMillis: 5 }, "timeoutMillis is no option; did you mean timeout?"],
  [{ lable: "report", timeout: 1 }, "lable is no option; did you mean label?"],
  [{ priority: 1 }, "priority is no option; the options are timeout, label"],
  [{ [Symbol("timeout")]: 1 }, "Symbol(timeout) is no option; did you mean timeout?"],
  [{ [Symbol()]: 1 }, "Symbol() is no option; the options are timeout, label"],
  [{ timeout: Number.NaN }, `timeout is NaN, but must be ${duration}`],
  [{ timeout: -1 }, `timeout is -1, but must be ${duration}`],
  [{ timeout: -Infinity }, `timeout is -Infinity, but must be ${duration}`],
  [{ timeout: -5n }, `timeout is -5n, but must be ${duration}`],
  [{ timeout: "soon" }, `timeout is "soon", but must be ${duration}`],
  [{ timeout: "" }, `timeout is "", but must be ${duration}`],
  [{ timeout: "x".repeat(1000) }, `timeout is "${"x".repeat(100)}...", but must be ${duration}`],
  [{ timeout: null }, `timeout is null, but must be ${duration}`],
  [{ timeout: {} }, `timeout is an object, but must be ${duration}`],
  [{ timeout: { second: 5 } }, `timeout is an object, but must be ${duration}`],
  [{ timeout: { seconds: 5, second: 5 } }, `timeout is an object, but must be ${duration}`],
  [{ timeout: { seconds: "5" } }, `timeout is an object, but must be ${duration}`],
  [{ timeout: { seconds: Number.NaN } }, `timeout is an object, but must be ${duration}`],
  [{ timeout: [1, Number.NaN] }, `timeout is an array, but must be ${duration}`],
  [{ timeout: [1] }, `timeout is an array, but must be ${duration}`],
  [{ timeout: new Date(0) }, `timeout is an object (Date), but must be ${duration}`],
  [{ timeout: Object.create(null) }, `timeout is an object, but must be ${duration}`],
  [{ timeout: () => 5 }, `timeout is a function, but must be ${duration}`],
  [{ timeout: Duration.millis(-1) }, `timeout is -1 millis, but must be ${duration}`],
  [{ label: 42 }, "label is 42, but must be text"],
  [{ label: null }, "label is null, but must be text"],
  [{ label: ["report"] }, "label is an array, but must be text"],
  [{ timeout: -1, label: 42 }, `timeout is -1, but must be ${duration}`, "label is 42, but must be text"],
  [
    {
      get timeout(): number {
        throw new Error("not here")
      }
    },
    "timeout cannot be read: not here"
  ],
  [
    {
      get label(): string {
        throw "not here"
      }
    },
    "label cannot be read: \"not here\""
  ],
  [
    new Proxy({}, {
      ownKeys: () => {
        throw new Error("no keys")
      }
    }),
    "options cannot be read: no keys"
  ]
]

describe("invalid options of a call", () => {
  for (const [name, call] of Object.entries(calls)) {
    it.effect(`of ${name} are a typed error that lists them, and take nothing`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ name: "orders", max: 1 })
        const refuse = Effect.gen(function*() {
          for (const [options, ...messages] of invalid) {
            const caught = yield* call(pool, options as never).pipe(
              Effect.as(undefined),
              Effect.catchTag("PoolConfigError", (error) => Effect.succeed(error))
            )
            assert.deepStrictEqual(caught?.problems.map(({ message }) => message), messages)
            assert.strictEqual(caught?.message, `pool "orders": ${messages.join("; ")}`)
          }
        })
        yield* refuse
        assert.strictEqual((yield* faulty.counters).attempts, 0)
        // With an idle connection to take, and with a line to join.
        yield* pool.use(() => Effect.void)
        yield* refuse
        yield* borrow(pool)
        yield* refuse
        const { refused, timeouts } = yield* pool.stats
        assert.deepStrictEqual([refused, timeouts, yield* shape(pool)], [0, 0, { inUse: 1 }])
        assert.strictEqual((yield* faulty.counters).leases, 2)
      }))
  }

  it.effect("are reported even by a closed pool", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      yield* pool.shutdown()
      const error = yield* PoolAssert.failsWith(pool.use(() => Effect.void, { timeout: -1 }), "PoolConfigError")
      assert.strictEqual(error.field, "timeout")
    }))

  it.effect("leave nothing behind in the caller's scope", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* PoolAssert.failsWith(Effect.scoped(pool.acquire({ timeout: Number.NaN })), "PoolConfigError")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("valid options of a call", () => {
  const valid: ReadonlyArray<object> = [
    {},
    { timeout: undefined, label: undefined },
    { timeout: 0 },
    { timeout: -0 },
    { timeout: Infinity },
    { timeout: "Infinity" },
    { timeout: "infinity" },
    { timeout: "5s" },
    { timeout: "20ms" },
    { timeout: "500" },
    { timeout: 5n },
    { timeout: [1, 500] },
    { timeout: { seconds: 5 } },
    { timeout: Duration.seconds(1) },
    { label: "" },
    Object.create(null),
    Object.create({ timeout: "1 second" })
  ]
  for (const [name, call] of Object.entries(calls)) {
    it.effect(`of ${name} are taken in every form`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1 })
        yield* pool.use(() => Effect.void)
        for (const options of valid) yield* call(pool, options as never)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("without a label have none", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      for (const options of [{ label: "" }, { label: "", timeout: "1 second" }, Object.create({ label: "" })]) {
        const lease = yield* borrow(pool, options)
        assert.notProperty((yield* pool.holders)[0], "label")
        yield* lease.giveBack
      }
    }))

  it.effect("inherited from another object count, as a property does", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      yield* borrow(pool, Object.create({ label: "report" }))
      assert.strictEqual((yield* pool.holders)[0]?.label, "report")
    }))
})

describe("invalid options of an operation", () => {
  const operations: Readonly<Record<string, (pool: Pool, options: never) => Effect.Effect<unknown, Failure>>> = {
    check: (pool, options) => pool.check(options),
    resize: (pool, options) => pool.resize(options),
    shutdown: (pool, options) => pool.shutdown(options),
    "HealthChecker.make": (pool, options) => Effect.scoped(HealthChecker.make(pool, options))
  }
  for (const [name, operation] of Object.entries(operations)) {
    it.effect(`${name} are a typed error, and do nothing`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1 })
        const fields = ["concurrency", "timeout", "min", "max", "drainTimeout", "interval", "schedule"]
        const values = [null, Number.NaN, -1, "soon", Symbol("x"), () => 1, {}, [], new Date(0)]
        const nonsense = [
          ...values.filter((value) => typeof value !== "object" || value === null || Array.isArray(value)),
          ...fields.flatMap((field) => values.map((value) => ({ [field]: value })))
        ]
        for (const options of nonsense) {
          const caught = yield* operation(pool, options as never).pipe(
            Effect.as(undefined),
            Effect.catchTag("PoolConfigError", (error) => Effect.succeed(error))
          )
          assert.isAbove(caught?.problems.length ?? 0, 0, `${name} takes ${String(options)}`)
        }
        assert.strictEqual((yield* faulty.counters).attempts, 0)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("do not end the wait for a running shutdown", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, drainTimeout: "1 minute" })
      const lease = yield* borrow(pool)
      const shutdown = yield* Effect.forkChild(pool.shutdown())
      yield* settle
      yield* PoolAssert.failsWith(pool.shutdown({ drainTimeout: -1 }), "PoolConfigError")
      yield* lease.giveBack
      assert.deepStrictEqual(yield* Fiber.join(shutdown), {
        returned: 1,
        interrupted: 0,
        revoked: 0,
        abandoned: [],
        closeTimeouts: 0
      })
    }))
})
