/**
 * Statements of `effect/sql` that run in one step of the fiber.
 *
 * Effect's own statement takes several steps and makes a span each time it runs, which costs more than reading a row. A
 * statement of this file makes a span only if a tracer receives it, and makes and ends it in its one step.
 *
 * Each statement has Effect's own statement behind it. That one runs if a transformer may change the statement, or if the
 * span has to be the parent of the spans inside the statement. It also does everything that is not running the statement.
 */
import { Effect, Equal, type Fiber, Hash, Stream, type Tracer } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { charge, fragment, isTraced, isTracingEnabled, Step } from "../runtime.ts"
import { problemOf } from "./rows.ts"
import { runOn, type Transform } from "./sqlConnection.ts"
import { endingWith, type StatementSpans } from "./statementSpan.ts"
import type { Query, Target, Text, Texts, Way } from "./target.ts"

export interface Options<T extends Text> {
  /** Makes Effect's own statements, which run on the same connections. */
  readonly original: Statement.Constructor
  /** The target of a fiber's statements, if the client knows it. */
  readonly targetOf: (fiber: Fiber.Fiber<unknown, unknown>) => Target<T> | undefined
  readonly texts: Texts<T>
  /** What stands for a parameter in a text. The first one is at position 1. */
  readonly placeholder: (position: number) => string
  readonly transform: Transform | undefined
  readonly spans: StatementSpans
}

/** Makes the constructor of statements that replaces Effect's own. */
export const make = <T extends Text>(options: Options<T>): Statement.Constructor => {
  const { original, placeholder, texts } = options
  const templates = new WeakMap<TemplateStringsArray, T>()

  /** The text of a template whose arguments are all values. Such a template always has the same text. */
  const textOf = (strings: TemplateStringsArray): T | undefined => {
    const known = templates.get(strings)
    if (known !== undefined || !isTemplate(strings)) return known
    const text = texts.read(strings.reduce((sql, string, position) => sql + placeholder(position) + string))
    if (texts.isWorthKeeping(text.sql)) templates.set(strings, text)
    return text
  }

  const sql = (strings: TemplateStringsArray, ...args: Array<unknown>) => {
    if (typeof strings === "string") return original(strings)
    const text = args.every(isValue) ? textOf(strings) : undefined
    return text === undefined || args.length !== strings.length - 1
      ? new Composed(options, original(strings, ...args))
      : new FromTemplate(options, strings, args, text)
  }
  const unsafe: Statement.Constructor["unsafe"] = (sql, params = []) =>
    typeof sql === "string" && Array.isArray(params)
      ? new FromText(options, sql, params)
      : new Composed(options, original.unsafe(sql, params))
  return Object.assign(sql as Statement.Constructor, original, { unsafe })
}

/** Whether an array is a template of JavaScript, which never changes. An array that user code has made may change. */
const isTemplate = (strings: TemplateStringsArray): boolean =>
  Array.isArray(strings) && "raw" in strings && Object.isFrozen(strings) &&
  strings.every((string) => typeof string === "string")

/** Whether an argument becomes a parameter of the statement. Effect's own statement deals with all other arguments. */
const isValue = (arg: unknown): boolean =>
  (typeof arg !== "object" && typeof arg !== "function") || arg === null ||
  !(Statement.isFragment(arg) || "_tag" in arg)

/** A statement that runs in one step if it can. Effect's own statement does everything else. */
abstract class Quick<T extends Text, A> extends Step<ReadonlyArray<A>, SqlError, never>
  implements Statement.Statement<A>
{
  readonly options: Options<T>

  constructor(options: Options<T>) {
    super()
    this.options = options
  }

  /** Effect's own statement with the same text and parameters. */
  abstract readonly original: Statement.Statement<A>

  /** The text and the parameters of the statement. */
  abstract query(withoutTransform: boolean): Query<T>

  /** The error with which the statement is refused. */
  problem(_operation: string): SqlError | undefined {
    return undefined
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<ReadonlyArray<A>, SqlError> {
    const run = runQuickly(this, "execute", fiber) as Effect.Effect<ReadonlyArray<A>, SqlError> | undefined
    return run ?? this.original
  }

  get raw(): Effect.Effect<unknown, SqlError> {
    return new Through(this, "raw")
  }

  get withoutTransform(): Effect.Effect<ReadonlyArray<A>, SqlError> {
    return new Through(this, "withoutTransform")
  }

  get values(): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return new Through(this, "values")
  }

  get valuesUnprepared(): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return new Through(this, "valuesUnprepared")
  }

  get unprepared(): Effect.Effect<ReadonlyArray<A>, SqlError> {
    return new Through(this, "unprepared")
  }

  get stream(): Stream.Stream<A, SqlError> {
    return this.original.stream
  }

  get segments(): ReadonlyArray<Statement.Segment> {
    return this.original.segments
  }

  get [fragment](): typeof fragment {
    return fragment
  }

  compile(withoutTransform?: boolean) {
    return this.original.compile(withoutTransform)
  }

  override toJSON(): unknown {
    return this.original.toJSON()
  }

  [Equal.symbol](that: unknown): boolean {
    return that instanceof Quick && Equal.equals(this.original, that.original)
  }

  [Hash.symbol](): number {
    return Hash.hash(this.original)
  }
}

/** A statement from a template whose arguments are all values. The arguments are its parameters. */
class FromTemplate<T extends Text, A> extends Quick<T, A> implements Query<T> {
  readonly strings: TemplateStringsArray
  readonly params: ReadonlyArray<unknown>
  readonly text: T
  #original: Statement.Statement<A> | undefined = undefined

