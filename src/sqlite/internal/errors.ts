/** Failures of a SQLite connection, as the `SqlError` that the Effect ecosystem knows. */
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

/** What a synchronous operation threw, as the typed failure that it is. Throws everything else again: that is a defect. */
export const failure = (thrown: unknown): SqlError | LeaseExpiredError => {
  if (isSqlError(thrown) || thrown instanceof LeaseExpiredError) return thrown
  throw thrown
}

/** SQLite's extended result code of what `node:sqlite` threw, if it came from SQLite. */
export const codeOfThrown = (thrown: unknown): number | undefined =>
  Predicate.hasProperty(thrown, "errcode") && Predicate.isNumber(thrown.errcode) ? thrown.errcode : undefined

/** SQLite's extended result code behind an error, if there is one. */
export const codeOf = (error: unknown): number | undefined =>
  isSqlError(error) ? codeOfThrown(error.reason.cause) : undefined

/** The primary code of an extended one: https://sqlite.org/rescode.html#primary_result_codes_versus_extended_result_codes. */
export const primaryOf = (code: number): number => code & 0xff

/** Whether a code means a lock of others, so that another try may succeed a moment later. */
export const isLock = (code: number | undefined): boolean => code !== undefined && lockCodes.has(code)

/** Whether a connection cannot be trusted after a failure with this code: NOMEM and IOERR. */
export const leavesInDoubt = (code: number | undefined): boolean =>
  code !== undefined && (primaryOf(code) === 7 || primaryOf(code) === 10)

/** What SQLite says to a statement that writes where it may only read. */
export const READONLY = 8

/** BUSY, BUSY_RECOVERY, BUSY_TIMEOUT, LOCKED_SHAREDCACHE, and PROTOCOL: a race for the locks of the log. */
const lockCodes: ReadonlySet<number> = new Set([5, 261, 773, 262, 15])

/** What `node:sqlite` threw; the message is SQLite's own, and what to do about it where that is known. */
export const fromSqlite = (thrown: unknown, operation: string): SqlError =>
  new SqlError({ reason: reasonOf(thrown, operation, messageOf(thrown)) })

/** What `node:sqlite` threw, with a message that says more than SQLite's own. */
export const fromSqliteSaying = (thrown: unknown, operation: string, message: string): SqlError =>
  new SqlError({ reason: reasonOf(thrown, operation, message) })

/** The error for an integer that no number holds exactly, in a row of a statement that reads. */
export const integerTooBig = (thrown: unknown, operation: string): SqlError =>
  fromSqliteSaying(
    thrown,
    operation,
    `${sqliteMessage(thrown)}. With SafeIntegers from effect/sql/SqlClient, integers are bigints.`
  )

/** The error for input that never got as far as SQLite. */
export const invalidInput = (operation: string, message: string): SqlError => failed(operation, message)

/** The error for an operation that cannot be done here, for a reason that SQLite has no code for. */
export const failed = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new UnknownError({ cause: new TypeError(message), message, operation }) })

/** The error for SQL that never got as far as SQLite. */
export const invalidSql = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new SqlSyntaxError({ cause: new SyntaxError(message), message, operation }) })

/** The error of a connection that is closed: it stays closed, however often it is asked. */
export const closed = (operation: string): SqlError => {
  const message = `${operation}: the connection is closed`
  return new SqlError({ reason: new UnknownError({ cause: new Error(message), message, operation }) })
}

/**
 * The error for a statement that cannot have its effect where it was given, so that nothing of it was done. Has the code
 * of SQLite's `SQLITE_AUTH`.
 */
export const denied = (operation: string, sql: string, why: string): SqlError => {
  const message = `${operation}: ${JSON.stringify(shortened(sql))}: ${why}`
  const cause = Object.assign(new Error("not authorized"), { errcode: 23 })
  return new SqlError({ reason: new AuthorizationError({ cause, message, operation }) })
}

/** The error where there is no database at the moment. */
export const unconnected = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new ConnectionError({ cause: new Error(message), message, operation }) })

/**
 * The error for a statement that writes on a connection that only reads: the statement, `why`, and what to use instead.
 * Has the code of SQLite's `SQLITE_READONLY`, whether SQLite has refused the statement or this library has.
 */
export const readOnlyRefusal = (
  operation: string,
  sql: string,
  why: string,
  cause: unknown = Object.assign(new Error("attempt to write a readonly database"), { errcode: READONLY })
): SqlError => fromSqliteSaying(cause, operation, `${operation}: ${JSON.stringify(shortened(sql))}: ${why}`)

const shortened = (text: string): string => text.length <= 100 ? text : `${text.slice(0, 100)}...`

/**
 * The reason is that of Effect's own rule, so that what catches one catches it here, except for a few codes where the rule
 * says what is not so. `docs/sqlite.md` lists them all.
 */
const reasonOf = (cause: unknown, operation: string, message: string): SqlErrorReason => {
  const code = codeOfThrown(cause)
  const props = { cause, message, operation }
  if (code === undefined) return new UnknownError(props)
  switch (code) {
    case 6: // LOCKED
    case 518: // LOCKED_VTAB
      // Held by the connection itself: another attempt would meet it again.
      return new UnknownError(props)
    case 15: // PROTOCOL
      // A race for the locks of the log: another attempt may win it.
      return new LockTimeoutError(props)
    case 517: // BUSY_SNAPSHOT
      return new SerializationError(props)
    case READONLY:
    case 264: // READONLY_RECOVERY
    case 520: // READONLY_CANTLOCK
    case 776: // READONLY_ROLLBACK
    case 1288: // READONLY_CANTINIT
    case 1544: // READONLY_DIRECTORY
      // Not READONLY_DBMOVED, which is about the file and not about what may be done to it.
      return new AuthorizationError(props)
    default:
      // It looks for the code under another name than that which Node gives it.
      return classifySqliteError(Object.assign(cause as object, { errno: code }), { message, operation })
  }
}

const messageOf = (thrown: unknown): string => {
  const message = sqliteMessage(thrown)
  const hint = noTransaction.test(message) ? noTransactionHint : hints.get(codeOfThrown(thrown))
  return hint === undefined ? message : `${message}: ${hint}`
}

export const sqliteMessage = (thrown: unknown): string => thrown instanceof Error ? thrown.message : String(thrown)

const noTransaction = /^cannot (?:commit|rollback) - no transaction is active$/

const noTransactionHint =
  "one that was begun by hand ends when its connection is returned, and is rolled back; each lease, and each statement " +
  "through `sql`, takes a connection of its own, so use `transaction`"

const hints: ReadonlyMap<number | undefined, string> = new Map([
  [
    6,
    "by this same connection, which has a statement or a transaction open; another attempt would meet it again"
  ],
  [READONLY, "its file is read-only, or a `pragma query_only` is on"],
  [1032, "its file was moved or deleted while it was open"],
  [
    517,
    "another connection has written since this transaction first read; roll back and run the whole transaction again"
  ]
])
