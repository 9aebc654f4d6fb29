import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, type Layer, Option, Result } from "effect"
import { PoolError } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import * as PoolSettings from "../../src/sqlite/internal/options/pool.ts"

const problemsOf = (options: object) => {
  const resolved = PoolSettings.resolve(options)
  return Result.isFailure(resolved) ? resolved.failure.problems : []
}

describe("the options of a SQLite pool", () => {
  it("have the defaults that they say", () => {
    const { connection, idleTimeout, maxReadAge, name, readers, walLimit } = Result.getOrThrow(
      PoolSettings.resolve({ filename: "app.db" })
    )
    assert.deepStrictEqual(
      { idleTimeout, maxReadAge, name, readers, walLimit },
      { idleTimeout: 600_000, maxReadAge: 300_000, name: "sqlite", readers: 4, walLimit: 67_108_864 }
    )
    assert.deepStrictEqual(
      [connection.journalMode, connection.synchronous, connection.foreignKeys, connection.busyTimeout],
      ["wal", "normal", true, 5000]
    )
  })

  const path = "a path or \":memory:\", not a URI"
  const duration = "a duration above zero, such as \"5 seconds\", or Infinity"
  const durationOrZero = "a duration of zero or more, such as \"5 seconds\", or Infinity"
  const cases: ReadonlyArray<readonly [field: string, value: unknown, mustBe: string]> = [
    ["filename", "", path],
    ["filename", "file:a?mode=memory", path],
    ["readers", 0, "a whole number of at least 1"],
    ["readers", 1.5, "a whole number of at least 1"],
    ["readers", Infinity, "a whole number of at least 1"],
    ["walLimit", 1024, "a whole number of at least 1048576, or Infinity"],
    ["walLimit", Number.NaN, "a whole number of at least 1048576, or Infinity"],
    ["maxReadAge", 0, duration],
    ["maxReadAge", "soon", duration],
    ["busyTimeout", -1, durationOrZero],
    ["synchronous", "never", "\"off\", \"normal\", \"full\" or \"extra\""],
    ["cacheSize", 0, "a whole number from 1 to 2147483647"],
    ["acquireTimeout", 0, duration],
    ["maxWaiting", 0, "a whole number of at least 1, or Infinity"],
    ["idleTimeout", -1, duration],
    ["drainTimeout", -1, durationOrZero],
    ["name", " ", "text that is not empty"],
    ["transformResultNames", "upper", "a function from name to name"],
    ["transformQueryNames", 1, "a function from name to name"],
    ["spanAttributes", "none", "a record"]
  ]
  for (const [field, value, mustBe] of cases) {
    it(`are refused with ${field} ${String(value)}`, () => {
      const [problem, ...rest] = problemsOf({ filename: "app.db", [field]: value })
      const shown = typeof value === "string" ? JSON.stringify(value) : String(value)
      assert.deepStrictEqual(rest, [])
      assert.deepStrictEqual(problem, { field, value: shown, message: `${field} is ${shown}, but must be ${mustBe}` })
    })
  }

  for (const field of ["journalMode", "max", "min", "maxLifetime", "validateAfterIdle", "nonsense"]) {
    it(`do not include ${field}, and a pool is not made without knowing it`, () => {
      const [problem] = problemsOf({ filename: "app.db", [field]: undefined })
      assert.strictEqual(problem?.field, field)
      assert.include(problem?.message, `${field} is no option; `)
    })
  }

  it.effect("are refused with all that is wrong with them, before anything is opened", () =>
    Effect.gen(function*() {
      const options = {
        filename: "/missing/app.db",
        name: "app",
        readers: 0,
        walLimit: 1,
        busyTimeout: "x" as "1 second"
      }
      const error = yield* PoolAssert.failsWith(Effect.scoped(SqlitePool.make(options)), "PoolConfigError")
      assert.instanceOf(error, PoolError.PoolConfigError)
      assert.deepStrictEqual(error.problems.map((problem) => problem.field), ["busyTimeout", "readers", "walLimit"])
      assert.strictEqual(
        error.message,
        `pool "app": busyTimeout is "x", but must be ${durationOrZero}; readers is 0, but must be a ` +
          "whole number of at least 1; walLimit is 1, but must be a whole number of at least 1048576, or Infinity"
      )
    }))
})

