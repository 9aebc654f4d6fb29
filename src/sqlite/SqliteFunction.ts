/**
 * SQL functions of an application, which every connection of a database has.
 *
 * They are options of `SqlitePool`, of `SqliteConnection` and of the drop-in client: `functions` and `aggregates`. The
 * names are those in SQL.
 *
 * ```ts
 * import { SqliteFunction, SqlitePool } from "effect-connection-pool/sqlite"
 *
 * export const Database = SqlitePool.layer({
 *   filename: "app.db",
 *   functions: {
 *     // select slug(title) from article
 *     slug: {
 *       deterministic: true,
 *       run: (text) => typeof text === "string" ? text.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-") : null
 *     },
 *     // select id from article where title regexp '^The'
 *     regexp: (pattern, text) => new RegExp(String(pattern)).test(String(text))
 *   },
 *   aggregates: {
 *     // select product(factor) from part
 *     product: SqliteFunction.aggregate({
 *       start: () => 1,
 *       step: (product, factor) => product * Number(factor),
 *       result: (product) => product
 *     })
 *   }
 * })
 * ```
 *
 * A function runs inside of a statement, on the thread of the event loop. So it must be quick, and it must not use the
 * connection that calls it: that is an error. What it throws, and a value that SQLite cannot store, fails the statement
 * with a `SqlError`, whose `reason.cause` is a `FunctionError` that names the function.
 */
import type { Aggregate, AggregateOf } from "./internal/contract/functions.ts"

export type {
  Aggregate,
  AggregateOf,
  Aggregates,
  Call,
  Definition,
  Functions,
  Properties,
  SqliteFunction
} from "./internal/contract/functions.ts"

/**
 * Makes an aggregate: a function over the rows of a group. With `inverse` it is a window function too.
 *
 * The type of the state comes from `start`. If the state is a list or a record, `start` makes a new one for each group,
 * and `step` may change and return it. An invalid definition is reported when the database is opened.
 *
 * ```ts
 * import { SqliteFunction } from "effect-connection-pool/sqlite"
 *
 * export const median = SqliteFunction.aggregate({
 *   start: (): Array<number> => [],
 *   step: (values, value) => typeof value === "number" ? [...values, value] : values,
 *   inverse: (values, value) => typeof value === "number" ? values.slice(1) : values,
 *   result: (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? null
 * })
 *
 * export const exactSum = SqliteFunction.aggregate({
 *   safeIntegers: true,
 *   start: () => 0n,
 *   step: (sum, value) => typeof value === "bigint" ? sum + value : sum,
 *   result: (sum) => sum
 * })
 * ```
 */
export const aggregate = <S>(definition: AggregateOf<S>): Aggregate => definition as unknown as Aggregate
