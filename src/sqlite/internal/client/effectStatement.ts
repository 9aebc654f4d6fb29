/**
 * Statements of `effect/sql` that make a span only if a tracer would see it.
 *
 * Effect's own statement makes a span each time it runs, which costs as much as reading a row. A statement of this file
 * runs in one step without a span if no tracer could see one. In all other cases, Effect's own statement does the work.
 */
import { type Effect, Equal, type Fiber, Hash, type Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { charge, fragment, isTraced, isTracingEnabled, Step } from "../../../internal/runtime.ts"
import { isWorthKeeping, type StatementTexts, type Text } from "../sql/statementKind.ts"
import { runOn, type Transform } from "./sqlConnection.ts"
import type { Query, Results, Target, Way } from "./targets.ts"

export interface Options {
  /** Makes Effect's own statements, which run on the same connections. */
  readonly original: Statement.Constructor
  /** The target of a fiber's statements, if the client knows it. */
  readonly targetOf: (fiber: Fiber.Fiber<unknown, unknown>) => Target | undefined
  readonly texts: StatementTexts
  readonly transform: Transform | undefined
}

/** Makes the constructor of statements that replaces Effect's own. */
export const make = (options: Options): Statement.Constructor => {
  const { original } = options
  const templates = new WeakMap<TemplateStringsArray, Text>()

  /** The text of a template whose arguments are all values. Such a template always has the same text. */
  const textOf = (strings: TemplateStringsArray): Text | undefined => {
    const known = templates.get(strings)
    if (known !== undefined || !isTemplate(strings)) return known
    const text = options.texts.read(strings.join("?"))
    if (isWorthKeeping(text.sql)) templates.set(strings, text)
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

/** A statement that runs without a span if it can, and else lets Effect's own statement run. */
abstract class Quiet<A> extends Step<ReadonlyArray<A>, SqlError, never> implements Statement.Statement<A> {
  readonly options: Options

  constructor(options: Options) {
    super()
    this.options = options
  }

  /** Effect's own statement with the same text and parameters. */
  abstract readonly original: Statement.Statement<A>

  /** The text and the parameters of the statement. */
  abstract query(withoutTransform: boolean): Query

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<ReadonlyArray<A>, SqlError> {
    const unseen = runUnseen(this, "objects", false, fiber) as Effect.Effect<ReadonlyArray<A>, SqlError> | undefined
    return unseen ?? this.original
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
    return that instanceof Quiet && Equal.equals(this.original, that.original)
  }

  [Hash.symbol](): number {
    return Hash.hash(this.original)
  }
}

/** A statement from a template whose arguments are all values: they are the parameters. */
class FromTemplate<A> extends Quiet<A> implements Query {
  readonly strings: TemplateStringsArray
  readonly params: ReadonlyArray<unknown>
  readonly text: Text
  #original: Statement.Statement<A> | undefined = undefined

  constructor(options: Options, strings: TemplateStringsArray, params: ReadonlyArray<unknown>, text: Text) {
    super(options)
    this.strings = strings
    this.params = params
    this.text = text
  }

  get original(): Statement.Statement<A> {
    return this.#original ??= this.options.original(this.strings, ...this.params) as Statement.Statement<A>
  }

  query(): Query {
    return this
  }
}

/** A statement from a text and parameters. */
class FromText<A extends object> extends Quiet<A> {
  readonly sql: string
  #params: ReadonlyArray<unknown>
  #query: Query | undefined = undefined
  #original: Statement.Statement<A> | undefined = undefined

  constructor(options: Options, sql: string, params: ReadonlyArray<unknown>) {
    super(options)
    this.sql = sql
    this.#params = params
  }

  get original(): Statement.Statement<A> {
    return this.#original ??= this.options.original.unsafe<A>(this.sql, this.#params)
  }

  query(): Query {
    return this.#query ??= this.#read()
  }

  /** After the first run, changes to the array have no effect. */
  #read(): Query {
    this.#params = this.#original === undefined ? [...this.#params] : this.#original.compile()[1]
    return { text: this.options.texts.read(this.sql), params: this.#params }
  }
}

/** A statement from anything else. Effect's own statement compiles its text. */
class Composed<A> extends Quiet<A> {
  readonly original: Statement.Statement<A>

  constructor(options: Options, original: Statement.Statement<A>) {
    super(options)
    this.original = original
  }

  query(withoutTransform: boolean): Query {
    const [sql, params] = this.original.compile(withoutTransform)
    return { text: this.options.texts.read(sql), params }
  }
}

/** The properties of a statement that run it: the form of the rows, and whether names are left as they are. */
const variants = {
  raw: { way: "raw", withoutTransform: true },
  withoutTransform: { way: "objects", withoutTransform: true },
  values: { way: "arrays", withoutTransform: false },
  valuesUnprepared: { way: "arrays", withoutTransform: false },
  unprepared: { way: "objects", withoutTransform: false }
} as const

/** A statement, run through one of those properties. */
class Through<B> extends Step<B, SqlError, never> {
  readonly #statement: Quiet<unknown>
  readonly #variant: keyof typeof variants

  constructor(statement: Quiet<unknown>, variant: keyof typeof variants) {
    super()
    this.#statement = statement
    this.#variant = variant
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<B, SqlError> {
    const { way, withoutTransform } = variants[this.#variant]
    const unseen: Effect.Effect<unknown, SqlError> | undefined = runUnseen(
      this.#statement,
      way,
      withoutTransform,
      fiber
    )
    return (unseen ?? this.#statement.original[this.#variant]) as Effect.Effect<B, SqlError>
  }
}

/** Runs a statement in the present step of the fiber. Returns `undefined` if Effect's own has to run, for its span. */
const runUnseen = <W extends Way>(
  statement: Quiet<unknown>,
  way: W,
  withoutTransform: boolean,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<Results[W], SqlError> | undefined => {
  if (isSeen(fiber)) return undefined
  const { targetOf, transform } = statement.options
  const target = targetOf(fiber)
  if (target === undefined) return undefined
  charge(fiber, operations)
  return runOn(target, fiber, statement.query(withoutTransform), way, withoutTransform ? undefined : transform)
}

/** About the number of operations that Effect's own statement takes, so that other fibers run as often as with it. */
const operations = 10

/** Whether a tracer may see the span of a statement that this fiber runs. */
const isSeen = (fiber: Fiber.Fiber<unknown, unknown>): boolean => {
  if (isTraced(fiber) || (isTracingEnabled(fiber) && fiber.getRef(Statement.SpanPropagationEnabled))) return true
  return fiber.getRef(Statement.CurrentTransformer) !== undefined
}
