/**
 * What a SQLSTATE means for a session of a `PgPool`, for its transactions and for a connect attempt:
 * https://www.postgresql.org/docs/current/errcodes-appendix.html.
 */
import { Predicate } from "effect"
import {
  AuthenticationError,
  AuthorizationError,
  ConnectionError,
  ConstraintError,
  DeadlockError,
  isSqlError,
  LockTimeoutError,
  SerializationError,
  SqlError,
  type SqlErrorReason,
  SqlSyntaxError,
  StatementTimeoutError,
  UniqueViolation,
  UnknownError
} from "effect/sql/SqlError"
import { endsSession, isSqlState, sqlStateOf, textBehind } from "../../internal/sqlClient/sqlState.ts"
import { NoHost, NoPassword, NoPrimary, NotSent } from "./errors.ts"

export { sqlStateOf }

/** The code of Node behind an error, such as `ECONNREFUSED`, or `ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE`. */
export const nodeCodeOf = (error: unknown): string | undefined =>
  textBehind(error, ["code"], (code) => /^(?:E|ERR_|CERT_|[A-Z]+_)[A-Z0-9_/]+$/.test(code) && !isSqlState(code))

/** Whether an error says that the session is lost: by its SQLSTATE, or because there was no answer at all. */
export const isLost = (error: unknown): boolean => {
  if (!isSqlError(error)) return false
  const state = sqlStateOf(error)
  if (state !== undefined) return endsSession(state) || isFatalViolation(error)
  return error.reason._tag === "ConnectionError" && !isOfPool(error.reason.cause)
}

/** Whether a `ConnectionError` stands for an error of the pool, which has not reached a session. */
const isOfPool = (cause: unknown): boolean => Predicate.hasProperty(cause, "pool")

/**
 * Whether a transaction that failed with this error may succeed when all of it is run again: it lost a race (40001), was the
 * victim of a deadlock (40P01), waited too long for a lock (55P03), lost its session before its commit, met a statement
 * that was prepared before its table changed (0A000), or met a server that takes no writes.
 */
export const isCurable = (error: SqlError): boolean => {
  if (error.reason.cause instanceof NoPrimary) return true
  const state = sqlStateOf(error)
  if (state === "0A000") return /cached plan/.test(String(error.reason.cause))
  return state === "40001" || state === "40P01" || state === "55P03" || isLost(error)
}

/**
 * What became of a transaction whose commit failed with this error. The server rolls it back if it answers with an error and
 * goes on. If the session was lost, or the server itself does not know (40003, 08007), it may be stored.
 */
export const commitOutcome = (error: SqlError): "rolled back" | "unknown" => {
  if (error.reason.cause instanceof NotSent) return "rolled back"
  const state = sqlStateOf(error)
  if (state === undefined) {
    return error.reason._tag === "ConnectionError" || isTooLarge(error.reason.cause) ? "unknown" : "rolled back"
  }
  return endsSession(state) || state === "40003" || state === "08P01" ? "unknown" : "rolled back"
}

/**
 * Whether a session that reads cannot run a statement that another can: it is a write (25006), needs what a replica does not have
 * (55000, 0A000), or the replay of the log has ended it (40001, 40P01). Nothing has changed.
 */
export const isRefusedByReader = (state: string | undefined): boolean =>
  state === "25006" || state === "55000" || state === "0A000" || state === "40001" || state === "40P01"

/**
 * Whether the session ends with 08P01. PgBouncer says that for everything: that it has too many clients, that its server is away,
 * that a client has waited too long. PostgreSQL also answers it to a missing parameter, and goes on.
 */
const isFatalViolation = (error: unknown): boolean =>
  sqlStateOf(error) === "08P01" &&
  textBehind(error, ["severityUnlocalized", "severity"], (severity) => severity === "FATAL") !== undefined

/** What PgBouncer says when another connect attempt would fail, too. It also passes on, with 08P01, what its server has said. */
const hopelessAtPooler =
  /unsupported (?:options )?startup parameter|startup packet|username|password|authentication|no such (?:database|user)|does not exist|login rejected|SSL required|SASL|not allowed|pg_hba|permission denied|protocol/i

/** For a user who has not said that there is a pooler. */
const ofStartup = (message: string): string =>
  /unsupported (?:options )?startup parameter/.test(message)
    ? `${message}: this is a pooler such as PgBouncer, which refuses the settings that sessions begin with: set the option pooler ` +
      "to \"transaction\", or to \"session\" if it is in session mode"
    : message

/**
 * Whether another connect attempt may succeed after this failure: the server is not there yet (57P03) or shuts down, has too
 * many connections (53300) or another shortage (class 53), or the network failed; or PgBouncer has no room, or no server. Wrong credentials, an unknown database, a
 * refused certificate or an unknown host are not transient.
 */