describe("the configuration", () => {
  const read = (env: Record<string, string>, prefix?: string) =>
    SqlitePool.config(prefix).parse(ConfigProvider.fromEnv({ env }))

  it.effect("gives every option", () =>
    Effect.gen(function*() {
      const options = yield* read({
        DB_FILENAME: "app.db",
        DB_NAME: "app",
        DB_READERS: "8",
        DB_WAL_LIMIT: "2000000",
        DB_MAX_READ_AGE: "1 minute",
        DB_OBSERVE_INTERVAL: "20 millis",
        DB_BUSY_TIMEOUT: "2 seconds",
        DB_SYNCHRONOUS: "full",
        DB_FOREIGN_KEYS: "false",
        DB_TRUSTED_SCHEMA: "true",
        DB_JOURNAL_SIZE_LIMIT: "1000",
        DB_WAL_AUTOCHECKPOINT: "500",
        DB_CACHE_SIZE: "100",
        DB_TEMP_STORE: "file",
        DB_PAGE_SIZE: "8192",
        DB_AUTO_VACUUM: "full",
        DB_STATEMENT_CACHE_SIZE: "10",
        DB_ACQUIRE_TIMEOUT: "3 seconds",
        DB_MAX_WAITING: "100",
        DB_IDLE_TIMEOUT: "1 hour",
        DB_CLOSE_TIMEOUT: "1 second",
        DB_DRAIN_TIMEOUT: "4 seconds",
        DB_LEAK_THRESHOLD: "5 seconds",
        DB_SLOW_STATEMENT: "0.25 s",
        // Of a pool in general, but not of this one.
        DB_MAX: "7"
      }, "DB")
      const settings = Result.getOrThrow(PoolSettings.resolve(options))
      const { connection, idleTimeout, maxReadAge, name, observeInterval, pool, readers, walLimit } = settings
      assert.deepStrictEqual({ idleTimeout, maxReadAge, name, observeInterval, readers, walLimit }, {
        idleTimeout: 3_600_000,
        maxReadAge: 60_000,
        name: "app",
        observeInterval: 20,
        readers: 8,
        walLimit: 2_000_000
      })
      assert.deepStrictEqual(Object.keys(pool), [
        "acquireTimeout",
        "closeTimeout",
        "drainTimeout",
        "leakThreshold",
        "maxWaiting",
        "slowStatement"
      ])
      assert.strictEqual(pool.slowStatement, 250)
      assert.deepStrictEqual({ ...connection, filename: "" }, {
        filename: "",
        isMemory: false,
        isReadOnly: false,
        isImmutable: false,
        journalMode: "wal",
        synchronous: "full",
        foreignKeys: false,
        trustedSchema: true,
        journalSizeLimit: 1000,
        walAutocheckpoint: 500,
        cacheSize: 100,
        tempStore: "file",
        pageSize: 8192,
        autoVacuum: "full",
        busyTimeout: 2000,
        statementCacheSize: 10,
        extensions: undefined,
        functions: undefined,
        lasting: undefined,
        onOpen: undefined
      })
    }))

  it.effect("needs no more than the file, with a prefix or without", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* read({ FILENAME: ":memory:" }), { filename: ":memory:" })
      assert.deepStrictEqual(yield* read({ APP_FILENAME: "a.db" }, "APP"), { filename: "a.db" })
    }))

  const message = (env: Record<string, string>) =>
    read(env, "DB").pipe(
      Effect.as([]),
      Effect.catchTag("ConfigError", (error) => Effect.succeed(error.cause.message.split("\n")))
    )

  it.effect("says that the file is not set, and what it must be", () =>
    Effect.gen(function*() {
      const missing = "DB_FILENAME is not set: it must be a path or \":memory:\", not a URI"
      assert.deepStrictEqual(yield* message({ FILENAME: "other.db" }), [missing, "  at [\"DB\"][\"FILENAME\"]"])
      assert.deepStrictEqual(yield* message({ DB_READERS: "8" }), [missing])
      assert.deepStrictEqual(yield* message({ DB_READERS: "0" }), [
        missing,
        "DB_READERS is 0, but must be a whole number of at least 1"
      ])
    }))

  it.effect("is no configuration if nothing of it is set, and an error if something is", () =>
    Effect.gen(function*() {
      const config = Config.option(SqlitePool.config("DB"))
      const from = (env: Record<string, string>) => config.parse(ConfigProvider.fromEnv({ env }))
      assert.isTrue(Option.isNone(yield* from({ DATABASE: "x" })))
      assert.deepStrictEqual(yield* from({ DB_FILENAME: "a.db" }), Option.some({ filename: "a.db" }))
      for (const env of [{ DB_READERS: "8" }, { DB_READERS: "0" }, { DB_FILENAME: " " }]) {
        assert.strictEqual((yield* Effect.flip(from(env)))._tag, "ConfigError")
      }
    }))

  it.effect("names a variable whose source gives no text, and does not take it for one that is not set", () =>
    Effect.gen(function*() {
      // The types of a source do not allow that, but it may be written in JavaScript.
      const source = ConfigProvider.make((path) =>
        Effect.succeed(
          path.at(-1) === "FILENAME"
            ? ConfigProvider.makeValue(5 as unknown as string)
            : path.at(-1) === "READERS"
            ? ConfigProvider.makeValue("0")
            : undefined
        )
      )
      const config = SqlitePool.config("DB")
      const reads: ReadonlyArray<Effect.Effect<unknown, Config.ConfigError>> = [
        config.parse(source),
        Config.option(config).parse(source)
      ]
      for (const read of reads) {
        const caught = Effect.catchTag(
          read,
          "ConfigError",
          (error) => Effect.succeed(error.cause.message.split("\n"))
        )
        assert.deepStrictEqual(yield* caught, [
          "DB_FILENAME cannot be read: Expected string",
          "  at [\"DB\"][\"FILENAME\"]",
          "DB_READERS is 0, but must be a whole number of at least 1"
        ])
      }
    }))

  it.effect("reports all variables that are wrong, those of the connection and of the pool alike", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* message({
          DB_FILENAME: "file:a.db",
          DB_READERS: "0",
          DB_BUSY_TIMEOUT: "soon",
          DB_ACQUIRE_TIMEOUT: "0s",
          DB_TEMP_STORE: "moon",
          DB_FOREIGN_KEYS: "perhaps",
          DB_WAL_LIMIT: "1KiB",
          DB_PAGE_SIZE: "1000"
        }),
        [
          "DB_FILENAME is \"file:a.db\", but must be a path or \":memory:\", not a URI",
          "DB_FOREIGN_KEYS is \"perhaps\", but must be true or false",
          "DB_TEMP_STORE is \"moon\", but must be \"memory\" or \"file\"",
          "DB_PAGE_SIZE is 1000, but must be 512, 1024, 2048, 4096, 8192, 16384, 32768 or 65536",
          "DB_BUSY_TIMEOUT is \"soon\", but must be a duration of zero or more, such as \"5 seconds\", or Infinity",
          "DB_ACQUIRE_TIMEOUT is \"0s\", but must be a duration above zero, such as \"5 seconds\", or Infinity",
          "DB_READERS is 0, but must be a whole number of at least 1",
          "DB_WAL_LIMIT is 1024, but must be a whole number of at least 1048576, or Infinity"
        ]
      )
    }))

  it.effect("is written in one way for the connection and for the pool", () =>
    Effect.gen(function*() {
      const options = yield* read({
        FILENAME: " app.db ",
        ACQUIRE_TIMEOUT: "5s",
        BUSY_TIMEOUT: "5s",
        FOREIGN_KEYS: "OFF",
        TRUSTED_SCHEMA: "Yes",
        SYNCHRONOUS: "FULL",
        WAL_LIMIT: "64 MiB",
        JOURNAL_SIZE_LIMIT: "1MB",
        CACHE_SIZE: "1_000",
        PAGE_SIZE: "4096"
      })
      assert.deepStrictEqual(options, {
        filename: "app.db",
        acquireTimeout: 5000,
        busyTimeout: 5000,
        foreignKeys: false,
        trustedSchema: true,
        synchronous: "full",
        walLimit: 67_108_864,
        journalSizeLimit: 1_000_000,
        cacheSize: 1000,
        pageSize: 4096
      } as SqlitePool.Options)
    }))

  it.effect("does not read variables of other options, even if they are invalid", () =>
    Effect.gen(function*() {
      const env = { DB_FILENAME: "a.db", DB_MAX: "0", DB_MIN: "x", DB_PASSWORD: "secret", DB_HEALTH_INTERVAL: "often" }
      assert.deepStrictEqual(yield* read(env, "DB"), { filename: "a.db" })
    }))
})

