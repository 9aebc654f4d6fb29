import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Redacted, Result } from "effect"
import { InMemoryConnection } from "effect-connection-pool"
import { FaultyFactory, Sweep } from "effect-connection-pool/testing"
import * as fc from "fast-check"
import { callTable } from "../src/internal/options/call.ts"
import { durationOf, toMillis } from "../src/internal/options/duration.ts"
import { fromEnvironment, variable } from "../src/internal/options/environment.ts"
import { nearest } from "../src/internal/options/nearest.ts"
import { poolTable } from "../src/internal/options/pool.ts"
import { check, type Rule, type Rules, type Table, table } from "../src/internal/options/rules.ts"
import { connectionTable } from "../src/sqlite/internal/options/connection.ts"
import { sqlitePoolTable } from "../src/sqlite/internal/options/pool.ts"

const tables: ReadonlyArray<readonly [name: string, table: Table<Rules>]> = [
  ["a pool", poolTable as unknown as Table<Rules>],
  ["a call", callTable as unknown as Table<Rules>],
  ["a SQLite pool", sqlitePoolTable as unknown as Table<Rules>],
  ["a SQLite connection", connectionTable as unknown as Table<Rules>]
]

/** What a checked option may be, said once more and in another way than the rules are checked. */
const isWithin = (rule: Rule, value: unknown): boolean => {
  switch (rule.kind) {
    case "text":
      return typeof value === "string"
    case "choice":
      return new Set<unknown>(rule.of).has(value)
    case "flag":
      return value === true || value === false
    case "fraction":
      return typeof value === "number" && value >= 0 && value < 1
    case "count":
    case "bytes": {
      const ceiling = rule.kind === "count" ? rule.ceiling : undefined
      const isEndless = value === Infinity && ceiling === undefined && !("finite" in rule)
      return typeof value === "number" && value >= rule.floor &&
        (isEndless || (Number.isInteger(value) && value <= (ceiling ?? value)))
    }
    case "secret":
      return Redacted.isRedacted(value)
    case "duration":
      return typeof value === "number" && (rule.zero === true ? value >= 0 : value > 0) &&
        (rule.finite !== true || value < Infinity)
    case "value":
      // The checked value is made of the accepted one: a list, or the text of an address.
      return rule.resolve === undefined || typeof value === "string" ? rule.accepts(value) : Array.isArray(value)
  }
}

/** Values that are likely to be taken for something, and any others. */
const values = fc.oneof(
  fc.constantFrom<unknown>(
    0,
    -0,
    1,
    -1,
    0.5,
    8,
    2 ** 31,
    Number.NaN,
    Infinity,
    -Infinity,
    "",
    " ",
    "5s",
    "1 second",
    "-1 second",
    "Infinity",
    "wal",
    "file:///functions.js",
    "eager",
    "file",
    "app.db",
    ":memory:",
    true,
    false,
    null,
    [1, 2],
    { seconds: 5 },
    { second: 5 },
    Duration.seconds(5),
    () => 1,
    Symbol("x"),
    5n,
    new Date(0),
    new Map()
  ),
  fc.anything()
)

