/** SQL functions and aggregates of an application. */
import type { Param, Value } from "./values.ts"

/** What SQLite may do with a function. */
export interface Properties {
  /**
   * Whether the result depends on nothing but the arguments. SQLite may then call it once instead of for each row, and
   * indexes and generated columns may use it. Default false.
   */
  readonly deterministic?: boolean | undefined
  /**
   * Whether only the text of a statement may call it, and nothing in the schema: no view, trigger, index or generated column.
   * Set it for a function that does more than compute. Default false; but without `trustedSchema`, the schema may call no
   * function of the application in any case.
   */
  readonly directOnly?: boolean | undefined
  /**
   * Whether it takes any number of arguments. Default false: it takes as many as it has parameters, where those with a
   * default value and `...rest` do not count.
   */
  readonly varargs?: boolean | undefined
  /**
   * Whether its integers are bigints, so that integers beyond 2^53 are exact. Default false: they are numbers, and an integer
   * beyond 2^53 is an error.
   */
  readonly safeIntegers?: boolean | undefined
}

/** A function that SQL can call: a plain function, or a function with its properties. */
export type SqliteFunction = Call | Definition

/**
 * Computes a value. It returns at once: no promise and no Effect. What it returns is stored as a parameter is: a whole
 * number as INTEGER, a boolean as 1 or 0. `undefined`, `NaN`, a `Date` and any other object are errors.
 */
export type Call = (...args: ReadonlyArray<Value>) => Param

/** A function with its properties. */
export interface Definition extends Properties {
  readonly run: Call
}

/** A function over many rows. `S` is the state that is passed from row to row. */
export interface AggregateOf<S> extends Properties {
  /** Makes the state of a new group of rows. */
  readonly start: () => S
  /** Adds a row. Returns the new state, or the changed one. */
  readonly step: (state: S, ...args: ReadonlyArray<Value>) => S
  /**
   * Removes the oldest row, and returns the state. Only with it, the aggregate is a window function too: `f(x) over (...)`.
   */
  readonly inverse?: ((state: S, ...args: ReadonlyArray<Value>) => S) | undefined
  /** The value for the rows so far. A window function calls it for each row, so it must not change the state. */
  readonly result: (state: S) => Param
}

/** An aggregate, made by `SqliteFunction.aggregate`. */
export interface Aggregate {
  readonly "~effect-connection-pool/sqlite/Aggregate": true
}

/** Functions by their names in SQL. A list has functions that differ in the number of their parameters. */
export type Functions = { readonly [name: string]: SqliteFunction | ReadonlyArray<SqliteFunction> }

/** Aggregates by their names in SQL. A list has aggregates that differ in the number of their parameters. */
export type Aggregates = { readonly [name: string]: Aggregate | ReadonlyArray<Aggregate> }
