/** The failures of SQLite connections as `SqlError`. */
import { Predicate } from "effect"
import {
  AuthorizationError,
  classifySqliteError,
  ConnectionError,
  isSqlError,
  LockTimeoutError,
  SerializationError,
  SqlError,
  type SqlErrorReason,
  SqlSyntaxError,
  UnknownError
} from "effect/sql/SqlError"
import { LeaseExpiredError } from "../../PoolError.ts"
import type { FunctionError } from "../SqlitePoolError.ts"

/**
 * The typed failure that a synchronous operation has thrown. Throws everything else again, because that is a defect.
 */
export const failure = (thrown: unknown): SqlError | LeaseExpiredError => {
  if (isSqlError(thrown) || thrown instanceof LeaseExpiredError) return thrown
  throw thrown
}

/** The extended result code of an error of `node:sqlite`, if the error came from SQLite. */
export const codeOfThrown = (thrown: unknown): number | undefined =>
  Predicate.hasProperty(thrown, "errcode") && Predicate.isNumber(thrown.errcode) ? thrown.errcode : undefined

/** The extended result code behind a `SqlError`, if there is one. */
export const codeOf = (error: unknown): number | undefined =>
  isSqlError(error) ? codeOfThrown(error.reason.cause) : undefined

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

/** The error for an error of `node:sqlite`. The message is SQLite's own, and a hint what to do, if there is one. */
export const fromSqlite = (thrown: unknown, operation: string, what?: Failed): SqlError =>
  new SqlError({ reason: reasonOf(thrown, operation, messageOf(thrown, what)) })

/** The error for an error of `node:sqlite`, with another message. */
export const fromSqliteSaying = (thrown: unknown, operation: string, message: string): SqlError =>
  new SqlError({ reason: reasonOf(thrown, operation, message) })

/** Whether Node has refused to make a number of an integer that no number holds exactly. */
export const isIntegerTooBig = (thrown: unknown): boolean =>
  Predicate.hasProperty(thrown, "code") && thrown.code === "ERR_OUT_OF_RANGE"

/** The error for an integer beyond 2^53 in a row of a statement that only reads, or in an argument of a SQL function. */
export const integerTooBig = (thrown: unknown, operation: string, functions: ReadonlyArray<string>): SqlError =>
  fromSqliteSaying(
    thrown,
    operation,
    `${sqliteMessage(thrown)}. With SafeIntegers from effect/sql/SqlClient, integers are bigints` +
      (functions.length === 0
        ? "."
        : `; as arguments of a SQL function, with safeIntegers: true (${functions.join(", ")}).`)
  )

/** The error of a statement whose SQL function has failed. It has no code, whatever the function threw. */
export const functionFailed = (error: FunctionError, operation: string): SqlError =>
  new SqlError({ reason: new UnknownError({ cause: error, message: error.message, operation }) })

/** The error for invalid input, which SQLite did not get. */
export const invalidInput = (operation: string, message: string): SqlError => failed(operation, message)

/** The error for an operation that is not possible, for a reason that has no code in SQLite. */
export const failed = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new UnknownError({ cause: new TypeError(message), message, operation }) })

/** The error for invalid SQL, which SQLite did not get. */
export const invalidSql = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new SqlSyntaxError({ cause: new SyntaxError(message), message, operation }) })

/** The error of a closed connection. Not retryable, because the connection stays closed. */
export const closed = (operation: string): SqlError => {
  const message = `${operation}: the connection is closed`
  return new SqlError({ reason: new UnknownError({ cause: new Error(message), message, operation }) })
}

/**
 * The error for a statement that was refused, because it cannot have its effect on this connection. Nothing was done.
 * It has the code `SQLITE_AUTH`.
 */
export const denied = (operation: string, sql: string, why: string): SqlError => {
  const message = `${operation}: ${JSON.stringify(shortened(sql))}: ${why}`
  const cause = Object.assign(new Error("not authorized"), { errcode: 23 })
  return new SqlError({ reason: new AuthorizationError({ cause, message, operation }) })
}

/** The error for a file that has no database at the moment. */
export const unconnected = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new ConnectionError({ cause: new Error(message), message, operation }) })

/**
 * The error for a write on a connection that only reads. `why` has the reason, and says what to use instead. It has the
 * code `SQLITE_READONLY`, also if this library has refused the statement.
 */
export const readOnlyRefusal = (
  operation: string,
  sql: string,
  why: string,
  cause: unknown = Object.assign(new Error("attempt to write a readonly database"), { errcode: READONLY })
): SqlError => fromSqliteSaying(cause, operation, `${operation}: ${JSON.stringify(shortened(sql))}: ${why}`)

const shortened = (text: string): string => text.length <= 100 ? text : `${text.slice(0, 100)}...`

/**
 * Effect's own rule decides the reason, so that handlers work as with Effect's clients. For a few codes the rule is
 * wrong, and another reason is given. `docs/sqlite.md` lists them.
 */
const reasonOf = (cause: unknown, operation: string, message: string): SqlErrorReason => {
  const code = codeOfThrown(cause)
  const props = { cause, message, operation }
  if (code === undefined) return new UnknownError(props)
  switch (code) {
    case 6: // LOCKED
    case 518: // LOCKED_VTAB
      // The connection itself holds the lock, so another try would not help.
      return new UnknownError(props)
    case 15: // PROTOCOL
      // A race for the locks of the log: another try may succeed.
      return new LockTimeoutError(props)
    case 517: // BUSY_SNAPSHOT
      return new SerializationError(props)
    case READONLY:
    case 264: // READONLY_RECOVERY
    case 520: // READONLY_CANTLOCK
    case 776: // READONLY_ROLLBACK
    case 1288: // READONLY_CANTINIT
    case 1544: // READONLY_DIRECTORY
      // READONLY_DBMOVED is not here: it says that the file was moved, not that a right is missing.
      return new AuthorizationError(props)
    default:
      // Effect's rule reads the code from `errno`, but Node stores it in `errcode`.
      return classifySqliteError(Object.assign(cause as object, { errno: code }), { message, operation })
  }
}

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

export const sqliteMessage = (thrown: unknown): string => thrown instanceof Error ? thrown.message : String(thrown)

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
  [READONLY, "its file is read-only, or `pragma query_only` is on"],
  [1032, "its file was moved or deleted while it was open"],
  [
    517,
    "another connection has written since this transaction first read; roll back and run the whole transaction again"
  ]
])