describe("the options of", () => {
  for (const [name, table] of tables) {
    const fields = Object.keys(table.rules)
    it(`${name}, whatever they are, are checked completely or refused with reasons`, () => {
      const names = fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...fields) }, fc.string())
      let accepted = 0
      const property = (given: unknown) => {
        const { checked, problems } = check(table, given)
        for (const { field, message, value } of problems) {
          assert.isTrue(message.startsWith(field) && message.length > field.length, message)
          assert.strictEqual(typeof value, "string")
        }
        if (problems.length > 0) return
        accepted++
        for (const [field, rule] of Object.entries(table.rules)) {
          const value = checked[field]
          if (value === undefined) assert.isFalse("default" in rule)
          else assert.isTrue(isWithin(rule, value), `${field}: ${String(value)}`)
        }
      }
      const needed = "filename" in table.rules ? { filename: "app.db" } : {}
      fc.assert(
        fc.property(fc.dictionary(names, values, { maxKeys: 2 }), (given) => property({ ...needed, ...given })),
        {
          numRuns: 2000
        }
      )
      fc.assert(fc.property(fc.anything(), property))
      assert.isAbove(accepted, 100)
    })

    it.effect(
      `${name}, as they were read from variables, are options that are accepted, or an error that names them`,
      () =>
        Effect.gen(function*() {
          const texts = fc.oneof(
            fc.constantFrom(
              "0",
              "1",
              "-1",
              "8",
              "0.5",
              "yes",
              "OFF",
              "5s",
              "20ms",
              "1 minute",
              "soon",
              "lazy",
              "WAL",
              "64MiB"
            ),
            fc.string()
          )
          const samples = fc.sample(fc.dictionary(fc.constantFrom(...fields.map(variable)), texts, { maxKeys: 3 }), 200)
          let accepted = 0
          for (const sample of samples) {
            const env = "filename" in table.rules ? { FILENAME: "app.db", ...sample } : sample
            const read = yield* Effect.result(
              fromEnvironment(table, undefined).parse(ConfigProvider.fromEnv({ env }))
            )
            if (Result.isSuccess(read)) {
              accepted++
              assert.deepStrictEqual(check({ ...table, relations: [] }, read.success).problems, [])
            } else {
              assert.strictEqual(read.failure._tag, "ConfigError")
              for (const line of read.failure.cause.message.split("\n").filter((line) => !line.startsWith("  at "))) {
                assert.isTrue(Object.keys(env).some((name) => line.startsWith(`${name} `)), line)
              }
            }
          }
          assert.isAbove(accepted, 20)
        }),
      60_000
    )
  }
})

describe("a duration", () => {
  it("is written in every unit, short or long, with a space or without, in any case", () => {
    const units: ReadonlyArray<readonly [millis: number, names: ReadonlyArray<string>]> = [
      [1e-6, ["ns", "nano", "nanos", "nanosecond", "nanoseconds"]],
      [1e-3, ["us", "micro", "micros", "microsecond", "microseconds"]],
      [1, ["", "ms", "milli", "millis", "millisecond", "milliseconds"]],
      [1000, ["s", "sec", "secs", "second", "seconds"]],
      [60_000, ["m", "min", "mins", "minute", "minutes"]],
      [3_600_000, ["h", "hr", "hrs", "hour", "hours"]],
      [86_400_000, ["d", "day", "days"]],
      [604_800_000, ["w", "week", "weeks"]]
    ]
    for (const [millis, names] of units) {
      for (const name of names) {
        for (const text of [`20${name}`, `20 ${name}`, ` 20  ${name.toUpperCase()} `]) {
          assert.closeTo(durationOf(text) ?? Number.NaN, 20 * millis, millis / 1e6, text)
        }
      }
    }
  })

  it("means the same as in Effect's own grammar, if that accepts it", () => {
    const unit = fc.constantFrom("nanos", "micros", "millis", "seconds", "minutes", "hours", "days", "weeks", "second")
    const amount = fc.oneof(fc.integer({ min: 0, max: 100_000 }), fc.double({ min: 0, max: 1000, noNaN: true })).map(
      (amount) => amount.toFixed(3)
    )
    fc.assert(fc.property(amount, unit, (amount, unit) => {
      const text = `${amount} ${unit}`
      const expected = Duration.toMillis(Duration.fromInputUnsafe(text as Duration.Input))
      assert.closeTo(toMillis(text) ?? Number.NaN, expected, Math.max(expected * 1e-12, 1e-6), text)
    }))
    for (const input of [5, 5n, [1, 500], { hours: 1, minutes: 30, nanoseconds: 500 }, Duration.minutes(3), Infinity]) {
      const expected = Duration.toMillis(Duration.fromInputUnsafe(input as Duration.Input))
      assert.isTrue(toMillis(input) === expected || Math.abs(toMillis(input)! - expected) < 1e-6, String(input))
    }
  })

  it("is exact where its text is", () => {
    assert.deepStrictEqual(["2.3s", "1.1s", "0.07s", "0.1ms", "1.5 m"].map(durationOf), [2300, 1100, 70, 0.1, 90_000])
    assert.deepStrictEqual(["Infinity", " infinity ", "INFINITY"].map(durationOf), [Infinity, Infinity, Infinity])
  })

  it("is nothing else", () => {
    for (
      const text of ["", " ", "s", "5 sek", "5 s s", "1e3", "0x10", "1,5s", "five seconds", "NaN", "1h30m", "--5s"]
    ) {
      assert.isUndefined(durationOf(text), text)
    }
  })
})

