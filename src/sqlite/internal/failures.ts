/**
 * What goes wrong on a connection, as plain data. A thread without Effect can make it and send it. `errors.ts` makes a
 * `SqlError` of it.
 */
import { show } from "../../internal/options/show.ts"
import { cut } from "../../internal/structures/statementText.ts"

/**
 * What decides the reason of the `SqlError`:
 *
 * - `code`: the code of SQLite in `cause`
 * - `function`: a SQL function of the application has failed; `cause` is what it threw
 * - the others: `cause` says no more than `message`
 */
export type FailureKind = "code" | "function" | "unknown" | "syntax" | "authorization" | "connection" | "timeout"

/** A failure. It is no `Error`, because its `cause` has the stack. */
export class Failure {
  readonly kind: FailureKind
  readonly operation: string
  readonly message: string
  readonly cause: unknown
  /** The SQL function that has failed. */
  readonly function: string | undefined

  constructor(kind: FailureKind, operation: string, message: string, cause: unknown, name?: string) {
    this.kind = kind
    this.operation = operation
    this.message = message
    this.cause = cause
    this.function = name
  }
}

/** The extended result code of an error of `node:sqlite`, if the error came from SQLite. */
export const codeOfThrown = (thrown: unknown): number | undefined => {
  const code = propertyOf(thrown, "errcode")
  return typeof code === "number" ? code : undefined
}

/**
 * The primary code of an extended one:
 * https://sqlite.org/rescode.html#primary_result_codes_versus_extended_result_codes.
 */
export const primaryOf = (code: number): number => code & 0xff

/** Whether a code means that another connection has a lock, so that another try may succeed a moment later. */
export const isLock = (code: number | undefined): boolean => code !== undefined && lockCodes.has(code)

/** Whether a connection cannot be trusted after a failure with this code: NOMEM and IOERR. */
export const leavesInDoubt = (code: number | undefined): boolean =>
  code !== undefined && (primaryOf(code) === 7 || primaryOf(code) === 10)

/** The primary code of a write that is not allowed. */
export const READONLY = 8

/** BUSY, BUSY_RECOVERY, BUSY_TIMEOUT, LOCKED_SHAREDCACHE, and PROTOCOL: a race for the locks of the log. */
const lockCodes: ReadonlySet<number> = new Set([5, 261, 773, 262, 15])

/** What failed, for a hint what to do. */
export interface Failed {
  readonly sql: string
  /** Whether a function given to `writeSync` ran it. */
  readonly isInUnit: boolean
}

/** The failure for an error of `node:sqlite`. The message is SQLite's own, and a hint what to do, if there is one. */
export const fromSqlite = (thrown: unknown, operation: string, what?: Failed): Failure =>
  fromSqliteSaying(thrown, operation, messageOf(thrown, what))

/** The failure for an error of `node:sqlite`, with another message. */
export const fromSqliteSaying = (thrown: unknown, operation: string, message: string): Failure =>
  new Failure("code", operation, message, thrown)

/** Whether Node has refused to make a number of an integer that no number holds exactly. */
export const isIntegerTooBig = (thrown: unknown): boolean => propertyOf(thrown, "code") === "ERR_OUT_OF_RANGE"

/** The failure for an integer beyond 2^53 in a row of a statement that only reads, or in an argument of a SQL function. */
export const integerTooBig = (thrown: unknown, operation: string, functions: ReadonlyArray<string>): Failure =>
  fromSqliteSaying(
    thrown,
    operation,
    `${sqliteMessage(thrown)}. With SafeIntegers from effect/sql/SqlClient, integers are bigints` +
      (functions.length === 0
        ? "."
        : `; as arguments of a SQL function, with safeIntegers: true (${functions.join(", ")}).`)
  )

/** The failure of a statement whose SQL function has failed. It has no code, whatever the function threw. */
export const functionFailed = (name: string, operation: string, cause: unknown): Failure =>
  new Failure("function", operation, functionMessage(name, cause), cause, name)

/** Says that a SQL function has failed with `cause`. */
export const functionMessage = (name: string, cause: unknown): string =>
  `the SQL function ${name} failed: ${textOf(cause)}`

/** A function may throw anything, also what cannot be looked at, such as a revoked `Proxy`. */
const textOf = (thrown: unknown): string => {
  try {
    return thrown instanceof Error ? cut(String(thrown.message), 1000) : show(thrown)
  } catch {
    return "it threw something that cannot be printed"
  }
}

/** The failure for invalid input, which SQLite did not get. */
export const invalidInput = (operation: string, message: string): Failure => failed(operation, message)

