import { assert, describe, it } from "@effect/vitest"
import { Option, Schema } from "effect"
import { PoolError, TransactionError } from "effect-connection-pool"

const occupancy: PoolError.Occupancy = {
  max: 2,
  total: 2,
  connecting: 0,
  idle: 0,
  validating: 0,
  inUse: 2,
  resetting: 0,
  abandoned: 0,
  closing: 0,
  waiting: 7
}

const holders: ReadonlyArray<PoolError.Holder> = [
  { connection: 1, label: "report", fiber: 12, heldMillis: 900.5 },
  { connection: 2, span: { traceId: "a", spanId: "b" }, fiber: 13, heldMillis: 3 }
]

const timedOut = (parts: Partial<PoolError.AcquireTimeoutError> = {}) =>
  new PoolError.AcquireTimeoutError({
    pool: "db",
    phase: "queue",
    waitedMillis: 1000.25,
    timeoutMillis: 1000,
    occupancy,
    holders,
    ...parts
  })

const overJson = (text: string) =>
  Schema.decodeUnknownSync(Schema.toCodecJson(PoolError.AcquireTimeoutError))(JSON.parse(text))

const toJson = (error: PoolError.AcquireTimeoutError): string =>
  JSON.stringify(Schema.encodeSync(Schema.toCodecJson(PoolError.AcquireTimeoutError))(error))

describe("the error of a caller that timed out", () => {
  it("survives JSON with all its fields", () => {
    const error = timedOut()
    const received = overJson(toJson(error))
    assert.instanceOf(received, PoolError.AcquireTimeoutError)
    assert.strictEqual(received.message, error.message)
    assert.deepStrictEqual({ ...received }, { ...error })
  })

  it("is refused from JSON if one of its parts is not what it should be", () => {
    const text = toJson(timedOut())
    for (const wrong of [text.replace("\"inUse\":2", "\"inUse\":\"2\""), text.replace("\"fiber\":13,", "")]) {
      assert.notStrictEqual(wrong, text)
      assert.throws(() => overJson(wrong), /Expected|Missing/)
    }
  })

  it("cannot be made of parts that are not what they should be", () => {
    assert.throws(() => timedOut({ occupancy: { ...occupancy, max: "2" as never } }), /Schema validation failed/)
    assert.throws(() => timedOut({ holders: [{} as never] }), /Schema validation failed/)
    assert.throws(() => timedOut({ holders: null as never }), /Schema validation failed/)
  })

  it("shares its numbers with the errors of callers that timed out at the same moment", () => {
    const [one, other] = [timedOut(), timedOut({ waitedMillis: 1001 })]
    assert.strictEqual(one.occupancy, other.occupancy)
    assert.strictEqual(one.holders, other.holders)
  })
})

