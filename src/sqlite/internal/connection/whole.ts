/**
 * Statements that leave a part of their work behind in a transaction if an aggregate of the application fails. SQLite
 * expects that functions fail, but not that aggregates fail. A savepoint makes up for that.
 */
import { isIntegerTooBig } from "../failures.ts"
import type { Database } from "./database.ts"
import { FunctionFailure } from "./functions.ts"
import type { Prepared } from "./preparedStatements.ts"
import type { Units } from "./units.ts"

/** Whether a statement or a script may call an aggregate of the application: by its text, or by a view or a trigger. */
export const mayLeavePart = (database: Database, sql: string): boolean =>
  database.functions.hasAggregates && (database.functions.mentionsAggregate(sql) || database.mentionsAggregate())

/** Whether SQLite itself undoes the statement if it fails now. */
export const undoesItself = (database: Database, prepared: Prepared): boolean => {
  if (!database.functions.hasAggregates || prepared.text.isRead || !database.sqlite.isTransaction) return true
  prepared.mayLeavePart ??= mayLeavePart(database, prepared.sql)
  return !prepared.mayLeavePart
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
