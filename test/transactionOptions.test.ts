import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { TransactionError } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { BeginTransaction } from "effect/sql/SqlClient"
import { make, makeWith } from "./support/words.ts"

const { failsWith } = PoolAssert

/** What is wrong with the options of a transaction, each with the field that it is said of. */
const problems = <A, E extends { readonly _tag: string }>(
  transaction: Effect.Effect<A, E | TransactionError.TransactionOptionsError>
) =>
  Effect.map(
    failsWith(transaction as Effect.Effect<A, TransactionError.TransactionOptionsError>, "TransactionOptionsError"),
    (error) => error.problems.map(({ field, message, value }) => [field, value, message])
  )

describe("the options of a transaction inside another", () => {
  it.effect("may name what that one is, and every difference from it is told", () =>
    Effect.gen(function*() {
      const { transaction, words } = yield* make
      type Given = Parameters<typeof transaction>[1]
      const inside = (outer: Given, inner: Given) => transaction(transaction(Effect.succeed("ran"), inner), outer)
      assert.strictEqual(yield* inside({ isolation: "loose" }, { isolation: "loose", readOnly: false }), "ran")
      assert.strictEqual(yield* inside({ readOnly: true }, { isolation: "loose", readOnly: true }), "ran")
      assert.strictEqual(yield* inside({ isolation: "loose" }, {}), "ran")
      words.said.length = 0
      assert.deepStrictEqual(yield* problems(inside({}, { isolation: "loose" })), [
        [
          "isolation",
          "\"loose\"",
          "isolation is \"loose\", but must be \"strict\", which the transaction around it has"
        ]
      ])
      assert.deepStrictEqual(yield* problems(inside({ readOnly: true }, { readOnly: false })), [
        ["readOnly", "false", "readOnly is false, but must be true, as for the transaction around it"]
      ])
      const all = yield* problems(inside({}, { isolation: "loose", readOnly: true, timeout: -1 }))
      assert.deepStrictEqual(all.map(([field]) => field), ["timeout", "isolation", "readOnly"])
      // An option that is invalid by itself is not compared.
      const invalid = yield* problems(inside({}, { isolation: "none" as "loose", readOnly: 1 as never }))
      assert.deepStrictEqual(invalid.map(([field]) => field), ["isolation", "readOnly"])
      assert.notInclude(words.said, "savepoint 1")
    }))
})

describe("the label of a transaction", () => {
  it.effect("names its lease, and an empty one is none", () =>
    Effect.gen(function*() {
      const { pool, transaction } = yield* make
      const label = Effect.map(pool.holders, (holders) => holders.map(({ label }) => label))
      assert.deepStrictEqual(yield* transaction(label, { label: "booking" }), ["booking"])
      assert.deepStrictEqual(yield* transaction(label, { label: "" }), [undefined])
    }))
})

describe("the statement that the application begins transactions with", () => {
  it.effect("stands behind the options of a transaction, and its mode is what the dialect reads in it", () =>
    Effect.gen(function*() {
      const begun: Array<unknown> = []
      const read: Array<string> = []
      const { transaction } = yield* makeWith({
        dialect: {
          modeOf: (statement) => {
            read.push(statement)
            return { isolation: "loose", readOnly: true }
          },
          begin: (words, mode, statement) => {
            begun.push([mode, statement])
            return words.say("begin")
          }
        }
      })
      type Given = Parameters<typeof transaction>[1]
      const run = (options?: Given) => Effect.map(transaction(Effect.void, options), () => begun.splice(0))
      const provided = Effect.provideService(BeginTransaction, "start")
      assert.deepStrictEqual(yield* run(), [[{ isolation: "strict", readOnly: false }, undefined]])
      assert.deepStrictEqual(yield* provided(run()), [[{ isolation: "loose", readOnly: true }, "start"]])
      assert.deepStrictEqual(yield* provided(run({ label: "a", timeout: 5 })), [
        [{ isolation: "loose", readOnly: true }, "start"]
      ])
      read.length = 0
      assert.deepStrictEqual(yield* provided(run({ isolation: "loose" })), [
        [{ isolation: "loose", readOnly: false }, undefined]
      ])
      assert.deepStrictEqual(yield* provided(run({ readOnly: false })), [
        [{ isolation: "strict", readOnly: false }, undefined]
      ])
      assert.deepStrictEqual(read, [])
      // An inner transaction is in that of the statement, and begins with a savepoint.
      yield* provided(transaction(transaction(Effect.void, { isolation: "loose", readOnly: true })))
      assert.deepStrictEqual(read, ["start"])
    }))
})

describe("the isolation of a transaction that only reads", () => {
  it.effect("is one that the dialect has for that", () =>
    Effect.gen(function*() {
      const { transaction, words } = yield* makeWith({ dialect: { readOnlyIsolations: ["loose"] } })
      const ran = Effect.succeed("ran")
      assert.strictEqual(yield* transaction(ran, { readOnly: true }), "ran")
      assert.strictEqual(yield* transaction(ran, { readOnly: true, isolation: "loose" }), "ran")
      assert.strictEqual(yield* transaction(ran, { isolation: "strict" }), "ran")
      words.said.length = 0
      assert.deepStrictEqual(yield* problems(transaction(ran, { readOnly: true, isolation: "strict" })), [
        ["isolation", "\"strict\"", "isolation is \"strict\", but must be \"loose\" where readOnly is true"]
      ])
      const two = yield* makeWith({ dialect: { isolations: ["strict", "loose", "none" as "loose"] } })
      const [[, , message]] = (yield* problems(
        two.transaction(ran, { readOnly: true, isolation: "none" as "loose" })
      )) as [[string, string, string]]
      assert.strictEqual(message, "isolation is \"none\", but must be \"loose\" or \"strict\" where readOnly is true")
      assert.deepStrictEqual(words.said, [])
    }))
})

describe("the options that only a dialect knows", () => {
  it.effect("are checked by the dialect, which is told of the transaction, and of the one around it", () =>
    Effect.gen(function*() {
      const asked: Array<unknown> = []
      const own = {
        fields: ["lane", "pace"] as never,
        check: (own: object, mode: object, outer: object | undefined) => {
          asked.push([own, mode, outer])
          return "lane" in own && own.lane === 7
            ? [{ field: "lane", value: 7, mustBe: "less" }, { field: "pace", value: undefined, mustBe: "given" }]
            : []
        }
      }
      const { transaction } = yield* makeWith({ dialect: { own } })
      const given = { lane: 1, pace: undefined } as object
      yield* transaction(transaction(Effect.void, { readOnly: true }), { ...given, readOnly: true })
      const mode = { isolation: "loose", readOnly: true }
      assert.deepStrictEqual(asked, [[{ lane: 1 }, mode, undefined], [{}, mode, { lane: 1 }]])
      assert.deepStrictEqual(yield* problems(transaction(Effect.void, { lane: 7, timeout: -1 } as object)), [
        ["timeout", "-1", "timeout is -1, but must be a duration of zero or more, such as \"5 seconds\", or Infinity"],
        ["lane", "7", "lane is 7, but must be less"],
        ["pace", "undefined", "pace is undefined, but must be given"]
      ])
    }))
})
