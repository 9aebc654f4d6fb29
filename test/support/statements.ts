/** The ways to run a statement. */
import type { Effect } from "effect"
import { Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type * as Statement from "effect/sql/Statement"

/** Every way to run a statement. */
export const ways = {
  rows: (statement: Statement.Statement<unknown>) => statement,
  withoutTransform: (statement: Statement.Statement<unknown>) => statement.withoutTransform,
  unprepared: (statement: Statement.Statement<unknown>) => statement.unprepared,
  values: (statement: Statement.Statement<unknown>) => statement.values,
  valuesUnprepared: (statement: Statement.Statement<unknown>) => statement.valuesUnprepared,
  raw: (statement: Statement.Statement<unknown>) => statement.raw,
  stream: (statement: Statement.Statement<unknown>) => Stream.runCollect(statement.stream)
} satisfies Record<string, (statement: Statement.Statement<unknown>) => Effect.Effect<unknown, SqlError>>
