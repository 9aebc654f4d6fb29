import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Result } from "effect"
import { PoolError } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import * as PoolSettings from "../../src/sqlite/internal/poolSettings.ts"

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

  for (const field of ["readOnly", "journalMode", "max", "min", "maxLifetime", "validateAfterIdle", "nonsense"]) {
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
        // Of a pool in general, but not of this one.
        DB_MAX: "7"
      }, "DB")
      const settings = Result.getOrThrow(PoolSettings.resolve(options))
      const { connection, idleTimeout, maxReadAge, name, pool, readers, walLimit } = settings
      assert.deepStrictEqual({ idleTimeout, maxReadAge, name, readers, walLimit }, {
        idleTimeout: 3_600_000,
        maxReadAge: 60_000,
        name: "app",
        readers: 8,
        walLimit: 2_000_000
      })
      assert.deepStrictEqual(Object.keys(pool), [
        "acquireTimeout",
        "closeTimeout",
        "drainTimeout",
        "leakThreshold",
        "maxWaiting"
      ])
      assert.deepStrictEqual({ ...connection, filename: "" }, {
        filename: "",
        isMemory: false,
        isReadOnly: false,
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
        lasting: undefined,
        onOpen: undefined
      })
    }))

  it.effect("needs no more than the file, with a prefix or without", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* read({ FILENAME: ":memory:" }), { filename: ":memory:" })
      assert.deepStrictEqual(yield* read({ APP_FILENAME: "a.db" }, "APP"), { filename: "a.db" })
    }))

  it.effect("fails without a file, and where a value is not what it should be", () =>
    Effect.gen(function*() {
      for (const env of [{}, { FILENAME: "a.db", READERS: "many" }, { FILENAME: "a.db", TEMP_STORE: "moon" }]) {
        const error = yield* Effect.flip(read(env))
        assert.strictEqual(error._tag, "ConfigError")
      }
    }))
})
