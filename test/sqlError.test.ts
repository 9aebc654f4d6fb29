import { assert, describe, it } from "@effect/vitest"
import { PoolError, TransactionError } from "effect-connection-pool"
import {
  AuthenticationError,
  AuthorizationError,
  ConnectionError,
  LockTimeoutError,
  SqlError,
  UnknownError
} from "effect/sql/SqlError"
import { sqlErrorOf } from "../src/internal/transaction/sqlErrorOf.ts"

const pool = "db"
const occupancy: PoolError.Occupancy = {
  max: 1,
  total: 1,
  connecting: 0,
  idle: 0,
  validating: 0,
  inUse: 1,
  resetting: 0,
  abandoned: 0,
  closing: 0,
  waiting: 0
}
const cause = new Error("the driver's own")
const failed = (reason: SqlError["reason"]) =>
  new PoolError.ConnectError({
    pool,
    attempts: 1,
    reason: { _tag: "ConnectFailed", error: new SqlError({ reason }) }
  })

/** Each with the kind that it is to be caught by, whether another attempt may help, and what was asked for. */
const errors: ReadonlyArray<readonly [Parameters<typeof sqlErrorOf>[0], string, boolean, string]> = [
  [
    new PoolError.AcquireTimeoutError({
      pool,
      phase: "queue",
      waitedMillis: 5,
      timeoutMillis: 5,
      occupancy,
      holders: []
    }),
    "ConnectionError",
    true,
    "acquire"
  ],
  [new PoolError.QueueFullError({ pool, maxWaiting: 1, occupancy }), "ConnectionError", true, "acquire"],
  [new PoolError.PoolClosedError({ pool, phase: "closed" }), "UnknownError", false, "acquire"],
  [new PoolError.SelfDeadlockError({ pool, fiber: 1, occupancy }), "UnknownError", false, "acquire"],
  [failed(new ConnectionError({ cause })), "ConnectionError", true, "acquire"],
  [failed(new LockTimeoutError({ cause })), "ConnectionError", true, "acquire"],
  [failed(new UnknownError({ cause })), "UnknownError", false, "acquire"],
  [failed(new AuthenticationError({ cause })), "AuthenticationError", false, "acquire"],
  [failed(new AuthorizationError({ cause })), "AuthorizationError", false, "acquire"],
  [
    new PoolError.ConnectError({ pool, attempts: 1, reason: { _tag: "ConnectFailed", error: "odd" } }),
    "ConnectionError",
    true,
    "acquire"
  ],
  [
    new PoolError.ConnectError({ pool, attempts: 1, reason: { _tag: "ConnectTimedOut", afterMillis: 5 } }),
    "ConnectionError",
    true,
    "acquire"
  ],
  [
    new PoolError.ConnectError({ pool, attempts: 1, reason: { _tag: "ConnectDied", defect: cause } }),
    "UnknownError",
    false,
    "acquire"
  ],
  [new PoolError.LeaseExpiredError({ operation: "query", reason: "too old" }), "UnknownError", false, "query"],
  [
    new TransactionError.TransactionOptionsError({
      pool,
      problems: [{ field: "retry", value: "1", message: "retry is 1, but must be a Schedule" }]
    }),
    "UnknownError",
    false,
    "transaction"
  ],
  [new TransactionError.TransactionLostError({ pool, statement: "select 1" }), "UnknownError", false, "transaction"],
  [
    new TransactionError.TransactionOutcomeUnknownError({
      pool,
      cause: new SqlError({ reason: new ConnectionError({ cause }) })
    }),
    "UnknownError",
    false,
    "transaction"
  ],
  [new TransactionError.TransactionEndedError({ pool, operation: "select 1" }), "UnknownError", false, "transaction"]
]

describe("an error of the pool that a client of effect/sql fails with", () => {
  for (const [error, kind, isRetryable, operation] of errors) {
    const name = error._tag === "ConnectError" ? `${error._tag}, ${error.message}` : error._tag
    it(`keeps the pool's error as its cause, and its message (${name})`, () => {
      const { reason } = sqlErrorOf(error)
      assert.strictEqual(reason.cause, error)
      assert.strictEqual(reason.message, error.message)
      assert.strictEqual(sqlErrorOf(error).message, error.message)
      assert.deepStrictEqual([reason._tag, reason.isRetryable, reason.operation], [kind, isRetryable, operation])
    })
  }

  it("is the database's own where that is what went wrong", () => {
    const own = new SqlError({ reason: new LockTimeoutError({ cause }) })
    assert.strictEqual(sqlErrorOf(own), own)
    assert.strictEqual(sqlErrorOf(new TransactionError.TransactionBeginError({ pool, depth: 0, cause: own })), own)
    assert.strictEqual(sqlErrorOf(new TransactionError.TransactionCommitError({ pool, depth: 0, cause: own })), own)
  })
})
