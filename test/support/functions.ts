/** Databases with SQL functions, in a file and in memory. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { SqliteFunction, SqlitePool, SqlitePoolError } from "effect-connection-pool/sqlite"
import type { SqlError } from "effect/sql/SqlError"
import { file } from "./files.ts"

export type Options = Partial<SqlitePool.Options>

/** A pool with functions, and a table of the numbers from 1 to 5. */
export const make = Effect.fnUntraced(function*(options: Options) {
  const pool = yield* SqlitePool.make({ drainTimeout: 0, ...options, filename: options.filename ?? (yield* file) })
  yield* pool.write((connection) =>
    connection.exec(
      "create table n(n integer); insert into n values (1), (2), (3), (4), (5); create table t(a, g); create table u(a)"
    )
  )
  return pool
})

/** The names of both kinds of database, with the option that makes one. */
export const kinds: ReadonlyArray<readonly [name: string, options: Options]> = [
  ["in a file", {}],
  ["in memory", { filename: ":memory:" }]
]

/** The failure of a function behind a `SqlError`. */
export const failureOf = (error: { readonly _tag: string }): SqlitePoolError.FunctionError => {
  assert.strictEqual(error._tag, "SqlError")
  const { cause } = (error as SqlError).reason
  assert.instanceOf(cause, SqlitePoolError.FunctionError)
  return cause
}

/** A sum of whole numbers that is a window function too. */
export const total = SqliteFunction.aggregate({
  start: () => 0,
  step: (sum, value) => sum + Number(value),
  inverse: (sum, value) => sum - Number(value),
  result: (sum) => sum
})

/** An aggregate that fails at a number. */
export const failsAt = (bad: number, thrown: unknown = new Error("at")) =>
  SqliteFunction.aggregate({
    start: () => 0,
    step: (sum, value) => {
      if (value === bad) throw thrown
      return sum + Number(value)
    },
    result: (sum) => sum
  })