  constructor(options: Options<T>, strings: TemplateStringsArray, params: ReadonlyArray<unknown>, text: T) {
    super(options)
    this.strings = strings
    this.params = params
    this.text = text
  }

  get original(): Statement.Statement<A> {
    return this.#original ??= this.options.original(this.strings, ...this.params) as Statement.Statement<A>
  }

  query(): Query<T> {
    return this
  }
}

/** A statement from a text and parameters. */
class FromText<T extends Text, A extends object> extends Quick<T, A> {
  readonly sql: string
  #params: ReadonlyArray<unknown>
  #query: Query<T> | undefined = undefined
  #original: Statement.Statement<A> | undefined = undefined

  constructor(options: Options<T>, sql: string, params: ReadonlyArray<unknown>) {
    super(options)
    this.sql = sql
    this.#params = params
  }

  get original(): Statement.Statement<A> {
    return this.#original ??= this.options.original.unsafe<A>(this.sql, this.#params)
  }

  query(): Query<T> {
    return this.#query ??= this.#read()
  }

  /** After the first run, changes to the array have no effect. */
  #read(): Query<T> {
    this.#params = this.#original === undefined ? [...this.#params] : this.#original.compile()[1]
    return { text: this.options.texts.read(this.sql), params: this.#params }
  }
}

/** A statement from anything else. Effect's own statement compiles its text. */
class Composed<T extends Text, A> extends Quick<T, A> {
  readonly original: Statement.Statement<A>

  constructor(options: Options<T>, original: Statement.Statement<A>) {
    super(options)
    this.original = original
  }

  query(withoutTransform: boolean): Query<T> {
    const [sql, params] = this.original.compile(withoutTransform)
    return { text: this.options.texts.read(sql), params }
  }

  override problem(operation: string): SqlError | undefined {
    return problemOf(this.original.segments, operation)
  }

  override get stream(): Stream.Stream<A, SqlError> {
    return Stream.suspend(() => {
      const problem = this.problem("stream")
      return problem === undefined ? this.original.stream : Stream.fail(problem)
    })
  }
}

/**
 * How a statement is run: the form of its rows, whether it is kept for the next time, whether names stay untransformed, and the
 * name of that in its span.
 */
interface Variant {
  readonly way: Way
  readonly isPrepared: boolean
  readonly withoutTransform: boolean
  readonly method: string
}

/** `execute` is the statement itself, evaluated. The others are its properties that run it. */
const variants = {
  execute: { way: "objects", isPrepared: true, withoutTransform: false, method: "execute" },
  raw: { way: "raw", isPrepared: true, withoutTransform: true, method: "executeRaw" },
  withoutTransform: { way: "objects", isPrepared: true, withoutTransform: true, method: "executeWithoutTransform" },
  values: { way: "arrays", isPrepared: true, withoutTransform: false, method: "executeValues" },
  valuesUnprepared: { way: "arrays", isPrepared: false, withoutTransform: false, method: "executeValuesUnprepared" },
  unprepared: { way: "objects", isPrepared: false, withoutTransform: false, method: "executeUnprepared" }
} satisfies Record<string, Variant>

type Property = Exclude<keyof typeof variants, "execute">

/** A statement, run through one of those properties. */
class Through<T extends Text, B> extends Step<B, SqlError, never> {
  readonly #statement: Quick<T, unknown>
  readonly #property: Property

  constructor(statement: Quick<T, unknown>, property: Property) {
    super()
    this.#statement = statement
    this.#property = property
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<B, SqlError> {
    const run: Effect.Effect<unknown, SqlError> | undefined = runQuickly(this.#statement, this.#property, fiber)
    return (run ?? this.#statement.original[this.#property]) as Effect.Effect<B, SqlError>
  }
}

/** Runs a statement in the present step of the fiber. Returns `undefined` if Effect's own statement has to run. */
const runQuickly = <T extends Text>(
  statement: Quick<T, unknown>,
  variant: keyof typeof variants,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<unknown, SqlError> | undefined => {
  const problem = statement.problem(variants[variant].method)
  if (problem !== undefined) return Effect.fail(problem)
  if (isChanged(fiber) || isParent(fiber)) return undefined
  const { spans, targetOf } = statement.options
  const target = targetOf(fiber)
  if (target === undefined) return undefined
  charge(fiber, operations)
  if (!isTraced(fiber)) return runVariant(statement, variants[variant], target, fiber, undefined)
  const span = spans.make(fiber)
  return span && endingWith(span, fiber, () => runVariant(statement, variants[variant], target, fiber, span))
}

const runVariant = <T extends Text>(
  statement: Quick<T, unknown>,
  { isPrepared, method, way, withoutTransform }: Variant,
  target: Target<T>,
  fiber: Fiber.Fiber<unknown, unknown>,
  span: Tracer.Span | undefined
): Effect.Effect<unknown, SqlError> => {
  const { spans, transform } = statement.options
  const query = statement.query(withoutTransform)
  if (span !== undefined) spans.describe(span, method, query.text.sql)
  return runOn(target, fiber, query, way, isPrepared, withoutTransform ? undefined : transform)
}

/** About as many operations as Effect's own statement takes, so that other fibers get their turn as often as with it. */
const operations = 10

/** Whether a transformer may change the statements that this fiber runs. */
const isChanged = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  fiber.getRef(Statement.CurrentTransformer) !== undefined

/** Whether the span of a statement has to be the parent of the spans inside the statement. */
const isParent = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  isTracingEnabled(fiber) && fiber.getRef(Statement.SpanPropagationEnabled)
