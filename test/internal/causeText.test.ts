import { assert, describe, it } from "@effect/vitest"
import { Data, Redacted } from "effect"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { causeText } from "../../src/internal/pool/causeText.ts"

const refused = Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:5432"), { code: "ECONNREFUSED" })
const refusedText = "Error: connect ECONNREFUSED 127.0.0.1:5432 [ECONNREFUSED]"

const thrower = (): never => {
  throw new Error("hostile")
}

class DriverError extends Data.TaggedError("DriverError")<{ readonly cause?: unknown; readonly password?: string }> {}

describe("what is read of an error", () => {
  const cases: ReadonlyArray<readonly [what: string, error: unknown, text: string]> = [
    [
      "is its message, its code and its causes",
      new Error("no", { cause: refused }),
      `Error: no (caused by ${refusedText})`
    ],
    [
      "is its cause, if it has no message",
      new DriverError({ cause: refused }),
      `DriverError (caused by ${refusedText})`
    ],
    [
      "is the reason of an SqlError, with what caused it",
      new SqlError({ reason: new ConnectionError({ cause: refused, message: "Failed to connect" }) }),
      `SqlError: Failed to connect (caused by ConnectionError: Failed to connect; ${refusedText})`
    ],
    [
      "is the first error of several, as Node reports for all addresses of a host",
      Object.assign(new AggregateError([refused, new Error("another")]), { code: "ECONNREFUSED" }),
      `AggregateError [ECONNREFUSED] (caused by ${refusedText})`
    ],
    ["is none of its other fields", new DriverError({ password: "hunter2" }), "DriverError"],
    ["is no field of what is no error either", { _tag: "Odd", password: "hunter2", code: 53300 }, "Odd [53300]"],
    ["is its code, if it has nothing else", { code: "ECONNRESET" }, "ECONNRESET"],
    ["is no password in a URL", new Error("postgres://app:hunter2@db/x: no"), "Error: postgres://app:***@db/x: no"],
    [
      "is no password in a message",
      new Error("connect with host=db password='hunter 2' Token: abc; no"),
      "Error: connect with host=db password=*** Token: ***; no"
    ],
    ["is not what is redacted", Redacted.make("hunter2"), "an error that cannot be printed"],
    ["is one line", new Error("a\nb\r\u001b[31mc\u2028d"), "Error: a b [31mc d"],
    ["is a text", "no", "no"],
    ["is a number", 53, "53"],
    ["is nothing", undefined, "an error that cannot be printed"],
    ["is null", null, "null"],
    ["is a symbol", Symbol("no"), "a symbol"],
    ["is nothing of a function without a name", () => "code", "an error that cannot be printed"]
  ]
  for (const [what, error, text] of cases) it(what, () => assert.strictEqual(causeText(error), text))

  it("has an end, however long the error and its causes are", () => {
    let error: Error = new Error("x".repeat(1_000_000))
    for (let depth = 0; depth < 1000; depth++) error = new Error(`${depth} ${"y".repeat(1000)}`, { cause: error })
    assert.strictEqual(causeText(error).length, 600)
    const pairs = causeText("\u{1F600}".repeat(1000))
    assert.strictEqual(pairs, pairs.toWellFormed())
  })

  it("has an end, if an error causes itself", () => {
    const error = new Error("round")
    error.cause = error
    assert.strictEqual(causeText(error), "Error: round")
  })

  it("is replaced by a text if the error cannot be printed, and never throws", () => {
    const hostile: ReadonlyArray<unknown> = [
      { toString: thrower, [Symbol.toPrimitive]: thrower },
      Object.defineProperties({}, {
        message: { get: thrower },
        name: { get: thrower },
        cause: { get: thrower },
        code: { get: thrower }
      }),
      new Proxy({}, { get: thrower, getPrototypeOf: thrower, has: thrower, ownKeys: thrower }),
      Object.create(null),
      Proxy.revocable({}, {}).proxy,
      { errors: new Proxy([], { get: thrower }) },
      { name: {}, message: [], code: thrower }
    ]
    for (const error of hostile) assert.strictEqual(causeText(error), "an error that cannot be printed")
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    assert.strictEqual(causeText(proxy), "an error that cannot be printed")
  })
})
