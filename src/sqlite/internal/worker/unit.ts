/**
 * What encloses a statement that stores something, so that it can be undone until it counts: a transaction of its own, or a
 * savepoint in the transaction of the caller. A caller whose statement was cancelled in a transaction may go on with it, and
 * commit it.
 */
import type { Handle } from "../connection/handle.ts"
import { isExpected } from "../connection/units.ts"
import { codeOfThrown, Failure, fromSqlite } from "../failures.ts"

export type Unit = "none" | "transaction" | "savepoint"

export const begin = ({ units }: Handle, unit: Unit, operation: string): void => {
  try {
    if (unit === "transaction") units.begin("alone")
    else if (unit === "savepoint") units.savepoint("savepoint")
  } catch (thrown) {
    throw asOf(thrown, operation)
  }
}

/** Makes the work count. Throws if that fails; then it is undone. */
export const end = (handle: Handle, unit: Unit, operation: string): void => {
  const { units } = handle
  try {
    if (unit === "transaction") units.commit()
    // SQLite ends a transaction by itself after some failures.
    else if (unit === "savepoint" && units.isIntact) units.savepoint("release")
  } catch (thrown) {
    undo(handle, unit)
    throw asOf(thrown, operation)
  }
}

/** Undoes the work, as far as it is not undone. */
export const undo = ({ units }: Handle, unit: Unit): void => {
  try {
    if (unit === "savepoint" && units.isIntact) {
      units.savepoint("rollback to")
      units.savepoint("release")
    } else if (unit === "transaction") units.rollback()
  } catch {
    // Without the savepoint, only the end of the whole transaction undoes it.
    rollBack(units)
  }
}

const rollBack = (units: Handle["units"]): void => {
  try {
    units.rollback()
  } catch {
    // The transaction is still open, so the connection is reset before it is lent again.
  }
}

/**
 * Whether the work of a failed statement counts. What SQLite expected leaves what the statement would have left without the
 * unit: nothing, or with `or fail` a part. Any other failure would have left nothing outside of a transaction.
 */
export const keepsPart = ({ units }: Handle, unit: Unit, thrown: unknown): boolean => {
  if (unit !== "transaction") return true
  const code = thrown instanceof Failure ? codeOfThrown(thrown.cause) : undefined
  return code !== undefined && isExpected(code) && units.isIntact
}

/** A failure of the transaction around a statement, as the statement alone would have failed. */
const asOf = (thrown: unknown, operation: string): unknown =>
  thrown instanceof Failure && thrown.kind === "code" ? fromSqlite(thrown.cause, operation) : thrown
