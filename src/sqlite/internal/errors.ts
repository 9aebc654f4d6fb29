/** The failures of SQLite connections as `SqlError`. */
import { Exit } from "effect"
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
  StatementTimeoutError,
  UnknownError
} from "effect/sql/SqlError"
import { LeaseExpiredError } from "../../PoolError.ts"
import { FunctionError } from "../SqlitePoolError.ts"
import { codeOfThrown, Failure, READONLY } from "./failures.ts"

/**
 * The typed failure that a synchronous operation has thrown. Throws everything else again, because that is a defect.
 */
export const failure = (thrown: unknown): SqlError | LeaseExpiredError => {
  if (thrown instanceof Failure) return toSqlError(thrown)
  if (isSqlError(thrown) || thrown instanceof LeaseExpiredError) return thrown
  throw thrown
}

/** What a thread has thrown, for its caller. A defect that were thrown where messages arrive would end the process. */
export const exitOf = (thrown: unknown): Exit.Exit<never, SqlError | LeaseExpiredError> => {
  try {
    return Exit.fail(failure(thrown))
  } catch (defect) {
    return Exit.die(defect)
  }
}

/** The extended result code behind a `SqlError`, if there is one. */
export const codeOf = (error: unknown): number | undefined =>
  isSqlError(error) ? codeOfThrown(error.reason.cause) : undefined

/** The error for a failure on a connection. */
export const toSqlError = (failure: Failure): SqlError => new SqlError({ reason: reasonOf(failure) })

const reasonOf = ({ cause, function: name, kind, message, operation }: Failure): SqlErrorReason => {
  const props = { cause, message, operation }
  switch (kind) {
    case "code":
      return reasonOfCode(props)
    case "function": {
      const error = new FunctionError({ function: name!, cause })
      return new UnknownError({ cause: error, message: error.message, operation })
    }
    case "unknown":
      return new UnknownError(props)
    case "syntax":
      return new SqlSyntaxError(props)
    case "authorization":
      return new AuthorizationError(props)
    case "connection":
      return new ConnectionError(props)
    case "timeout":
      return new StatementTimeoutError(props)
  }
}

/**
 * Effect's own rule decides the reason, so that handlers work as with Effect's clients. For a few codes the rule is
 * wrong, and another reason is given. `docs/sqlite.md` lists them.
 */
const reasonOfCode = (
  props: { readonly cause: unknown; readonly message: string; readonly operation: string }
): SqlErrorReason => {
  const { cause, message, operation } = props
  const code = codeOfThrown(cause)
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
