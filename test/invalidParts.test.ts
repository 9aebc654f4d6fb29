import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, type Scope } from "effect"
import { ConnectionPool, HealthChecker, PoolConfig } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"

const messagesOf = (making: Effect.Effect<unknown, unknown, Scope.Scope>) =>
  making.pipe(
    Effect.flip,
    Effect.map((error) => {
      assert.strictEqual((error as { readonly _tag?: string })._tag, "PoolConfigError")
      return (error as { readonly problems: ReadonlyArray<{ readonly message: string }> }).problems.map(({ message }) =>
        message
      )
    })
  )

describe("a part of a factory that is no function is refused, and nothing is opened:", () => {
  const parts = [
    "isAlive",
    "validate",
    "reset",
    "needsReset",
    "isInTransaction",
    "beginLease",
    "endLease",
    "unfinished",
    "judge",
    "isTransient"
  ]
  for (const part of parts) {
    it.effect(part, () =>
      Effect.gen(function*() {
        let opened = 0
        const connect = Effect.sync(() => ++opened)
        const making = ConnectionPool.make({ factory: { connect, [part]: 7 } as never, min: 1 })
        assert.deepStrictEqual(yield* messagesOf(making), [`factory.${part} is 7, but must be a function`])
        assert.strictEqual(opened, 0)
        yield* ConnectionPool.make({ factory: { connect, [part]: undefined } as never, min: 1 })
        assert.strictEqual(opened, 1)
      }))
  }
})

const message = (shown: string) => `pool is ${shown}, but must be a ConnectionPool, or a record of several`

describe("what a health checker cannot watch is refused", () => {
  const cases: ReadonlyArray<readonly [unknown, string]> = [
    [undefined, message("undefined")],
    [null, message("null")],
    [7, message("7")],
    ["pool", message("\"pool\"")],
    [{}, message("an object")],
    [{ name: "p" }, message("an object")],
    [{ name: "p", sides: {} }, "sides is an object, but must be a record with at least one pool"],
    [{ name: "p", sides: null }, "sides is null, but must be a record with at least one pool"],
    [{ name: "p", sides: { writer: null } }, message("an object")],
    [{ name: "p", sides: { writer: {} } }, message("an object")]
  ]
  for (const [index, [given, expected]] of cases.entries()) {
    it.effect(`${index}: ${expected}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* messagesOf(HealthChecker.make(given as never)), [expected])
      }))
  }

  it.effect("also where several pools have no name together", () =>
    Effect.gen(function*() {
      const pool = yield* ConnectionPool.make({ factory: { connect: Effect.succeed({}) } })
      assert.deepStrictEqual(yield* messagesOf(HealthChecker.make({ sides: { a: pool } } as never)), [
        "name is undefined, but must be text that is not empty"
      ])
    }))
})

describe("the prefix of variables", () => {
  for (
    const { config, name } of [
      { name: "PoolConfig", config: PoolConfig.config as (prefix?: unknown) => Effect.Effect<object, unknown> },
      { name: "HealthChecker", config: HealthChecker.config as (prefix?: unknown) => Effect.Effect<object, unknown> },
      { name: "SqlitePool", config: SqlitePool.config as (prefix?: unknown) => Effect.Effect<object, unknown> }
    ]
  ) {
    it.effect(`may be empty, which is none (${name})`, () =>
      Effect.gen(function*() {
        const env = {
          MAX: "3",
          TIMEOUT: "3 seconds",
          FILENAME: "a.db",
          _MAX: "4",
          _TIMEOUT: "4 seconds",
          _FILENAME: "b.db"
        }
        const read = (prefix?: string) =>
          Effect.provideService(config(prefix), ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env }))
        assert.deepStrictEqual(yield* read(""), yield* read())
      }))

    it(`that is no text is a TypeError (${name})`, () => {
      for (const prefix of [7, null, {}, true]) {
        assert.throws(() => config(prefix), TypeError, /^the prefix of the variables is .+, but must be text$/)
      }
    })
  }
})

describe("spanAttributes that are no record are refused:", () => {
  for (const [how, given] of Object.entries({ date: new Date(0), map: new Map(), array: [], number: 7 })) {
    it.effect(how, () =>
      Effect.gen(function*() {
        const messages = yield* messagesOf(SqlitePool.make({ filename: ":memory:", spanAttributes: given as never }))
        assert.match(messages.join(), /^spanAttributes is .+, but must be a record$/)
      }))
  }
})
