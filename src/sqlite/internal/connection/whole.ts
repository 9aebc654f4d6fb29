/**
 * Statements that leave a part of their work behind in a transaction if an aggregate of the application fails. SQLite
 * expects that functions fail, but not that aggregates fail. A savepoint makes up for that.
 */
import { isIntegerTooBig } from "../failures.ts"
import { AggregateCalled } from "../sql/authorizer.ts"
import type { Database } from "./database.ts"
import { FunctionFailure } from "./functions.ts"
import type { Prepared } from "./preparedStatements.ts"
import type { Units } from "./units.ts"

/** Whether a script may call an aggregate of the application: by its text, or by a view or a trigger. */
export const mayLeavePart = (database: Database, script: string): boolean =>
  database.functions.hasAggregates && (database.functions.mentionsAggregate(script) || database.mentionsAggregate())

/** Whether a statement has to run with `inTransaction`. */
export const mayNeedSavepoint = (database: Database, prepared: Prepared): boolean =>
  database.functions.hasAggregates && !prepared.text.isRead && database.sqlite.isTransaction

/**
 * Runs a statement that may write, in a transaction. If a function of the application fails, nothing of the statement is left.
 *
 * SQLite says which functions a statement calls when it compiles it. After a change of the schema it compiles it again as it
 * begins to run, and a new trigger may call an aggregate. Then the statement fails before it has an effect, and runs again
 * with a savepoint.
 */
export const inTransaction = <A>(database: Database, units: Units, { tables }: Prepared, work: () => A): A => {
  const { authorizer } = database
  if (!tables.callsAggregate) {
    authorizer.refusesAggregates = true
    try {
      return work()
    } catch (thrown) {
      if (!(thrown instanceof AggregateCalled)) throw thrown
    } finally {
      authorizer.refusesAggregates = false
    }
  }
  return whole(database, units, work)
}

/** Runs a statement in a transaction. If a function of the application fails, nothing of the statement is left. */
export const whole = <A>(database: Database, units: Units, work: () => A): A => {
  const { tables } = database.authorizer
  units.savepoint("savepoint")
  database.authorizer.tables = tables
  try {
    return work()
  } catch (thrown) {
    const failure = thrown instanceof FunctionFailure ? thrown : undefined
    if ((failure !== undefined || isIntegerTooBig(thrown)) && units.isIntact) {
      units.savepoint("rollback to")
      if (failure !== undefined) failure.leavesPart = false
    }
    throw thrown
  } finally {
    if (units.isIntact) units.savepoint("release")
  }
}
