/** Turns the failures of pools and transactions into `SqlError`, the one error type of `effect/sql`. */
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

/** The `SqlError` for a failure of a pool or of a transaction. */
export const sqlErrorOf = (error: SqlError | TransactionError | PoolError<unknown> | LeaseExpiredError): SqlError => {
  if (isSqlError(error)) return error
  const { message } = error
  switch (error._tag) {
    case "TransactionBeginError":
    case "TransactionCommitError":
      return error.cause
    // A `ConnectionError` is retryable: the caller may succeed when it tries again.
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

/** The kind of the `SqlError`. It is retryable if the driver says that a retry may help, or gives no reason. */
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
