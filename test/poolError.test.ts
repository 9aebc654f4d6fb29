import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { PoolError } from "effect-connection-pool"

const occupancy: PoolError.Occupancy = {
  max: 2,
  total: 2,
  connecting: 0,
  idle: 0,
  validating: 0,
  inUse: 2,
  resetting: 0,
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
