/** Turns a target into a connection of `effect/sql`, for Effect's own statements. */
import { Effect, Exit, type Fiber, Stream } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import { Attached, isSuccess } from "../runtime.ts"
import type { Query, Results, Running, Target, Text, Texts, Way } from "./target.ts"

/** Changes rows before the application gets them. */
export type Transform = <A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>

/** Runs a statement on a target, and transforms its rows if they are objects and there is a transform. */
export const runOn = <T extends Text, W extends Way>(
  target: Target<T>,
  fiber: Fiber.Fiber<unknown, unknown>,
  query: Query<T>,
  way: W,
  isPrepared: boolean,
  transform: Transform | undefined
): Running<W> => {
  const found = target.run(fiber, query, way, isPrepared)
  if (transform === undefined || way !== "objects") return found
  const transformed = (rows: Results[W]) => transform(rows as Results["objects"]) as Results[W]
  return isSuccess(found) ? Exit.succeed(transformed(found.value)) : Effect.map(found, transformed)
}

/** The targets behind the connections of one client. */
export class Connections<T extends Text> {
  readonly #texts: Texts<T>
  readonly #targets = new Attached<Target<T>>()

  constructor(texts: Texts<T>) {
    this.#texts = texts
  }

  /** The target behind a connection, if the connection is one of `toConnection`. A copy may do something else. */
  targetOf(connection: Connection): Target<T> | undefined {
    return this.#targets.get(connection)
  }

  /** The connection of `effect/sql` that runs its statements on a target. */
  toConnection(target: Target<T>): Connection {
    const texts = this.#texts
    const wanting =
      <W extends Way>(way: W, isPrepared: boolean) =>
      (sql: string, params: ReadonlyArray<unknown>, transform?: Transform): Running<W> =>
        Effect.withFiber((fiber) => runOn(target, fiber, { text: texts.read(sql), params }, way, isPrepared, transform))
    const connection: Connection = {
      execute: wanting("objects", true),
      executeUnprepared: wanting("objects", false),
      executeValues: wanting("arrays", true),
      executeValuesUnprepared: wanting("arrays", false),
      executeRaw: wanting("raw", true),
      executeStream: (sql, params, transform) => {
        const rows = Stream.suspend(() => target.stream({ text: texts.read(sql), params }))
        return transform === undefined
          ? rows
          : Stream.mapArray(rows as Stream.Stream<object, SqlError>, (chunk) => transform(chunk) as typeof chunk)
      }
    }
    this.#targets.set(connection, target)
    return connection
  }
}
