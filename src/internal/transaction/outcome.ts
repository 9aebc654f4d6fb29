/** How a run ends for its caller: the failure of the transaction itself comes before the failure of its body. */
import { Exit } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { PoolError } from "../../PoolError.ts"
import { type TransactionError, withRollbackFailure } from "../../TransactionError.ts"
import type { Run } from "./run.ts"

/** The exit of a run, made of the exit that the machinery of `effect/sql` gave and of the failures that the run has noted. */
export const outcomeOf = <C, Isolation extends string, E, A, X, X2>(
  { failure, rollbackFailure }: Run<C, Isolation, E>,
  exit: Exit.Exit<A, X | SqlError>,
  present: (failure: TransactionError | PoolError<E>) => X2
): Exit.Exit<A, X | X2> => {
  // The machinery fails with a stand-in only where the run has a failure of its own.
  const own: Exit.Exit<A, X | X2> = failure === undefined ? exit as Exit.Exit<A, X> : Exit.fail(present(failure))
  if (Exit.isSuccess(own) || rollbackFailure === undefined) return own
  return Exit.failCause(withRollbackFailure(own.cause, rollbackFailure))
}
