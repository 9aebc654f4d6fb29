import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Duration, Effect, Layer, Option } from "effect"
import { ConnectionPool, HealthChecker, InMemoryConnection, PoolConfig } from "effect-connection-pool"
import { unwrap } from "../src/internal/options/environment.ts"
import { settingsOf } from "./support/options.ts"

describe("options from the environment", () => {
  const read = (env: Record<string, string>, prefix?: string) =>
    Effect.provideService(
      PoolConfig.config(prefix),
      ConfigProvider.ConfigProvider,
      ConfigProvider.fromEnv({ env })
    )

  it.effect("are read under a prefix, each of them", () =>
    Effect.gen(function*() {
      const config = yield* read({
        DB_NAME: "orders",
        DB_MIN: "2",
        DB_MAX: "20",
        DB_ACQUIRE_TIMEOUT: "5 seconds",
        DB_MAX_WAITING: "100",
        DB_CONNECT_TIMEOUT: "1 second",
        DB_MAX_CONNECTING: "3",
        DB_CONNECT_BACKOFF: "50 millis",
        DB_CONNECT_BACKOFF_MAX: "2 seconds",
        DB_IDLE_TIMEOUT: "1 minute",
        DB_MAX_LIFETIME: "1 hour",
        DB_LIFETIME_JITTER: "0.25",
        DB_MAX_USES: "1000",
        DB_KEEPALIVE: "30 seconds",
        DB_VALIDATE_AFTER_IDLE: "10 seconds",
        DB_VALIDATE_TIMEOUT: "3 seconds",
        DB_RESET_TIMEOUT: "4 seconds",
        DB_CLOSE_TIMEOUT: "6 seconds",
        DB_DRAIN_TIMEOUT: "7 seconds",
        DB_LEAK_THRESHOLD: "Infinity",
        DB_SLOW_STATEMENT: "250ms",
        DB_START: "lazy",
        DB_METRICS: "off",
        DB_MAX_ABANDONED: "0",
        OTHER_MAX: "1"
      }, "DB")
      assert.deepStrictEqual(settingsOf(config), {
        name: "orders",
        start: "lazy",
        min: 2,
        max: 20,
        maxAbandoned: 0,
        acquireTimeoutMillis: 5000,
        maxWaiting: 100,
        connectTimeoutMillis: 1000,
        maxConnecting: 3,
        connectBackoffMillis: 50,
        connectBackoffMaxMillis: 2000,
        idleTimeoutMillis: 60_000,
        maxLifetimeMillis: 3_600_000,
        lifetimeJitter: 0.25,
        maxUses: 1000,
        keepaliveMillis: 30_000,
        validateAfterIdleMillis: 10_000,
        validateTimeoutMillis: 3000,
        resetTimeoutMillis: 4000,
        closeTimeoutMillis: 6000,
        drainTimeoutMillis: 7000,
        leakThresholdMillis: Infinity,
        slowStatementMillis: 250,
        metrics: false
      })
    }))

  it.effect("are left out if they are not set", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* read({}), {})
      assert.deepStrictEqual(yield* read({ MAX: "7" }), { max: 7 })
    }))

  it.effect("that cannot be read are an error with the name of the variable", () =>
    Effect.gen(function*() {
      for (
        const [name, value] of [
          ["DB_MAX", "many"],
          ["DB_ACQUIRE_TIMEOUT", "a while"],
          ["DB_START", "later"]
        ] as const
      ) {
        const error = Option.getOrThrow(yield* Effect.option(Effect.flip(read({ [name]: value }, "DB"))))
        assert.include(error.message.replaceAll(/[^A-Za-z]+/g, "_"), name)
      }
    }))

  it.effect("that are invalid are all in one error, each with its name, its value and the allowed values", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(read({
        DB_MAX: "0",
        DB_MIN: "two",
        DB_NAME: "  ",
        DB_ACQUIRE_TIMEOUT: "a while",
        DB_IDLE_TIMEOUT: "0 seconds",
        DB_LIFETIME_JITTER: "1.5",
        DB_METRICS: "maybe",
        DB_START: "later",
        DB_MAX_USES: "100"
      }, "DB"))
      assert.strictEqual(error._tag, "ConfigError")
      assert.deepStrictEqual(error.cause.message.split("\n"), [
        `DB_NAME is "", but must be text that is not empty`,
        `DB_MIN is "two", but must be a whole number of at least 0`,
        `DB_MAX is 0, but must be a whole number of at least 1`,
        `DB_ACQUIRE_TIMEOUT is "a while", but must be a duration above zero, such as "5 seconds", or Infinity`,
        `DB_IDLE_TIMEOUT is "0 seconds", but must be a duration above zero, such as "5 seconds", or Infinity`,
        `DB_LIFETIME_JITTER is 1.5, but must be a number from 0 to below 1`,
        `DB_START is "later", but must be "eager" or "lazy"`,
        `DB_METRICS is "maybe", but must be true or false`
      ])
    }))

  it.effect("are one failure of their source if that cannot be read at all", () =>
    Effect.gen(function*() {
      const failure = new ConfigProvider.SourceError({ message: "no file" })
      const source = ConfigProvider.make(() => Effect.fail(failure))
      const error = yield* Effect.flip(PoolConfig.config("DB").parse(source))
      assert.strictEqual(error.cause, failure)
    }))

  it.effect("are not taken for numbers where a name or a flag is asked for", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(read({ NAME: "7", START: "1", METRICS: "2" }))
      assert.strictEqual(error._tag, "ConfigError")
      assert.deepStrictEqual(error.cause.message.split("\n"), [
        `START is "1", but must be "eager" or "lazy"`,
        `METRICS is "2", but must be true or false`
      ])
      assert.strictEqual((yield* read({ NAME: "7" })).name, "7")
    }))

  it.effect("may be written the way people write them", () =>
    Effect.gen(function*() {
      const config = yield* read({
        ACQUIRE_TIMEOUT: "500ms",
        IDLE_TIMEOUT: " 1.5 m ",
        MAX_LIFETIME: "2h",
        LEAK_THRESHOLD: "90 s",
        CONNECT_TIMEOUT: "3 seconds",
        KEEPALIVE: "1d",
        MAX_WAITING: "Infinity",
        METRICS: "TRUE"
      })
      const settings = settingsOf(config)
      const {
        acquireTimeoutMillis,
        connectTimeoutMillis,
        idleTimeoutMillis,
        keepaliveMillis,
        leakThresholdMillis,
        maxLifetimeMillis,
        maxWaiting
      } = settings
      assert.deepStrictEqual(
        [
          acquireTimeoutMillis,
          idleTimeoutMillis,
          maxLifetimeMillis,
          leakThresholdMillis,
          connectTimeoutMillis,
          keepaliveMillis,
          maxWaiting
        ],
        [500, 90_000, 7_200_000, 90_000, 3000, 86_400_000, Infinity]
      )
    }))

  it.effect("may be numbers with a sign, underscores, a point or an exponent, and no other texts", () =>
    Effect.gen(function*() {
      const maxOf = (text: string) => Effect.map(read({ MAX: text }), ({ max }) => max)
      const numbers = { "+5": 5, "1_000": 1000, "20.": 20, "1e3": 1000, "1E+2": 100, "2000e-2": 20, " 7 ": 7 }
      for (const [text, max] of Object.entries(numbers)) assert.strictEqual(yield* maxOf(text), max, text)
      for (const text of ["1e", "e5", "1eX", "1x", "x1", ".", "0x10", "1e5.5", "5 5", "--5", "1,5", "1e++5"]) {
        const message = yield* Effect.catchTag(maxOf(text), "ConfigError", ({ cause }) => Effect.succeed(cause.message))
        assert.strictEqual(message, `MAX is ${JSON.stringify(text)}, but must be a whole number of at least 1`)
      }
      for (const text of [".25", "0.25", "25e-2", "2.5E-1"]) {
        assert.strictEqual((yield* read({ LIFETIME_JITTER: text })).lifetimeJitter, 0.25, text)
      }
    }))

  it.effect("that contradict each other are an error if both are set, with the names of the variables", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(read({ DB_MIN: "5", DB_MAX: "4", DB_CONNECT_BACKOFF: "10s" }, "DB"))
      assert.strictEqual(error.cause.message, "DB_MIN is 5, but must be at most DB_MAX, which is 4")
      // `max` may be given in code.
      assert.deepStrictEqual(yield* read({ DB_MIN: "20" }, "DB"), { min: 20 })
    }))

  it.effect("come from other sources too, and a value that is no text is reported", () =>
    Effect.gen(function*() {
      const from = (root: unknown) =>
        PoolConfig.config("db").parse(ConfigProvider.fromUnknown(root).pipe(ConfigProvider.constantCase))
      const provider = ConfigProvider.fromUnknown({ DB: { MAX: 5, METRICS: false, IDLE_TIMEOUT: "1m" } })
      assert.deepStrictEqual(yield* PoolConfig.config("DB").parse(provider), {
        max: 5,
        metrics: false,
        idleTimeout: 60_000
      })
      assert.deepStrictEqual(yield* from({}), {})
      const records = ConfigProvider.fromUnknown({ DB: { MAX: { a: 1 }, MIN: -1 } })
      const error = yield* Effect.flip(PoolConfig.config("DB").parse(records))
      assert.include(error.message, "DB_MIN is -1")
    }))
})

