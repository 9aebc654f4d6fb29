import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { settingsOf } from "./support/options.ts"
import { shape } from "./support/pools.ts"

const start = (config: Record<string, unknown>) =>
  Effect.gen(function*() {
    const faulty = yield* FaultyFactory.make({ withoutValidate: config["validate"] === false })
    const { validate: _, ...rest } = config
    const error = yield* PoolAssert.failsWith(
      Effect.scoped(ConnectionPool.make({ factory: faulty.factory, ...rest })),
      "PoolConfigError"
    )
    assert.strictEqual((yield* faulty.counters).attempts, 0)
    return error
  })

// A backoff must be finite, or the pool would never connect again.
const duration = (field: string) =>
  `a duration above zero, such as "5 seconds"${field.startsWith("connectBackoff") ? "" : ", or Infinity"}`

describe("invalid options are refused before anything is opened", () => {
  const whole = "a whole number of at least 1"
  const wholeOrZero = "a whole number of at least 0"
  const table: ReadonlyArray<
    readonly [config: Record<string, unknown>, field: string, value: string, mustBe: string]
  > = [
    [{ max: 0 }, "max", "0", whole],
    [{ max: -1 }, "max", "-1", whole],
    [{ max: 1.5 }, "max", "1.5", whole],
    [{ max: Number.NaN }, "max", "NaN", whole],
    [{ max: Infinity }, "max", "Infinity", whole],
    [{ max: "5" }, "max", `"5"`, whole],
    [{ min: -1 }, "min", "-1", wholeOrZero],
    [{ min: Infinity }, "min", "Infinity", wholeOrZero],
    [{ maxAbandoned: -1 }, "maxAbandoned", "-1", wholeOrZero],
    [{ maxAbandoned: 1.5 }, "maxAbandoned", "1.5", wholeOrZero],
    [{ maxAbandoned: Infinity }, "maxAbandoned", "Infinity", wholeOrZero],
    [{ min: 5, max: 4 }, "min", "5", "at most max, which is 4"],
    [{ min: 11 }, "min", "11", "at most max, which is 10"],
    [{ maxWaiting: 0 }, "maxWaiting", "0", `${whole}, or Infinity`],
    [{ maxConnecting: 0 }, "maxConnecting", "0", `${whole}, or Infinity`],
    [{ maxUses: 0 }, "maxUses", "0", `${whole}, or Infinity`],
    [{ maxUses: 2.5 }, "maxUses", "2.5", `${whole}, or Infinity`],
    ...[
      "acquireTimeout",
      "connectTimeout",
      "connectBackoff",
      "connectBackoffMax",
      "idleTimeout",
      "maxLifetime",
      "keepalive",
      "validateTimeout",
      "resetTimeout",
      "closeTimeout",
      "leakThreshold"
    ].flatMap((field) => [
      [{ [field]: 0 }, field, "0", duration(field)] as const,
      [{ [field]: -5 }, field, "-5", duration(field)] as const,
      [{ [field]: null }, field, "null", duration(field)] as const,
      [{ [field]: Number.NaN }, field, "NaN", duration(field)] as const,
      [{ [field]: "-1 seconds" }, field, `"-1 seconds"`, duration(field)] as const,
      [{ [field]: "soon" }, field, `"soon"`, duration(field)] as const,
      [{ [field]: "0 millis" }, field, `"0 millis"`, duration(field)] as const
    ]),
    [{ connectBackoff: Infinity }, "connectBackoff", "Infinity", duration("connectBackoff")],
    [{ connectBackoffMax: "Infinity" }, "connectBackoffMax", `"Infinity"`, duration("connectBackoff")],
    [
      { validateAfterIdle: -1 },
      "validateAfterIdle",
      "-1",
      `a duration of zero or more, such as "5 seconds", or Infinity`
    ],
    [
      { slowStatement: -1 },
      "slowStatement",
      "-1",
      `a duration of zero or more, such as "5 seconds", or Infinity`
    ],
    [
      { drainTimeout: "-1 millis" },
      "drainTimeout",
      `"-1 millis"`,
      `a duration of zero or more, such as "5 seconds", or Infinity`
    ],
    [{ lifetimeJitter: 1 }, "lifetimeJitter", "1", "a number from 0 to below 1"],
    [{ lifetimeJitter: -0.1 }, "lifetimeJitter", "-0.1", "a number from 0 to below 1"],
    [{ lifetimeJitter: Number.NaN }, "lifetimeJitter", "NaN", "a number from 0 to below 1"],
    [
      { connectBackoff: "2 seconds", connectBackoffMax: "1 second" },
      "connectBackoffMax",
      `"1 second"`,
      "at least connectBackoff, which is 2000 ms"
    ],
    [{ name: "" }, "name", `""`, "text that is not empty"],
    [{ name: 5 }, "name", "5", "text that is not empty"],
    [{ start: "later" }, "start", `"later"`, `"eager" or "lazy"`],
    [
      { validate: false, keepalive: "1 minute" },
      "keepalive",
      `"1 minute"`,
      "left out: the factory has no validate"
    ],
    [{ validate: false, validateAfterIdle: 5 }, "validateAfterIdle", "5", "left out: the factory has no validate"]
  ]
  for (const [config, field, value, mustBe] of table) {
    it.effect(`${JSON.stringify(config, (_, v) => typeof v === "number" ? String(v) : v)}`, () =>
      Effect.gen(function*() {
        const error = yield* start(config)
        const message = `${field} is ${value}, but must be ${mustBe}`
        assert.deepStrictEqual([...error.problems], [{ field, value, message }])
        assert.deepStrictEqual([error.field, error.value], [field, value])
        assert.strictEqual(error.message, `pool "pool": ${message}`)
      }))
  }

  it.effect("a factory that is not one", () =>
    Effect.gen(function*() {
      const mustBe = "a ConnectionFactory, whose connect is an effect"
      for (
        const [factory, value, message] of [
          [undefined, "undefined", `factory is not given: it must be ${mustBe}`],
          [null, "null", `factory is null, but must be ${mustBe}`],
          [{}, "an object", `factory is an object, but must be ${mustBe}`],
          [{ connect: () => 1 }, "an object", `factory is an object, but must be ${mustBe}`]
        ] as const
      ) {
        const error = yield* PoolAssert.failsWith(ConnectionPool.make({ factory: factory as never }), "PoolConfigError")
        assert.deepStrictEqual([...error.problems], [{ field: "factory", value, message }])
      }
    }))

  it.effect("an unknown option, with the nearest name", () =>
    Effect.gen(function*() {
      const error = yield* start({ acquireTimout: 5 })
      assert.deepStrictEqual([...error.problems], [{
        field: "acquireTimout",
        value: "5",
        message: "acquireTimout is no option; did you mean acquireTimeout?"
      }])
    }))

  it.effect("an unknown option without a near name, with all names", () =>
    Effect.gen(function*() {
      const error = yield* start({ host: "db" })
      assert.include(error.message, `host is no option; the options are name, min, max, maxAbandoned, acquireTimeout`)
    }))

  it.effect("a contradiction beside other problems, unless one of its sides is a problem itself", () =>
    Effect.gen(function*() {
      const both = yield* start({ min: 5, max: 4, metrics: "no" })
      assert.deepStrictEqual(both.problems.map(({ message }) => message), [
        `metrics is "no", but must be true or false`,
        "min is 5, but must be at most max, which is 4"
      ])
      const one = yield* start({ min: 50, max: "60" })
      assert.deepStrictEqual(one.problems.map(({ field }) => field), ["max"])
    }))

  it.effect("all of them at once", () =>
    Effect.gen(function*() {
      const error = yield* start({ name: "orders", max: 0, idleTimeout: -1, lifetimeJitter: 2 })
      assert.strictEqual(
        error.message,
        `pool "orders": max is 0, but must be a whole number of at least 1; ` +
          `idleTimeout is -1, but must be a duration above zero, such as "5 seconds", or Infinity; ` +
          `lifetimeJitter is 2, but must be a number from 0 to below 1`
      )
    }))
})

