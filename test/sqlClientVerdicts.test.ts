import { assert, describe, it } from "@effect/vitest"
import { Cause, Data } from "effect"
import { type ConnectionFactory, SqlClientFactory } from "effect-connection-pool"
import {
  AuthenticationError,
  ConnectionError,
  ConstraintError,
  DeadlockError,
  LockTimeoutError,
  SerializationError,
  SqlError,
  type SqlErrorReason,
  SqlSyntaxError,
  StatementTimeoutError,
  UniqueViolation,
  UnknownError
} from "effect/sql/SqlError"

class RepositoryError extends Data.TaggedError("RepositoryError")<{ readonly cause?: unknown }> {}

const code = (code: string) => ({ cause: Object.assign(new Error("no"), { code }) })
const failing = (reason: SqlErrorReason) => Cause.fail(new SqlError({ reason }))
const none = { cause: new Error("no") }

describe("the verdict of SqlClientFactory on a failure", () => {
  const cases: ReadonlyArray<
    readonly [what: string, failure: Cause.Cause<unknown>, verdict: ConnectionFactory.Verdict]
  > = [
    ["a lost connection without a code", failing(new ConnectionError(none)), "fatal"],
    ["a socket that was reset", failing(new ConnectionError(code("ECONNRESET"))), "fatal"],
    ["a broken pipe", failing(new UnknownError(code("EPIPE"))), "suspect"],
    ["08006", failing(new ConnectionError(code("08006"))), "fatal"],
    ["08P01, which is a missing parameter too", failing(new ConnectionError(code("08P01"))), "suspect"],
    ["57P01 of a session that was killed while idle", failing(new UnknownError(code("57P01"))), "fatal"],
    ["57P05", failing(new UnknownError(code("57P05"))), "fatal"],
    ["25P04", failing(new UnknownError(code("25P04"))), "fatal"],
    ["25P02 of a statement in a failed transaction", failing(new UnknownError(code("25P02"))), "healthy"],
    ["57014 of a statement that was cancelled", failing(new StatementTimeoutError(code("57014"))), "healthy"],
    [
      "a code deep in the causes",
      failing(new UnknownError({ cause: new Error("a", { cause: code("57P01").cause }) })),
      "fatal"
    ],
    ["a code in sqlState", failing(new UnknownError({ cause: { sqlState: "08S01" } })), "fatal"],
    ["an error that says nothing", failing(new UnknownError(none)), "suspect"],
    ["a syntax error", failing(new SqlSyntaxError(none)), "healthy"],
    ["a constraint", failing(new ConstraintError(none)), "healthy"],
    ["a unique key", failing(new UniqueViolation({ ...none, constraint: "a" })), "healthy"],
    ["a deadlock", failing(new DeadlockError(none)), "healthy"],
    ["a serialization failure", failing(new SerializationError(none)), "healthy"],
    ["a lock", failing(new LockTimeoutError(none)), "healthy"],
    ["a refused login", failing(new AuthenticationError(none)), "healthy"],
    [
      "an application's error over one",
      Cause.fail(new RepositoryError({ cause: new SqlError({ reason: new ConnectionError(none) }) })),
      "fatal"
    ],
    [
      "an application's error over a constraint",
      Cause.fail(new RepositoryError({ cause: new SqlError({ reason: new ConstraintError(none) }) })),
      "healthy"
    ],
    ["an application's error alone", Cause.fail(new RepositoryError({})), "suspect"],
    ["a lost connection that became a defect", Cause.die(new SqlError({ reason: new ConnectionError(none) })), "fatal"],
    ["a defect", Cause.die(new Error("no")), "suspect"],
    ["an interrupt", Cause.interrupt(1), "suspect"],
    [
      "a constraint beside an interrupt",
      Cause.combine(failing(new ConstraintError(none)), Cause.interrupt(1)),
      "suspect"
    ],
    [
      "an interrupt beside a lost connection",
      Cause.combine(Cause.interrupt(1), failing(new ConnectionError(none))),
      "fatal"
    ],
    ["nothing", Cause.empty, "suspect"]
  ]
  for (const [what, failure, verdict] of cases) {
    it(`is ${verdict}: ${what}`, () => assert.strictEqual(SqlClientFactory.judge(failure), verdict))
  }

  it("has an end, if an error causes itself", () => {
    const error = new Error("round")
    error.cause = error
    assert.strictEqual(SqlClientFactory.judge(Cause.fail(error)), "suspect")
    assert.strictEqual(SqlClientFactory.judge(failing(new UnknownError({ cause: error }))), "suspect")
  })
})
