/** What a statement of `effect/sql` is made of, and where it runs. */
import type { Effect, Fiber, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"

/** The text of a statement, with what a database has read in it. */
export interface Text {
  readonly sql: string
}

/** Reads texts, and remembers them. */
export interface Texts<T extends Text> {
  readonly read: (sql: string) => T
  /** Whether a text is short enough to be kept. */
  readonly isWorthKeeping: (sql: string) => boolean
}

/** A statement: its text and its parameters. */
export interface Query<T extends Text> {
  readonly text: T
  readonly params: ReadonlyArray<unknown>
}

/** The result of a statement, in each form that its rows can have. */
export interface Results {
  /** Rows as objects. */
  readonly objects: ReadonlyArray<object>
  /** Rows as arrays. */
  readonly arrays: ReadonlyArray<ReadonlyArray<unknown>>
  /** What the database has for `raw`. */
  readonly raw: unknown
}

/** The form of the rows of a statement. */
export type Way = keyof Results

/** The effect of a running statement whose rows have the form `W`. */
export type Running<W extends Way> = Effect.Effect<Results[W], SqlError>

/** The target of a statement: a connection of its own, that of a transaction, or one that its caller has reserved. */
export interface Target<T extends Text> {
  /** Runs a statement for a fiber, in the present step if it can. `isPrepared` is true by default: it is kept for the next time. */
  readonly run: <W extends Way>(
    fiber: Fiber.Fiber<unknown, unknown>,
    query: Query<T>,
    way: W,
    isPrepared?: boolean
  ) => Running<W>
  readonly stream: (query: Query<T>) => Stream.Stream<unknown, SqlError>
}