describe("valid options", () => {
  it.effect("may be as small or as large as they like", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      const pool = yield* ConnectionPool.make({
        factory: faulty.factory,
        min: 1,
        max: 1,
        acquireTimeout: "0.001 millis",
        connectTimeout: Duration.days(365 * 100),
        idleTimeout: "Infinity",
        maxLifetime: Infinity,
        maxUses: 1,
        validateAfterIdle: 0,
        drainTimeout: 0
      })
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
    }))

  it("have the defaults that are documented", () => {
    assert.deepStrictEqual(settingsOf({}), {
      name: "pool",
      start: "eager",
      min: 0,
      max: 10,
      maxAbandoned: 1,
      acquireTimeoutMillis: 30_000,
      maxWaiting: Infinity,
      connectTimeoutMillis: 10_000,
      maxConnecting: Infinity,
      connectBackoffMillis: 100,
      connectBackoffMaxMillis: 2000,
      idleTimeoutMillis: 600_000,
      maxLifetimeMillis: 1_800_000,
      lifetimeJitter: 0.1,
      maxUses: Infinity,
      keepaliveMillis: Infinity,
      validateAfterIdleMillis: 1000,
      validateTimeoutMillis: 5000,
      resetTimeoutMillis: 5000,
      closeTimeoutMillis: 5000,
      drainTimeoutMillis: 10_000,
      leakThresholdMillis: 60_000,
      slowStatementMillis: Infinity,
      metrics: true
    })
  })

  it("raise the longest pause to the first one if only that is given", () => {
    const settings = settingsOf({ connectBackoff: "1 minute" })
    assert.strictEqual(settings.connectBackoffMaxMillis, 60_000)
  })
})
