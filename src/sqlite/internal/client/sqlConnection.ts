/** Turns a target into a connection of `effect/sql`, for Effect's own statements. */
import { Effect, Exit, type Fiber, Stream } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import { Attached, isSuccess } from "../../../internal/runtime.ts"
import type { StatementTexts } from "../sql/statementKind.ts"
import type { Query, Results, Running, Target, Way } from "./targets.ts"

/** Changes rows before the application gets them. */
export type Transform = <A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>

/** Runs a statement on a target, and transforms its rows if they are objects and there is a transform. */
export const runOn = <W extends Way>(
  target: Target,
  fiber: Fiber.Fiber<unknown, unknown>,
  query: Query,
  way: W,
  transform: Transform | undefined
): Running<W> => {
  const found = target.run(fiber, query, way)
  if (transform === undefined || way !== "objects") return found
  const transformed = (rows: Results[W]) => transform(rows as Results["objects"]) as Results[W]
  return isSuccess(found) ? Exit.succeed(transformed(found.value)) : Effect.map(found, transformed)
}

const targets = new Attached<Target>()

/** The target behind a connection, if the connection is one of `toConnection`. A copy may do something else. */
export const targetOf = (connection: Connection): Target | undefined => targets.get(connection)

/** The connection of `effect/sql` that runs its statements on a target. */
export const toConnection = (target: Target, texts: StatementTexts): Connection => {
  const wanting =
    <W extends Way>(way: W) => (sql: string, params: ReadonlyArray<unknown>, transform?: Transform): Running<W> =>
      Effect.withFiber((fiber) => runOn(target, fiber, { text: texts.read(sql), params }, way, transform))
  const connection: Connection = {
    execute: wanting("objects"),
    executeUnprepared: wanting("objects"),
    executeValues: wanting("arrays"),
    executeValuesUnprepared: wanting("arrays"),
    executeRaw: wanting("raw"),
    executeStream: (sql, params, transform) => {
      const rows = Stream.suspend(() => target.stream({ text: texts.read(sql), params }))
      return transform === undefined
        ? rows
        : Stream.mapArray(rows as Stream.Stream<object, SqlError>, (chunk) => transform(chunk) as typeof chunk)
    }
  }
  targets.set(connection, target)
  return connection
}