export const isTransient = (error: SqlError): boolean => {
  if (error.reason.cause instanceof NoHost) return !error.reason.cause.isHopeless
  // Where it comes from may be away for a moment, whatever it says.
  if (error.reason.cause instanceof NoPassword) return true
  const state = sqlStateOf(error)
  if (state === "08P01") return isFatalViolation(error) && !hopelessAtPooler.test(error.message)
  if (state !== undefined) return endsSession(state) || state.startsWith("53") || state === "55000"
  if (error.reason._tag !== "ConnectionError") return false
  const code = nodeCodeOf(error)
  if (code !== undefined) return transientCodes.has(code)
  if (isTooLarge(error.reason.cause)) return false
  return !/TLS|protocol desync|SSLRequest/i.test(error.message)
}

const transientCodes: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETUNREACH",
  "ENETDOWN",
  "EAI_AGAIN",
  "EADDRNOTAVAIL",
  "EMFILE",
  "ENFILE",
  // The socket of a server that is not there yet.
  "ENOENT"
])

interface ReasonProps {
  readonly cause: unknown
  readonly message: string
  readonly operation: string
}

/** The kind of the `SqlError` for a SQLSTATE. */
const reasonOf = (
  state: string,
  constraint: unknown,
  props: ReasonProps
): SqlErrorReason => {
  if (state === "23505") {
    return new UniqueViolation({
      ...props,
      constraint: Predicate.isString(constraint) && constraint !== "" ? constraint : "unknown"
    })
  }
  const Reason = endsSession(state)
    ? ConnectionError
    : reasons.get(state) ?? reasons.get(state.slice(0, 2)) ?? UnknownError
  return new Reason(props)
}

/** The kinds by SQLSTATE, and by the class of the others. */
const reasons = new Map<string, new(props: ReasonProps) => SqlErrorReason>([
  ["08P01", SqlSyntaxError],
  ["42501", AuthorizationError],
  ["25006", AuthorizationError],
  ["40P01", DeadlockError],
  ["40001", SerializationError],
  ["55P03", LockTimeoutError],
  ["57014", StatementTimeoutError],
  ["53300", ConnectionError],
  ["28", AuthenticationError],
  ["42", SqlSyntaxError],
  ["23", ConstraintError]
])

/** Whether the driver has ended the session because of a message of the server that is too large. */
const isTooLarge = (cause: unknown): boolean => cause instanceof Error && /exceeds maxMessageSize/.test(cause.message)

/** What the driver says about a value that it cannot send or read, and what the caller can do. */
const hints: ReadonlyArray<readonly [driver: string, hint: (operation: string, detail: string) => string]> = [
  [
    "PgConnection: Failed to encode",
    (operation, detail) =>
      `${operation}: the parameters cannot be sent: ${detail}: give another value, or name its type with PgTypes`
  ],
  [
    "PgConnection: Failed to decode",
    (operation, detail) =>
      `${operation}: a value of the result cannot be read: ${detail}: let the statement make it text (column::text), or give ` +
      "its type in the option types; the connection is replaced"
  ]
]

interface ServerError {
  readonly message?: unknown
  readonly detail?: unknown
  readonly constraint?: unknown
  /** The function of PostgreSQL that has raised the error. Unlike the message, it is in no language. */
  readonly routine?: unknown
}

/** What to do, where the server says only what is wrong. */
const adviceOf = (state: string, { routine }: ServerError): string =>
  state === "42601" && routine === "exec_parse_message"
    ? ": run each statement by itself, inside `transaction` if they belong together, or write them as one `do` block"
    : ""

/**
 * The error of the driver as the caller gets it: with the message of the server and its SQLSTATE, and with the kind that the
 * SQLSTATE has.
 */
export const toSqlError = (error: SqlError): SqlError => {
  const { cause, operation = "query" } = error.reason
  if (cause instanceof NotSent || cause instanceof NoPassword) return error
  const state = sqlStateOf(cause)
  if (state === undefined) {
    const detail = cause instanceof Error && cause.message !== "" ? cause.message : undefined
    if (detail === undefined) return error
    const hint = hints.find(([driver]) => error.message.startsWith(driver))?.[1]
    if (hint !== undefined) {
      return new SqlError({ reason: new UnknownError({ cause, message: hint(operation, detail), operation }) })
    }
    if (error.reason._tag !== "ConnectionError") return error
    // Another attempt would get the same message. The driver has ended the session.
    if (isTooLarge(cause) && operation !== "connect") {
      const message = `${operation}: ${detail}: read less at a time, or raise maxMessageSize`
      return new SqlError({ reason: new UnknownError({ cause, message, operation }) })
    }
    const message = `${error.message.replace(/^PgConnection: /, "")}: ${detail}`
    return new SqlError({ reason: new ConnectionError({ cause, message, operation }) })
  }
  const server = cause as ServerError
  const detail = Predicate.isString(server.detail) ? `: ${server.detail}` : ""
  const message = `${String(server.message)}${detail} (SQLSTATE ${state})${adviceOf(state, server)}`
  if (isFatalViolation(error)) {
    const Reason = hopelessAtPooler.test(message) ? UnknownError : ConnectionError
    return new SqlError({ reason: new Reason({ cause, message: ofStartup(message), operation }) })
  }
  return new SqlError({ reason: reasonOf(state, server.constraint, { cause, message, operation }) })
}
