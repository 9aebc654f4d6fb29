import { assert, describe, it } from "@effect/vitest"
import { PgPoolError } from "effect-connection-pool/postgres"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import { invalidInput, noPrimary, notSent } from "../../src/postgres/internal/errors.ts"
import { commitOutcome, isCurable, isLost, isTransient, toSqlError } from "../../src/postgres/internal/sqlState.ts"

/** An answer of the server, as the driver has it. */
const answered = (code: string, message = "no", fields: object = {}): SqlError =>
  new SqlError({
    reason: new UnknownError({ cause: Object.assign(new Error(message), { code, ...fields }), message: "Query failed" })
  })

/** A failure of the network, as the driver has it. */
const unanswered = (code?: string, message = "Socket error"): SqlError =>
  new SqlError({
    reason: new ConnectionError({
      cause: Object.assign(new Error(`connect ${code}`), { ...(code === undefined ? undefined : { code }) }),
      message: `PgConnection: ${message}`
    })
  })

describe("the SQLSTATE of an error", () => {
  it("is found behind the error, and is no code of Node", () => {
    assert.strictEqual(PgPoolError.sqlStateOf(answered("23505")), "23505")
    assert.strictEqual(PgPoolError.sqlStateOf({ cause: answered("40001") }), "40001")
    assert.isUndefined(PgPoolError.sqlStateOf(unanswered("EPIPE")))
    assert.isUndefined(PgPoolError.sqlStateOf(new Error("no")))
    assert.isUndefined(PgPoolError.sqlStateOf(undefined))
  })

  it("decides what kind of SqlError it is", () => {
    const reasons: ReadonlyArray<readonly [state: string, reason: string]> = [
      ["08006", "ConnectionError"],
      ["08P01", "SqlSyntaxError"],
      ["22012", "UnknownError"],
      ["23502", "ConstraintError"],
      ["23505", "UniqueViolation"],
      ["25006", "AuthorizationError"],
      ["25P03", "ConnectionError"],
      ["25P04", "ConnectionError"],
      ["28P01", "AuthenticationError"],
      ["40001", "SerializationError"],
      ["40P01", "DeadlockError"],
      ["42501", "AuthorizationError"],
      ["42P01", "SqlSyntaxError"],
      ["53100", "UnknownError"],
      ["53300", "ConnectionError"],
      ["55P03", "LockTimeoutError"],
      ["57014", "StatementTimeoutError"],
      ["57P01", "ConnectionError"],
      ["57P05", "ConnectionError"]
    ]
    for (const [state, reason] of reasons) {
      const error = toSqlError(answered(state, "it failed", { detail: "at 7", constraint: "one" }))
      assert.strictEqual(error.reason._tag, reason, state)
      assert.strictEqual(error.message, `it failed: at 7 (SQLSTATE ${state})`)
      assert.strictEqual(PgPoolError.sqlStateOf(error), state)
      if (error.reason._tag === "UniqueViolation") assert.strictEqual(error.reason.constraint, "one")
    }
    const unnamed = toSqlError(answered("23505"))
    assert.strictEqual(unnamed.reason._tag === "UniqueViolation" && unnamed.reason.constraint, "unknown")
  })

  it("has advice for several statements in one text, in each language of the server", () => {
    const message = (routine: string) => toSqlError(answered("42601", "mehrere Befehle", { routine })).message
    assert.strictEqual(
      message("exec_parse_message"),
      "mehrere Befehle (SQLSTATE 42601): run each statement by itself, inside `transaction` if they belong together, or write " +
        "them as one `do` block"
    )
    assert.strictEqual(message("scanner_yyerror"), "mehrere Befehle (SQLSTATE 42601)")
  })

  it("leaves an error without one as it is, with the cause of a lost connection in its message", () => {
    assert.strictEqual(toSqlError(unanswered("ECONNREFUSED")).message, "Socket error: connect ECONNREFUSED")
    const own = invalidInput("query", "no")
    assert.strictEqual(toSqlError(own), own)
  })

  it("decides whether the session is lost", () => {
    for (const state of ["08003", "08006", "57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"]) {
      assert.isTrue(isLost(answered(state)), state)
    }
    for (const state of ["08P01", "25P02", "40001", "57014", "53300"]) assert.isFalse(isLost(answered(state)), state)
    assert.isTrue(isLost(unanswered("ECONNRESET")))
    assert.isTrue(isLost(notSent("query", "no")))
    assert.isFalse(isLost(invalidInput("query", "no")))
    assert.isFalse(isLost("no"))
    // An error of the pool stands for itself.
    const ofPool = new SqlError({ reason: new ConnectionError({ cause: { pool: "app" }, message: "no" }) })
    assert.isFalse(isLost(ofPool))
  })

  it("decides whether a rerun can help", () => {
    for (const state of ["40001", "40P01", "55P03", "57P01", "08006", "25P03"]) {
      assert.isTrue(isCurable(answered(state)), state)
    }
    assert.isTrue(isCurable(answered("0A000", "cached plan must not change result type")))
    assert.isTrue(isCurable(unanswered("ECONNRESET")))
    assert.isTrue(isCurable(notSent("commit", "no")))
    const standby = noPrimary(answered("25006"))
    assert.isTrue(isCurable(standby))
    assert.deepStrictEqual([isLost(standby), PgPoolError.sqlStateOf(standby)], [false, "25006"])
    for (const state of ["23505", "08P01", "57014", "25006"]) assert.isFalse(isCurable(answered(state)), state)
    assert.isFalse(isCurable(answered("0A000", "cannot do that")))
  })

  it("decides whether a commit that failed may be stored", () => {
    for (const state of ["40001", "23503", "25P02"]) assert.strictEqual(commitOutcome(answered(state)), "rolled back")
    for (const state of ["57P01", "08006", "40003", "08P01"]) {
      assert.strictEqual(commitOutcome(answered(state)), "unknown")
    }
    assert.strictEqual(commitOutcome(unanswered("ECONNRESET")), "unknown")
    assert.strictEqual(commitOutcome(notSent("commit", "no")), "rolled back")
    assert.strictEqual(commitOutcome(invalidInput("commit", "no")), "rolled back")
  })

  it("decides whether another connect attempt may help", () => {
    for (const state of ["57P03", "57P01", "53300", "53200", "08006"]) {
      assert.isTrue(isTransient(answered(state)), state)
    }
    for (const state of ["28P01", "3D000", "42501", "28000"]) assert.isFalse(isTransient(answered(state)), state)
    for (const code of ["ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "ENOENT"]) {
      assert.isTrue(isTransient(unanswered(code)), code)
    }
    for (const code of ["ENOTFOUND", "EACCES", "DEPTH_ZERO_SELF_SIGNED_CERT", "ERR_TLS_CERT_ALTNAME_INVALID"]) {
      assert.isFalse(isTransient(unanswered(code)), code)
    }
    assert.isTrue(isTransient(unanswered(undefined, "Connection closed during startup")))
    assert.isFalse(isTransient(unanswered(undefined, "Server refused TLS")))
    assert.isFalse(isTransient(invalidInput("connect", "no")))
  })

  it("takes what PgBouncer says for what it means, although it has one SQLSTATE for all", () => {
    const said = (message: string) => answered("08P01", message, { severity: "FATAL" })
    const passing = [
      "no more connections allowed (max_client_conn)",
      "query_wait_timeout",
      "server login has been failing, try again later (server_login_retry)",
      "client_login_timeout (server down)",
      "pgbouncer cannot connect to server",
      "bouncer config error",
      "the database system is starting up",
      "sorry, too many clients already"
    ]
    for (const message of passing) {
      const error = toSqlError(said(message))
      assert.deepStrictEqual(
        [error.reason._tag, isLost(error), isTransient(error), isCurable(error), commitOutcome(error)],
        ["ConnectionError", true, true, true, "unknown"],
        message
      )
    }
    const lasting = [
      "unsupported startup parameter: lock_timeout",
      "unsupported options startup parameter: only '-c config=val' is allowed",
      "no such database: app",
      "database \"app\" does not exist",
      "server login has been failing, cached error: database \"app\" does not exist (server_login_retry)",
      "no such user",
      "SASL authentication failed",
      "password authentication failed for user \"app\"",
      "no pg_hba.conf entry for host \"::1\"",
      "SSL required"
    ]
    for (const message of lasting) {
      const error = toSqlError(said(message))
      assert.deepStrictEqual([error.reason._tag, isTransient(error)], ["UnknownError", false], message)
    }
    // An error after which the session goes on.
    const went = answered("08P01", "bind message supplies 0 parameters", {
      severity: "ERROR",
      severityUnlocalized: "ERROR"
    })
    assert.deepStrictEqual([isLost(went), isTransient(went), toSqlError(went).reason._tag], [
      false,
      false,
      "SqlSyntaxError"
    ])
  })
})