describe("the message of an error", () => {
  it("tells in whole milliseconds for how long something was held", () => {
    assert.include(timedOut().message, "held longest by report #12 for 901 ms, fiber #13 for 3 ms")
    const turn = new TransactionError.TransactionTurnTimeoutError({
      pool: "db",
      operation: "select 1",
      waitedMillis: 2000.4,
      timeoutMillis: 2000,
      holder: { fiber: 41, operation: "transaction", heldMillis: 201.457 }
    })
    assert.include(turn.message, "has an inner transaction open in it, for 201 ms;")
  })

  it("has the texts of callers and of drivers in one line, and cut", () => {
    const long = `a\n\u001b[2J${"x".repeat(1_000_000)}`
    const messages = [
      timedOut({
        holders: Array.from({ length: 5 }, () => ({
          connection: 1,
          label: long,
          fiber: 1,
          heldMillis: 1,
          statement: { text: long.slice(0, 1000), isRunning: false }
        })),
        abandoned: [{ connection: 2, label: long, description: long, fiber: 1, abandonedMillis: 1 }],
        occupancy: { ...occupancy, abandoned: 1 }
      }).message,
      new TransactionError.TransactionTurnTimeoutError({
        pool: "db",
        operation: long,
        waitedMillis: 2000,
        timeoutMillis: 2000,
        holder: { fiber: 41, label: long, operation: long, heldMillis: 3 }
      }).message
    ]
    for (const message of messages) {
      assert.isBelow(message.length, 3000)
      assert.notMatch(message, /\p{Cc}/u)
    }
    const failed = timedOut({ lastConnectError: new Error(long) })
    assert.isBelow(failed.message.length, 1500)
  })

  it("quotes the statement that has the turn in a transaction, of a long one its first 100 characters", () => {
    const message = (operation: string) =>
      new TransactionError.TransactionTurnTimeoutError({
        pool: "db",
        operation: "select 1",
        waitedMillis: 2000,
        timeoutMillis: 2000,
        holder: { fiber: 41, operation, heldMillis: 3 }
      }).message
    assert.include(message("select \"a\""), "has \"select \\\"a\\\"\" open in it")
    assert.include(message("x".repeat(101)), `has "${"x".repeat(100)}..." open in it`)
  })

  it("counts the connections that the fiber holds itself", () => {
    const message = (ownLeases?: number) => timedOut(ownLeases === undefined ? {} : { ownLeases }).message
    assert.notInclude(message(), "this fiber holds")
    assert.include(message(1), "this fiber holds one of them itself: return what it holds before it asks")
    assert.include(message(3), "this fiber holds 3 of them itself: return what it holds before it asks")
  })

  it("tells the cause of an error of a driver that has no message, but does not follow causes without end", () => {
    const message = (error: unknown) =>
      new PoolError.ConnectError({ pool: "db", attempts: 1, reason: { _tag: "ConnectFailed", error } }).message
    class Refused extends Error {
      override readonly name = "Refused"
    }
    assert.include(message(new Refused("no", { cause: new Error("hidden") })), "Refused: no")
    assert.notInclude(message(new Refused("no", { cause: new Error("hidden") })), "hidden")
    assert.include(message(new Refused("", { cause: new Error("no route") })), "Refused: Error: no route")
    assert.include(message(new Refused("", { cause: "no route" })), "Refused: no route")
    assert.notInclude(message(new Refused("")), "undefined")
    const round = new Refused("")
    round.cause = round
    assert.include(message(round), `${"Refused: ".repeat(6)}`)
    assert.notInclude(message(round), `${"Refused: ".repeat(7)}`)
  })

  it("tells a deadline exactly, also one that is shorter than a millisecond", () => {
    assert.include(timedOut({ timeoutMillis: 0.25 }).message, "no connection within 0.25 ms,")
  })

  it("has one caller wait, and several callers wait", () => {
    const full = (maxWaiting: number) => new PoolError.QueueFullError({ pool: "db", maxWaiting, occupancy }).message
    assert.include(full(1), "1 caller waits already")
    assert.include(full(2), "2 callers wait already")
  })

  it("names the option that gives more connections, if there is one", () => {
    const message = (sizeOption?: string | null) =>
      new PoolError.SelfDeadlockError({
        pool: "db",
        fiber: 7,
        occupancy,
        ...(sizeOption === undefined ? undefined : { sizeOption })
      }).message
    assert.match(message(), /, return one first, or raise max \(2\)$/)
    assert.match(message("readers"), /, return one first, or raise readers \(2\)$/)
    assert.match(message(null), /\(a transaction shares it with all that runs inside\), or return it first$/)
  })
})

describe("the holder of a connection, as JSON", () => {
  it("has a span with both of its ids, or none", () => {
    const read = Schema.decodeUnknownOption(PoolError.AcquireTimeoutError)
    const json = JSON.parse(JSON.stringify(Schema.encodeSync(PoolError.AcquireTimeoutError)(timedOut()))) as {
      holders: ReadonlyArray<Record<string, unknown>>
    }
    assert.isTrue(Option.isSome(read(json)))
    for (const span of [{ traceId: "a" }, { spanId: "b" }, { traceId: 1, spanId: "b" }]) {
      assert.isTrue(Option.isNone(read({ ...json, holders: [{ ...json.holders[1], span }] })))
    }
  })
})
