/** How a statement runs in a thread. */
import type { Handle } from "../connection/handle.ts"
import type { Prepared } from "../connection/preparedStatements.ts"
import type { StatementRequest } from "./protocol.ts"
import type { Unit } from "./unit.ts"

export interface Circumstances {
  /** The statement, if it does more than read. */
  readonly prepared?: Prepared
  readonly unit: Unit
  /** Whether the caller may cancel it while it runs. */
  readonly isCancellable: boolean
}

const reading: Circumstances = { unit: "none", isCancellable: true }

/**
 * How a statement runs. One that stores something runs in a unit, so that it can be cancelled until that ends. Others that do
 * more than read cannot be cancelled once they run. A stream in a transaction stays open while others run, so it has no unit.
 */
export const circumstancesOf = (handle: Handle, request: StatementRequest, sql: string): Circumstances => {
  if (handle.settings.isReadOnly) return reading
  const prepared = prepare(handle, request, sql)
  if (prepared.effect === "reads") return reading
  const isTransaction = handle.isTransaction(request.operation)
  const mayHaveUnit = prepared.effect === "stores" && !(isTransaction && request.isStream)
  const unit = mayHaveUnit ? (isTransaction ? "savepoint" : "transaction") : "none"
  return { prepared, unit, isCancellable: mayHaveUnit }
}

/** The statement of a request, to look at it. It does not run yet. */
const prepare = (handle: Handle, { isAlone, operation }: StatementRequest, sql: string): Prepared => {
  const prepared = handle.prepare(operation, sql, isAlone)
  handle.recorder.end()
  return prepared
}

/** Whether a request wants the rows of its statement. Some want rows if there are any, and otherwise the result. */
export const wantsRows = (handle: Handle, request: StatementRequest, sql: string): boolean =>
  request.way === "rows" ||
  (request.way === "rowsOrResult" && prepare(handle, request, sql).statement.columns().length > 0)