/** The failure of an operation that is not possible, for a reason that has no code in SQLite. */
export const failed = (operation: string, message: string): Failure =>
  new Failure("unknown", operation, message, new TypeError(message))

/** The failure of a statement that ran for too long. */
export const timedOut = (operation: string, timeoutMillis: number): Failure => {
  const message =
    `${operation}: it ran for longer than statementTimeout, ${timeoutMillis} ms, and was cancelled: nothing is stored`
  return new Failure("timeout", operation, message, new Error(message))
}

/** The failure for invalid SQL, which SQLite did not get. */
export const invalidSql = (operation: string, message: string): Failure =>
  new Failure("syntax", operation, message, new SyntaxError(message))

/** The failure of a closed connection. Not retryable, because the connection stays closed. */
export const closed = (operation: string): Failure => {
  const message = `${operation}: the connection is closed`
  return new Failure("unknown", operation, message, new Error(message))
}

/**
 * The failure of a statement that was refused, because it cannot have its effect on this connection. Nothing was done.
 * It has the code `SQLITE_AUTH`.
 */
export const denied = (operation: string, sql: string, why: string): Failure => {
  const message = `${operation}: ${JSON.stringify(shortened(sql))}: ${why}`
  const cause = Object.assign(new Error("not authorized"), { errcode: 23 })
  return new Failure("authorization", operation, message, cause)
}

/** The failure for a file that has no database at the moment. */
export const unconnected = (operation: string, message: string): Failure =>
  new Failure("connection", operation, message, new Error(message))

/**
 * The failure of a write on a connection that only reads. `why` has the reason, and says what to use instead. It has the
 * code `SQLITE_READONLY`, also if this library has refused the statement.
 */
export const readOnlyRefusal = (
  operation: string,
  sql: string,
  why: string,
  cause: unknown = Object.assign(new Error("attempt to write a readonly database"), { errcode: READONLY })
): Failure => fromSqliteSaying(cause, operation, `${operation}: ${JSON.stringify(shortened(sql))}: ${why}`)

/** A text that is short enough for a message. */
export const shortened = (text: string): string => text.length <= 100 ? text : `${text.slice(0, 100)}...`

const messageOf = (thrown: unknown, what: Failed | undefined): string => {
  const message = sqliteMessage(thrown)
  const hint = hintOf(thrown, message, what)
  return hint === undefined ? message : `${message}: ${hint}`
}

const hintOf = (thrown: unknown, message: string, what: Failed | undefined): string | undefined => {
  const code = codeOfThrown(thrown)
  const unit = what?.isInUnit === true ? unitHint : ""
  if (isNoTransaction(thrown)) return noTransactionHint
  if (inTransaction.test(message)) return `use \`write\`, outside of a transaction${unit}`
  if (code === 6 && what !== undefined && checkpoint.test(what.sql)) return `${checkpointHint}${unit}`
  return hints.get(code)
}

const unitHint = "; the function given to `writeSync` is one"

const checkpoint = /\bwal_checkpoint\b/i

const checkpointHint =
  "this connection itself has a statement or a transaction open: use `checkpoint`, or `write`, outside of a transaction"

/** The message of an error of `node:sqlite`, or of a failure. */
export const sqliteMessage = (thrown: unknown): string =>
  thrown instanceof Error || thrown instanceof Failure ? thrown.message : String(thrown)

/** Whether a statement was to end a transaction while none was open. */
export const isNoTransaction = (thrown: unknown): boolean => noTransaction.test(sqliteMessage(thrown))

const noTransaction = /^cannot (?:commit|rollback) - no transaction is active$/

const inTransaction = /^(?!cannot start ).*\b(?:within|inside) a transaction$/

const noTransactionHint =
  "a transaction that was begun by hand is rolled back when its connection is returned; each lease, and each statement " +
  "of `sql`, has a connection of its own, so use `transaction`"

const hints: ReadonlyMap<number | undefined, string> = new Map([
  [
    6,
    "this connection itself has a statement or a transaction open, so another try would not help"
  ],
  [READONLY, "its file, or its log beside it, is read-only for this process, or `pragma query_only` is on"],
  [1032, "its file was moved or deleted while it was open"],
  [
    517,
    "another connection has written since this transaction first read; roll back and run the whole transaction again"
  ]
])

/** A property of what was thrown. A function of the application may throw an object whose properties throw. */
const propertyOf = (value: unknown, name: string): unknown => {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return undefined
  try {
    return (value as Readonly<Record<string, unknown>>)[name]
  } catch {
    return undefined
  }
}

/** The failure of a statement of a batch whose rows nobody would get. */
export const returnsRows = (): Failure =>
  invalidSql("batch", "batch: the statement returns rows, which would be lost: use `sql`, or leave its `returning` out")
