/**
 * Statements of `effect/sql` that make a span only where somebody would see it.
 *
 * Effect's own make one each time they are run. Without a tracer nobody receives it, and it costs as much as reading a row.
 * Where nobody could tell the difference, a statement of these runs in one step; everywhere else, and for all that is not
 * running it, there is Effect's own statement behind it.
 */
import { type Effect, Equal, type Fiber, Hash, type Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { Step } from "../../../internal/step.ts"
import { isWorthKeeping, type Kinds, type Text } from "../sql/statementKind.ts"
import * as Place from "./targets.ts"

export interface Options {
  /** Makes Effect's own, which run on the same connections. */
  readonly original: Statement.Constructor
  /** Where a fiber's statements run, if that is known here. */
  readonly placeOf: (fiber: Fiber.Fiber<unknown, unknown>) => Place.Place | undefined
  readonly kinds: Kinds
  readonly transform: Place.Transform | undefined
}

/** What makes them, in place of Effect's own. */
export const make = (options: Options): Statement.Constructor => {
  const { original } = options
  const templates = new WeakMap<TemplateStringsArray, Text>()

  /** The text of a template between whose parts there are only values: the same each time. */
  const textOf = (strings: TemplateStringsArray): Text | undefined => {
    const known = templates.get(strings)
    if (known !== undefined || !isTemplate(strings)) return known
    const text = options.kinds.read(strings.join("?"))
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

/** Whether it is one of the language's, which never change; what somebody has made by hand may. */
const isTemplate = (strings: TemplateStringsArray): boolean =>
  Array.isArray(strings) && "raw" in strings && Object.isFrozen(strings) &&
  strings.every((string) => typeof string === "string")

/** Whether it becomes a parameter of the statement. What else there is, Effect's own can tell apart. */
const isValue = (arg: unknown): boolean =>
  (typeof arg !== "object" && typeof arg !== "function") || arg === null ||
  !(Statement.isFragment(arg) || "_tag" in arg)

const fragment = "~effect/sql/Statement/Fragment"

/** A statement that runs unseen if it can, and leaves all else to Effect's own. */
abstract class Quiet<A> extends Step<ReadonlyArray<A>, SqlError, never> implements Statement.Statement<A> {
  readonly options: Options

  constructor(options: Options) {
    super()
    this.options = options
  }

  /** Effect's own statement that says the same. */
  abstract readonly original: Statement.Statement<A>

  /** What it says to SQLite. */
  abstract query(withoutTransform: boolean): Place.Query

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<ReadonlyArray<A>, SqlError> {
    const unseen = runUnseen(this, Place.rows, false, fiber) as Effect.Effect<ReadonlyArray<A>, SqlError> | undefined
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

/** From a template with nothing but values: its text is known, and the arguments are the parameters. */
class FromTemplate<A> extends Quiet<A> implements Place.Query {
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

  query(): Place.Query {
    return this
  }
}

/** From a text and parameters. */
class FromText<A extends object> extends Quiet<A> {
  readonly sql: string
  #params: ReadonlyArray<unknown>
  #query: Place.Query | undefined = undefined
  #original: Statement.Statement<A> | undefined = undefined

  constructor(options: Options, sql: string, params: ReadonlyArray<unknown>) {
    super(options)
    this.sql = sql
    this.#params = params
  }

  get original(): Statement.Statement<A> {
    return this.#original ??= this.options.original.unsafe<A>(this.sql, this.#params)
  }

  query(): Place.Query {
    return this.#query ??= this.#read()
  }

  /** From its first run on, it is of no consequence any more what becomes of the array. */
  #read(): Place.Query {
    this.#params = this.#original === undefined ? [...this.#params] : this.#original.compile()[1]
    return { text: this.options.kinds.read(this.sql), params: this.#params }
  }
}

/** From anything else: what it says is for Effect's own to say. */
class Composed<A> extends Quiet<A> {
  readonly original: Statement.Statement<A>

  constructor(options: Options, original: Statement.Statement<A>) {
    super(options)
    this.original = original
  }

  query(withoutTransform: boolean): Place.Query {
    const [sql, params] = this.original.compile(withoutTransform)
    return { text: this.options.kinds.read(sql), params }
  }
}

/** What a statement can be run for, besides its rows: how, and whether names are left as they are. */
const ways = {
  raw: { door: Place.raw, withoutTransform: true },
  withoutTransform: { door: Place.rows, withoutTransform: true },
  values: { door: Place.values, withoutTransform: false },
  valuesUnprepared: { door: Place.values, withoutTransform: false },
  unprepared: { door: Place.rows, withoutTransform: false }
} as const

/** A statement run in one of those ways. */
class Through<B> extends Step<B, SqlError, never> {
  readonly #statement: Quiet<unknown>
  readonly #way: keyof typeof ways

  constructor(statement: Quiet<unknown>, way: keyof typeof ways) {
    super()
    this.#statement = statement
    this.#way = way
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<B, SqlError> {
    const { door, withoutTransform } = ways[this.#way]
    const unseen = runUnseen<unknown>(this.#statement, door, withoutTransform, fiber)
    return (unseen ?? this.#statement.original[this.#way]) as Effect.Effect<B, SqlError>
  }
}

/** Runs a statement in the step that the fiber is in, unless it would be seen: then Effect's own has to be run. */
const runUnseen = <B>(
  statement: Quiet<unknown>,
  door: Place.Door<B>,
  withoutTransform: boolean,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<B, SqlError> | undefined => {
  if (isSeen(fiber)) return undefined
  const { placeOf, transform } = statement.options
  const place = placeOf(fiber)
  if (place === undefined) return undefined
  charge(fiber)
  return door(place, fiber, statement.query(withoutTransform), withoutTransform ? undefined : transform)
}

/** About as many operations of a fiber as Effect's own statement takes. */
const operations = 10

/**
 * The turn of a fiber is measured in operations, whatever they take: a statement counts for as many as Effect's own, so
 * that a fiber that runs one after the other lets others go first as often.
 */
const charge = (fiber: { currentOpCount: number }): void => {
  fiber.currentOpCount += operations
}

/** Whether somebody may see the span of a statement that this fiber runs. */
const isSeen = (fiber: Fiber.Fiber<unknown, unknown>): boolean => {
  const { tracer, tracerEnabled } = fiber.cache
  if (tracerEnabled && (tracer !== undefined || fiber.getRef(Statement.SpanPropagationEnabled))) return true
  return fiber.getRef(Statement.CurrentTransformer) !== undefined
}
