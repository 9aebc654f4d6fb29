/**
 * A client of `effect/sql` whose statements are recorded: it is the client itself, with three differences. The statements
 * that it makes, the statements of a connection that it reserves, and its copies are recorded.
 */
import { Effect, Equal, type Fiber, Hash, Stream } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type * as Statement from "effect/sql/Statement"
import type { Statements } from "../../ConnectionFactory.ts"
import { fragment, OwnStep } from "../runtime.ts"

/** Makes the recorded client. */
export const client = <C extends SqlClient>(original: C, statements: Statements): C => {
  const unsafe: SqlClient["unsafe"] = (sql, params) => new Recorded(original.unsafe(sql, params), statements)
  const own: Partial<Record<PropertyKey, unknown>> = {
    unsafe,
    reserve: Effect.map(original.reserve, (reserved) => connection(reserved, statements)),
    withoutTransforms: () => {
      const copy = original.withoutTransforms()
      return copy === original ? recorded : client(copy, statements)
    }
  }
  const recorded: C = new Proxy(original, {
    apply: (target, self, args) => {
      const made: unknown = Reflect.apply(target, self, args)
      // With a name as its argument, it makes an identifier.
      return typeof args[0] === "string" ? made : new Recorded(made as Statement.Statement<object>, statements)
    },
    get: (target, key) => {
      if (key === "safe") return target.safe === target ? recorded : client(target.safe, statements)
      return Object.hasOwn(own, key) ? own[key] : Reflect.get(target, key, target) as unknown
    }
  })
  return recorded
}

/** A statement that is recorded when it runs. */
class Recorded<A> extends OwnStep<ReadonlyArray<A>, SqlError, never> implements Statement.Statement<A> {
  readonly #original: Statement.Statement<A>
  readonly #statements: Statements

  constructor(original: Statement.Statement<A>, statements: Statements) {
    super()
    this.#original = original
    this.#statements = statements
  }

  step(_: Fiber.Fiber<unknown, unknown>): Effect.Effect<ReadonlyArray<A>, SqlError> {
    return this.#recorded(this.#original, false)
  }

  get raw(): Effect.Effect<unknown, SqlError> {
    return this.#recorded(this.#original.raw, true)
  }

  get withoutTransform(): Effect.Effect<ReadonlyArray<A>, SqlError> {
    return this.#recorded(this.#original.withoutTransform, true)
  }

  get values(): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.#recorded(this.#original.values, false)
  }

  get valuesUnprepared(): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.#recorded(this.#original.valuesUnprepared, false)
  }

  get unprepared(): Effect.Effect<ReadonlyArray<A>, SqlError> {
    return this.#recorded(this.#original.unprepared, false)
  }

  get stream(): Stream.Stream<A, SqlError> {
    return Stream.suspend(() => this.#statements.stream(this.compile()[0], this.#original.stream))
  }

  get segments(): ReadonlyArray<Statement.Segment> {
    return this.#original.segments
  }

  get [fragment](): typeof fragment {
    return fragment
  }

  compile(withoutTransform?: boolean) {
    return this.#original.compile(withoutTransform)
  }

  override toJSON(): unknown {
    return this.#original.toJSON()
  }

  [Equal.symbol](that: unknown): boolean {
    return that instanceof Recorded && Equal.equals(this.#original, that.#original)
  }

  [Hash.symbol](): number {
    return Hash.hash(this.#original)
  }

  /** The text is compiled when the statement runs, and Effect keeps it for the run. A text that cannot be compiled fails there. */
  #recorded<B>(effect: Effect.Effect<B, SqlError>, withoutTransform: boolean): Effect.Effect<B, SqlError> {
    return Effect.suspend(() => this.#statements.run(this.compile(withoutTransform)[0], effect))
  }
}

/** A connection whose statements are recorded. */
const connection = (original: Connection, statements: Statements): Connection => {
  const own: Connection = {
    execute: (sql, params, transform) => statements.run(sql, original.execute(sql, params, transform)),
    executeRaw: (sql, params) => statements.run(sql, original.executeRaw(sql, params)),
    executeStream: (sql, params, transform) => statements.stream(sql, original.executeStream(sql, params, transform)),
    executeValues: (sql, params) => statements.run(sql, original.executeValues(sql, params)),
    executeValuesUnprepared: (sql, params) => statements.run(sql, original.executeValuesUnprepared(sql, params)),
    executeUnprepared: (sql, params, transform) =>
      statements.run(sql, original.executeUnprepared(sql, params, transform))
  }
  return new Proxy(original, {
    get: (target, key) =>
      Object.hasOwn(own, key) ? own[key as keyof Connection] : Reflect.get(target, key, target) as unknown
  })
}
