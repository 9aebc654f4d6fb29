/**
 * What the errors of PostgreSQL say: the SQLSTATE behind a `SqlError`.
 *
 * All errors of this database are those of the pool, of transactions, and `SqlError`. The SQLSTATE decides which reason a
 * `SqlError` has, whether the connection is closed, whether `retry` runs a transaction again, and whether the pool connects
 * again.
 */
import { Schema } from "effect"
import { cut } from "../internal/structures/statementText.ts"
import { sqlStateOf as internal } from "./internal/sqlState.ts"

/**
 * Gives the SQLSTATE behind an error, such as `"23505"`: five characters, listed in PostgreSQL's manual
 * (https://www.postgresql.org/docs/current/errcodes-appendix.html). It looks at the causes of an error too. `undefined` if the
 * server has not answered with an error.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { PgPool, PgPoolError } from "effect-connection-pool/postgres"
 *
 * export const register = (name: string) =>
 *   Effect.flatMap(PgPool.PgPool, ({ sql }) => sql`insert into person (name) values (${name})`).pipe(
 *     Effect.catchIf(
 *       (error) => PgPoolError.sqlStateOf(error) === "23505",
 *       () => Effect.succeed("this name is taken")
 *     )
 *   )
 * ```
 */
export const sqlStateOf = (error: unknown): string | undefined => internal(error)

/**
 * The connection that held an advisory lock was lost, and the lock with it, so others may hold it now. The effect was
 * interrupted.
 *
 * What the effect has done in its own transactions is stored or not, as they say. Ask for the lock again.
 */
export class AdvisoryLockLostError extends Schema.TaggedError<AdvisoryLockLostError>(
  "effect-connection-pool/postgres/AdvisoryLockLostError"
)("AdvisoryLockLostError", {
  pool: Schema.String,
  /** The key of the lock. */
  key: Schema.String
}) {
  override get message(): string {
    return `pool "${this.pool}": the connection with the advisory lock ${
      JSON.stringify(cut(this.key, 100))
    } was lost, ` +
      "and so the lock: the effect was interrupted, for others may hold it now"
  }
}
