/** Errors that this library finds itself, before the server is asked. */
import { AuthorizationError, ConnectionError, SqlError, SqlSyntaxError, UnknownError } from "effect/sql/SqlError"
import { cut } from "../../internal/structures/statementText.ts"

/** Invalid input, which the server did not get. */
export const invalidInput = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new UnknownError({ cause: new TypeError(message), message, operation }) })

/** Invalid SQL, which the server did not get. */
export const invalidSql = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new SqlSyntaxError({ cause: new SyntaxError(message), message, operation }) })

/** A statement that was refused, because it could not have its effect. The server did not get it. */
export const denied = (operation: string, sql: string, why: string): SqlError => {
  const message = `${operation}: ${JSON.stringify(cut(sql, 100))}: ${why}`
  return new SqlError({ reason: new AuthorizationError({ cause: new Error(message), message, operation }) })
}

/** A session that was lost before the statement was sent, so the server did not get it. */
export const notSent = (operation: string, why: string): SqlError => {
  const message = `${operation} was not sent, because the connection was lost: ${why}`
  return new SqlError({ reason: new ConnectionError({ cause: new NotSent(message), message, operation }) })
}

/** The cause of the `SqlError` of a statement that was not sent. */
export class NotSent extends Error {
  override readonly name = "NotSent"
}

/** A write that the server refused because it takes none: it is a standby. Nothing has changed, and another server may take it. */
export const noPrimary = ({ message: said, reason }: SqlError): SqlError => {
  const message =
    `${said}: this server takes no writes, so its connection is replaced: run all of it again; if that does ` +
    "not help, name all servers in `hosts`"
  const cause = new NoPrimary(message, { cause: reason.cause })
  return new SqlError({ reason: new ConnectionError({ cause, message, operation: reason.operation ?? "query" }) })
}

/** The cause of the `SqlError` of a write that was refused because the server takes none. */
export class NoPrimary extends Error {
  override readonly name = "NoPrimary"
}

/** The cause of the `SqlError` of a connect attempt for which there was no host. */
export class NoHost extends Error {
  override readonly name = "NoHost"
  /** Whether another attempt cannot help. */
  readonly isHopeless: boolean

  constructor(message: string, isHopeless: boolean) {
    super(message)
    this.isHopeless = isHopeless
  }
}

/** The cause of the `SqlError` of a connect attempt that has no password, because the effect for it has failed. */
export class NoPassword extends Error {
  override readonly name = "NoPassword"
}
