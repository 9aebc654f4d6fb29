/** Turns a target into a connection of `effect/sql`, for Effect's own statements. */
import { Effect, Exit, type Fiber, Stream } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import { isSuccess } from "../runtime.ts"
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

/** The connections of one client, and the targets behind them. */
export class Connections<T extends Text> {
  readonly #texts: Texts<T>

  constructor(texts: Texts<T>) {
    this.#texts = texts
  }

  /** The target behind a connection, if the connection is one of `toConnection`. A copy may do something else. */
  targetOf(connection: Connection): Target<T> | undefined {
    return OnTarget.targetOf(connection, this.#texts)
  }

  /** The connection of `effect/sql` that runs its statements on a target. */
  toConnection(target: Target<T>): Connection {
    return new OnTarget(target, this.#texts)
  }
}

/** A class, because each transaction makes one. */
class OnTarget<T extends Text> implements Connection {
  readonly #target: Target<T>
  readonly #texts: Texts<T>

  constructor(target: Target<T>, texts: Texts<T>) {
    this.#target = target
    this.#texts = texts
  }

  static targetOf<T extends Text>(connection: Connection, texts: Texts<T>): Target<T> | undefined {
    // A client has its own texts, so the target is of their kind.
    return #target in connection && (connection.#texts as unknown) === texts
      ? connection.#target as Target<Text> as unknown as Target<T>
      : undefined
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transform: Transform | undefined) {
    return this.#run(sql, params, "objects", true, transform)
  }

  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transform: Transform | undefined) {
    return this.#run(sql, params, "objects", false, transform)
  }

  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.#run(sql, params, "arrays", true, undefined)
  }

  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return this.#run(sql, params, "arrays", false, undefined)
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.#run(sql, params, "raw", true, undefined)
  }

  executeStream(sql: string, params: ReadonlyArray<unknown>, transform: Transform | undefined) {
    const rows = Stream.suspend(() => this.#target.stream({ text: this.#texts.read(sql), params }))
    return transform === undefined
      ? rows
      : Stream.mapArray(rows as Stream.Stream<object, SqlError>, (chunk) => transform(chunk) as typeof chunk)
  }

  #run<W extends Way>(
    sql: string,
    params: ReadonlyArray<unknown>,
    way: W,
    isPrepared: boolean,
    transform: Transform | undefined
  ): Running<W> {
    return Effect.withFiber((fiber) =>
      runOn(this.#target, fiber, { text: this.#texts.read(sql), params }, way, isPrepared, transform)
    )
  }
}