describe("a layer with options from the configuration", () => {
  class Sessions extends ConnectionPool.Service<Sessions, InMemoryConnection.InMemoryConnection>()("test/Sessions") {}
  class Health extends HealthChecker.Service<Health>()("test/Health") {}
  const factory = InMemoryConnection.factory()

  const maxOf = <E>(layer: Layer.Layer<Sessions, E>, env: Record<string, string>): Effect.Effect<number, E> =>
    Effect.flatMap(Sessions, ({ stats }) => Effect.map(stats, ({ max }) => max)).pipe(
      Effect.provide(layer),
      Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))
    )

  it.effect("reads all of them under a prefix, or each from its own variable", () =>
    Effect.gen(function*() {
      const all = Sessions.layerConfig({ factory, config: PoolConfig.config("SESSIONS") })
      assert.strictEqual(yield* maxOf(all, { SESSIONS_MAX: "3" }), 3)
      const each = Sessions.layerConfig({ factory, config: { max: Config.Int("MOST"), name: Config.succeed("s") } })
      assert.strictEqual(yield* maxOf(each, { MOST: "4" }), 4)
      const made = Sessions.layerConfig({ factory: Config.map(Config.String("URL"), () => factory), config: {} })
      assert.strictEqual(yield* maxOf(made, { URL: "x" }), 10)
      const error = yield* Effect.catchTag(maxOf(made, {}), "ConfigError", ({ message }) => Effect.succeed(message))
      assert.include(String(error), "URL")
    }))

  it.effect("takes plain values as they are, at any depth", () =>
    Effect.gen(function*() {
      const wait = Duration.seconds(5)
      const options = unwrap<Record<string, unknown>>({
        max: 6,
        wait,
        inner: { rename: settingsOf, least: Config.Int("LEAST"), none: undefined }
      } as never)
      const read = yield* options.parse(ConfigProvider.fromEnv({ env: { LEAST: "2" } }))
      assert.deepStrictEqual(read, { max: 6, wait, inner: { rename: settingsOf, least: 2 } })
      assert.strictEqual(read["wait"], wait)
    }))

  it.effect("tells of all that could not be read, and why", () =>
    Effect.gen(function*() {
      const options = unwrap<Record<string, unknown>>({ least: Config.Int("LEAST"), most: Config.Int("MOST") } as never)
      const env = ConfigProvider.fromEnv({ env: { MOST: "many" } })
      const source = ConfigProvider.make((path) =>
        path[0] === "LEAST" ? Effect.fail(new ConfigProvider.SourceError({ message: "no file" })) : env.load(path)
      )
      const message = yield* Effect.catchTag(options.parse(source), "ConfigError", ({ message }) =>
        Effect.succeed(message))
      assert.include(message, "no file")
      assert.include(message, `at ["MOST"]`)
    }))

  it.effect("fails with all problems, by kind", () =>
    Effect.gen(function*() {
      const all = Sessions.layerConfig({ factory, config: PoolConfig.config("S") })
      const read = yield* Effect.catchTag(maxOf(all, { S_MAX: "0" }), "ConfigError", (error) =>
        Effect.succeed(error.cause.message))
      assert.strictEqual(read, "S_MAX is 0, but must be a whole number of at least 1")
      // Known only together with the default of the other.
      const bounds = yield* Effect.catchTag(maxOf(all, { S_MIN: "20" }), "PoolConfigError", ({ message }) =>
        Effect.succeed(message))
      assert.strictEqual(bounds, `pool "pool": min is 20, but must be at most max, which is 10`)
    }))

  it.effect("exists for a health checker too", () =>
    Effect.gen(function*() {
      const layer = Health.layerConfig(Sessions, HealthChecker.config("HEALTH")).pipe(
        Layer.provide(Sessions.layer({ factory }))
      )
      const status = (env: Record<string, string>) =>
        Effect.flatMap(Health, ({ report }) => Effect.map(report, ({ status }): string => status)).pipe(
          Effect.provide(layer),
          Effect.catchTag("ConfigError", (error) => Effect.succeed(error.cause.message)),
          Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))
        )
      assert.strictEqual(yield* status({ HEALTH_INTERVAL: "1s" }), "healthy")
      assert.strictEqual(
        yield* status({ HEALTH_CONCURRENCY: "0" }),
        "HEALTH_CONCURRENCY is 0, but must be a whole number of at least 1"
      )
    }))
})
