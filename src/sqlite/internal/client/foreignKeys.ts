/** Transactions with foreign keys off. Such a transaction may not commit new violations. */
import { ConstraintError, SqlError } from "effect/sql/SqlError"
import { ForeignKeysViolatedError } from "../../SqlitePoolError.ts"
import type { Violations } from "../connection/foreignKeys.ts"

/** The option that only transactions of SQLite have. */
export interface OwnOptions {
  readonly foreignKeys?: "off" | "deferred" | undefined
}

/** The error for violations that a transaction has caused; `undefined` if there are none. */
export const violated = ({ count, violations }: Violations, pool: string): SqlError | undefined => {
  if (count === 0) return undefined
  const error = new ForeignKeysViolatedError({ pool, count, violations })
  return new SqlError({ reason: new ConstraintError({ cause: error, message: error.message, operation: "commit" }) })
}