describe("the option that was meant", () => {
  const known = Object.keys(poolTable.rules)
  it("is found by a letter too few, too many, wrong or exchanged, and by another spelling", () => {
    for (
      const [name, meant] of [
        ["acquireTimout", "acquireTimeout"],
        ["aquireTimeout", "acquireTimeout"],
        ["acquireTimeouts", "acquireTimeout"],
        ["acquireTimeoutMillis", "acquireTimeout"],
        ["ACQUIRE_TIMEOUT", "acquireTimeout"],
        ["max-waiting", "maxWaiting"],
        ["idelTimeout", "idleTimeout"],
        ["maxx", "max"],
        ["mni", "min"]
      ] as const
    ) assert.strictEqual(nearest(name, known), meant, name)
  })

  it("is not guessed", () => {
    for (const name of ["host", "connectionString", "", "x", "poolSize", "x".repeat(1_000_000)]) {
      assert.isUndefined(nearest(name, known), name.slice(0, 20))
    }
  })
})

describe("invalid options of what cannot fail", () => {
  const invalid = [null, 5, "x", { latency: -1 }, { latency: "soon" }, { stor: new Map() }, { store: {} }]

  it("of a connection in memory are thrown at once, with what is wrong", () => {
    for (const options of invalid) {
      assert.throws(() => InMemoryConnection.factory(options as never), TypeError, /^InMemoryConnection.factory: /)
    }
  })

  it.effect("of the testing kit are a defect, with what is wrong", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      const sweep = { setup: Effect.void, scenario: () => Effect.void, check: () => Effect.void }
      for (
        const [wrong, message] of [
          [FaultyFactory.make({ withoutReset: 1 } as never), "FaultyFactory.make: withoutReset is 1"],
          [FaultyFactory.make({ withoutRest: true } as never), "did you mean withoutReset?"],
          [faulty.connect.fail(1, { transient: "no" } as never), "fail: transient is \"no\""],
          [faulty.connect.fail(1, { transent: true } as never), "did you mean transient?"],
          [faulty.connect.hang(1, null as never), "hang: options is null"],
          [faulty.connect.delay("soon" as never), "delay: delay is \"soon\""],
          [Sweep.run({ ...sweep, budgets: [5, 3] }), "Sweep.run: budgets is an array"],
          [Sweep.run({ ...sweep, turns: 5 } as never), "Sweep.run: turns is 5"],
          [Sweep.run({ ...sweep, budget: [3, 3] } as never), "did you mean budgets?"]
        ] as ReadonlyArray<readonly [Effect.Effect<unknown>, string]>
      ) {
        const defect = yield* Effect.catchDefect(Effect.as(wrong, undefined), (defect) => Effect.succeed(defect))
        assert.instanceOf(defect, TypeError)
        assert.include(String(defect), message)
      }
    }))
})

describe("a table", () => {
  it("reads each option once, so that what was checked is what is used", () => {
    let reads = 0
    const { checked } = check(table({ max: { kind: "count", default: 1, floor: 1 } }), {
      get max() {
        return ++reads
      }
    })
    assert.deepStrictEqual([checked.max, reads], [1, 1])
  })
})
