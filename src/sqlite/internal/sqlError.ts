/** What goes wrong at a SQLite connection, as the `SqlError` that the Effect ecosystem knows. */
import { Predicate } from "effect"
import {
  classifySqliteError,
  ConnectionError,
  isSqlError,
  LockTimeoutError,
  SerializationError,
  SqlError,
  type SqlErrorReason,
  SqlSyntaxError,
  UniqueViolation,
  UnknownError
} from "effect/sql/SqlError"

/** SQLite's extended result code of what `node:sqlite` threw, if it came from SQLite. */
export const codeOfThrown = (thrown: unknown): number | undefined =>
  Predicate.hasProperty(thrown, "errcode") && Predicate.isNumber(thrown.errcode) ? thrown.errcode : undefined

/** SQLite's extended result code behind an error, if there is one. */
export const codeOf = (error: unknown): number | undefined =>
  isSqlError(error) ? codeOfThrown(error.reason.cause) : undefined

/** The part of a code that is left when what it was extended by is taken away. */
export const primaryOf = (code: number): number => code & 0xff

/** Whether it is a lock held by others, so that the same may succeed a moment later. */
export const isLock = (code: number | undefined): boolean => code !== undefined && lockCodes.has(code)

/** BUSY, BUSY_RECOVERY, BUSY_TIMEOUT, LOCKED_SHAREDCACHE, and PROTOCOL: a race for the locks of the log. */
const lockCodes: ReadonlySet<number> = new Set([5, 261, 773, 262, 15])

/** What `node:sqlite` threw; the message is SQLite's own, and what to do about it where that is known. */
export const fromSqlite = (thrown: unknown, operation: string): SqlError =>
  new SqlError({ reason: reasonOf(thrown, operation, messageOf(thrown)) })

/** The same, with a message that says more. */
export const fromSqliteSaying = (thrown: unknown, operation: string, message: string): SqlError =>
  new SqlError({ reason: reasonOf(thrown, operation, message) })

/** What never got as far as SQLite. */
export const refused = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new UnknownError({ cause: new TypeError(message), message, operation }) })

/** SQL that never got as far as SQLite. */
export const refusedSql = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new SqlSyntaxError({ cause: new SyntaxError(message), message, operation }) })

export const closed = (operation: string): SqlError => unconnected(operation, `${operation}: the connection is closed`)

/** There is no database where one should be. */
export const unconnected = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new ConnectionError({ cause: new Error(message), message, operation }) })

/** A statement that writes, given to somebody who only reads. Has the code that SQLite has for that. */
export const refusedWrite = (operation: string): SqlError => {
  const cause = Object.assign(new Error("attempt to write a readonly database"), { errcode: 8 })
  return fromSqliteSaying(cause, operation, `${operation}: this statement does more than read: see write`)
}

const reasonOf = (cause: unknown, operation: string, message: string): SqlErrorReason => {
  const code = codeOfThrown(cause)
  const props = { cause, message, operation }
  if (code === undefined) return new UnknownError(props)
  if (isLock(code)) return new LockTimeoutError(props)
  switch (code) {
    case 1: // ERROR
      return new SqlSyntaxError(props)
    case 6: // LOCKED
    case 518: // LOCKED_VTAB
      // Held by the connection itself: another attempt would meet it again.
      return new UnknownError(props)
    case 517: // BUSY_SNAPSHOT
      return new SerializationError(props)
    case 1555: // CONSTRAINT_PRIMARYKEY
    case 2067: // CONSTRAINT_UNIQUE
    case 2579: // CONSTRAINT_ROWID
      return new UniqueViolation({ ...props, constraint: constraintOf(cause) })
    default:
      // It looks for the code under another name than that which Node gives it.
      return classifySqliteError(Object.assign(cause as object, { errno: code }), { message, operation })
  }
}

/** What SQLite says of the columns, or the index, as in `UNIQUE constraint failed: users.name`. */
const constraintOf = (cause: unknown): string => {
  const [, constraint] = /constraint failed: (.+)$/s.exec(sqliteMessage(cause)) ?? []
  return constraint ?? "unknown"
}

const messageOf = (thrown: unknown): string => {
  const message = sqliteMessage(thrown)
  const hint = hints.get(codeOfThrown(thrown))
  return hint === undefined ? message : `${message}: ${hint}`
}

export const sqliteMessage = (thrown: unknown): string => thrown instanceof Error ? thrown.message : String(thrown)

const hints: ReadonlyMap<number | undefined, string> = new Map([
  [
    6,
    "by this same connection, which has a statement or a transaction open; another attempt would meet it again"
  ],
  [
    517,
    "another connection has written since this transaction first read; roll back and run the whole transaction again"
  ]
])