describe("a layer with options from the configuration", () => {
  const start = <E>(
    layer: Layer.Layer<SqlitePool.SqlitePool, E>,
    env: Record<string, string>
  ): Effect.Effect<string, E> =>
    Effect.map(SqlitePool.SqlitePool, ({ filename, name }) => `${name} is ${filename}`).pipe(
      Effect.provide(layer),
      Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))
    )

  it.effect("has all of them under a prefix, or each from where it is told", () =>
    Effect.gen(function*() {
      const all = SqlitePool.layerConfig(SqlitePool.config("DB"))
      assert.strictEqual(yield* start(all, { DB_FILENAME: ":memory:", DB_NAME: "orders" }), "orders is :memory:")
      const each = SqlitePool.layerConfig({ filename: Config.String("FILE"), name: Config.succeed("archive") })
      assert.strictEqual(yield* start(each, { FILE: ":memory:" }), "archive is :memory:")
    }))

  it.effect("fails with a ConfigError for all variables, and with a PoolConfigError for values of the application", () =>
    Effect.gen(function*() {
      const wrong = start(SqlitePool.layerConfig(SqlitePool.config("DB")), { DB_READERS: "0" })
      const lines = yield* Effect.catchTag(wrong, "ConfigError", (error) => Effect.succeed(error.cause.message))
      assert.include(lines, "DB_FILENAME is not set")
      assert.include(lines, "DB_READERS is 0")
      const two = SqlitePool.layerConfig({ filename: Config.String("FILE"), readers: Config.Int("READERS") })
      const both = yield* Effect.catchTag(
        start(two, { READERS: "x" }),
        "ConfigError",
        ({ message }) => Effect.succeed(message)
      )
      assert.include(both, "[\"FILE\"]")
      assert.include(both, "[\"READERS\"]")
      const value = yield* Effect.catchTag(
        start(two, { FILE: ":memory:", READERS: "0" }),
        "PoolConfigError",
        (error) => Effect.succeed(error.message)
      )
      assert.strictEqual(value, "pool \"sqlite\": readers is 0, but must be a whole number of at least 1")
    }))

  it.effect("is there for a service of its own", () =>
    Effect.gen(function*() {
      class Orders extends SqlitePool.Service<Orders>()("test/Orders") {}
      const name = yield* Effect.map(Orders, ({ name }) => name).pipe(
        Effect.provide(Orders.layerConfig(SqlitePool.config())),
        Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: { FILENAME: ":memory:", NAME: "orders" } })))
      )
      assert.strictEqual(name, "orders")
    }))
})
