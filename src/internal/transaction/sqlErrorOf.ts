/** The failures of pools and transactions under the one error type of `effect/sql`. */
import {
  AuthenticationError,
  AuthorizationError,
  ConnectionError,
  isSqlError,
  SqlError,
  UnknownError
} from "effect/sql/SqlError"
import type { ConnectError, LeaseExpiredError, PoolError } from "../../PoolError.ts"
import type { TransactionError } from "../../TransactionError.ts"

/** Turns a failure of a pool or of a transaction into the `SqlError` that a client of `effect/sql` may fail with. */
export const sqlErrorOf = (error: SqlError | TransactionError | PoolError<unknown> | LeaseExpiredError): SqlError => {
  if (isSqlError(error)) return error
  const { message } = error
  switch (error._tag) {
    case "TransactionBeginError":
    case "TransactionCommitError":
      return error.cause
    // The caller may succeed when it tries again.
    case "AcquireTimeoutError":
    case "QueueFullError":
      return new SqlError({ reason: new ConnectionError({ cause: error, message, operation: "acquire" }) })
    case "ConnectError": {
      const Reason = connectReason(error)
      return new SqlError({ reason: new Reason({ cause: error, message, operation: "acquire" }) })
    }
    case "PoolClosedError":
    case "SelfDeadlockError":
      return new SqlError({ reason: new UnknownError({ cause: error, message, operation: "acquire" }) })
    case "LeaseExpiredError":
      return new SqlError({ reason: new UnknownError({ cause: error, message, operation: error.operation }) })
    default:
      return new SqlError({ reason: new UnknownError({ cause: error, message, operation: "transaction" }) })
  }
}

/** The kind of the `SqlError`: a retryable one only if the driver says that a retry may help, or says nothing. */
const connectReason = ({ reason }: ConnectError) => {
  if (reason._tag === "ConnectDied") return UnknownError
  if (reason._tag === "ConnectTimedOut" || !isSqlError(reason.error)) return ConnectionError
  switch (reason.error.reason._tag) {
    case "AuthenticationError":
      return AuthenticationError
    case "AuthorizationError":
      return AuthorizationError
    default:
      return reason.error.isRetryable ? ConnectionError : UnknownError
  }
}
