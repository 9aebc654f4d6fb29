/** When the work of several callers in one transaction has to be undone, because one of them has failed. */
import { primaryOf } from "../failures.ts"
import type { Handle } from "./handle.ts"

/**
 * Why the work of all has to be undone after the work of one caller. `undefined` if it need not be undone. `code` is the
 * extended code of SQLite, if it has failed with one.
 */
export const whyUndone = (handle: Handle, code: number | undefined): string | undefined => {
  const { isIntact, isPartLeft, whyAlone } = handle.units
  if (!isIntact) return "SQLite has ended the transaction"
  if (whyAlone !== undefined) return whyAlone
  if (isPartLeft) return "a part of a statement that has failed is left"
  if (!handle.isUsable) return "the connection is in doubt"
  return code === undefined || ofOneStatement.has(primaryOf(code)) ? undefined : `SQLite has failed with code ${code}`
}

/** Failures that concern only one statement: ERROR, TOOBIG, CONSTRAINT, MISMATCH, AUTH and RANGE. */
const ofOneStatement: ReadonlySet<number> = new Set([1, 18, 19, 20, 23, 25])
