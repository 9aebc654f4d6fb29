/**
 * The SQL functions of an application on one connection.
 *
 * A function runs in the middle of a statement. Meanwhile nothing else may be done with the connection, and Node even
 * crashes if it is closed then. So operations are refused, and what this library itself has to do waits until the
 * statement has ended.
 */
import type { AggregateOptions, DatabaseSync, SQLInputValue } from "node:sqlite"
import { disown, isAsyncFiberError, isLater } from "../../../internal/marks.ts"
import { failed, Failure, functionFailed, functionMessage, integerTooBig, isIntegerTooBig } from "../failures.ts"
import type { AggregateSettings, FunctionSettings, ScalarSettings } from "../options/functions.ts"
import { describe, storable, toSqlite } from "./binding.ts"
import { exactly } from "./integers.ts"

/** What a SQL function throws through SQLite. */
export class FunctionFailure extends Error {
  /** The name of the function. */
  readonly function: string
  /**
   * Whether a statement may have left a part of its work in its transaction. SQLite expects that functions fail, and then
   * undoes the statement. It does not expect that of aggregates.
   */
  leavesPart: boolean

  /** `cause` is what the function threw. */
  constructor(name: string, cause: unknown, leavesPart: boolean) {
    super(functionMessage(name, cause), { cause })
    this.function = name
    this.leavesPart = leavesPart
  }
}

export class Functions {
  /** The function that runs now. */
  #running: string | undefined
  /**
   * What a function of the present statement has thrown. After a failure, SQLite asks the aggregates of the statement for their
   * results. If such a result did not fail too, Node would lose what was thrown, and the statement would seem to succeed.
   */
  #thrown: unknown
  /** What waits for the end of the statement. */
  readonly #waiting: Array<() => void> = []
  readonly hasAggregates: boolean
  /** The names of the aggregates, in lower case. */
  readonly aggregates: ReadonlySet<string>
  readonly #inexact: ReadonlyArray<string>

  constructor(sqlite: DatabaseSync, settings: ReadonlyArray<FunctionSettings> | undefined) {
    const all = settings ?? []
    this.hasAggregates = all.some(({ kind }) => kind === "aggregates")
    for (const one of all) {
      if (one.kind === "functions") this.#define(sqlite, one)
      else this.#aggregate(sqlite, one)
    }
    this.aggregates = new Set(all.filter(({ kind }) => kind === "aggregates").map(({ name }) => name.toLowerCase()))
    this.#inexact = all.filter(({ arity, safeIntegers }) => !safeIntegers && arity !== 0).map(({ name }) => name)
  }

  get isRunning(): boolean {
    return this.#running !== undefined
  }

  /** Throws a `Failure` if a function runs now. */
  assertNone(operation: string): void {
    if (this.#running !== undefined) throw usedInside(operation, this.#running)
  }

  /** Runs `f`, but not while a function runs: then it runs when the statement has ended, which fails. */
  afterwards(f: () => void): void {
    if (this.#running === undefined) f()
    else this.#waiting.push(f)
  }

  /** A statement has failed: does what has waited for its end. */
  settle(): void {
    // A function may have met the failure of another statement.
    if (this.isRunning) return
    this.#thrown = undefined
    for (const f of this.#waiting.splice(0)) {
      try {
        f()
      } catch {
        // The statement has a failure already, and the pool evicts a connection that it cannot use.
      }
    }
  }

  /** Whether a text has the name of an aggregate, so that a script with this text may call it. */
  mentionsAggregate(text: string): boolean {
    return mentioned([...this.aggregates], text).length > 0
  }

  /** The functions in a text that take no integers beyond 2^53. All of them, if only the schema can call one. */
  inexactIn(text: string): ReadonlyArray<string> {
    const found = mentioned(this.#inexact, text)
    return found.length > 0 ? found : this.#inexact
  }

  #define(sqlite: DatabaseSync, settings: ScalarSettings): void {
    const { name, run } = settings
    const convertsHere = this.#convertsHere(settings)
    const wrapped = (...given: Array<unknown>): SQLInputValue => {
      this.#thrown = undefined
      const args = convertsHere ? this.#numbers(given) : given
      this.#running = name
      let returned: unknown
      let value: SQLInputValue | undefined
      try {
        returned = run(...args)
        value = toSqlite(returned)
      } catch (thrown) {
        throw this.#failed(name, thrown, false)
      } finally {
        this.#running = undefined
      }
      if (value === undefined) throw this.#failed(name, notStorable(returned), false)
      if (this.#waiting.length > 0) throw this.#failed(name, new Error(connectionEnded), false)
      return value
    }
    sqlite.function(name, propertiesOf(settings, convertsHere), withLength(wrapped, settings.arity))
  }

  #aggregate(sqlite: DatabaseSync, settings: AggregateSettings): void {
    const { arity, inverse, name, result, start, step } = settings
    const convertsHere = this.#convertsHere(settings)
    const add = (update: AggregateSettings["step"], part: string) =>
      withLength((group: Group, ...given: Array<unknown>): Group => {
        if (group.failure !== undefined) throw group.failure
        try {
          const args = convertsHere ? this.#numbers(given) : given
          group.state = this.#run(name, () => stateOf(part, update(group.state, ...args)))
          return group
        } catch (thrown) {
          group.failure = thrown
          throw thrown
        }
      }, arity + 1)
    const options = {
      ...propertiesOf(settings, convertsHere),
      // If this threw, SQLite would call it again for the result, and it might not throw then.
      start: (): Group => {
        try {
          return { state: this.#run(name, () => stateOf("start", start())), failure: undefined }
        } catch (failure) {
          return { state: undefined, failure }
        }
      },
      step: add(step, "step"),
      ...(inverse && { inverse: add(inverse, "inverse") }),
      result: (group: Group): SQLInputValue => {
        const failure = group.failure ?? this.#thrown
        if (failure !== undefined) throw failure
        return this.#run(name, () => {
          const returned = result(group.state)
          const value = toSqlite(returned)
          if (value === undefined) throw notStorable(returned)
          return value
        })
      }
    }
    // The types of Node allow only values of SQLite as a state, but a state may be anything.
    sqlite.aggregate(name, options as unknown as AggregateOptions)
  }

  /** Runs a part of an aggregate. */
  #run<A>(name: string, f: () => A): A {
    this.#thrown = undefined
    this.#running = name
    let value: A
    try {
      value = f()
    } catch (thrown) {
      throw this.#failed(name, thrown, true)
    } finally {
      this.#running = undefined
    }
    if (this.#waiting.length > 0) throw this.#failed(name, new Error(connectionEnded), true)
    return value
  }

  #failed(name: string, thrown: unknown, leavesPart: boolean): FunctionFailure {
    const cause = hasToWait(thrown) ? new Error(cannotWait, { cause: thrown }) : thrown
    const failure = new FunctionFailure(name, cause, leavesPart)
    this.#thrown = failure
    return failure
  }

  /**
   * Whether integers become numbers here. Node would refuse those beyond 2^53 where this does not see it, and then lose what
   * it has thrown. Without aggregates, Node loses nothing, and is faster.
   */
  #convertsHere({ safeIntegers }: FunctionSettings): boolean {
    return this.hasAggregates && !safeIntegers
  }

  #numbers(values: ReadonlyArray<unknown>): Array<unknown> {
    return values.map((value) => {
      const number = typeof value === "bigint" ? exactly(value) : value
      if (typeof number !== "bigint") return number
      this.#thrown = tooBig(number)
      throw this.#thrown
    })
  }
}

/** The error of Node for an integer that no number holds exactly. */
const tooBig = (integer: bigint): RangeError =>
  Object.assign(new RangeError(`Value is too large to be represented as a JavaScript number: ${integer}`), {
    code: "ERR_OUT_OF_RANGE"
  })

/** The failure for what was thrown, if it did not come from SQLite. */
export const knownFailure = (
  thrown: unknown,
  operation: string,
  sql: string,
  functions: Functions
): Failure | undefined => {
  if (thrown instanceof FunctionFailure) return functionFailed(thrown.function, operation, thrown.cause)
  if (thrown instanceof Failure) return thrown
  return isIntegerTooBig(thrown) ? integerTooBig(thrown, operation, functions.inexactIn(sql)) : undefined
}

/** Whether an Effect had to wait. Never throws, also not for what cannot be looked at, such as a revoked `Proxy`. */
const hasToWait = (thrown: unknown): boolean => {
  try {
    return isAsyncFiberError(thrown)
  } catch {
    return false
  }
}

/** The names that stand in a text. A name in a comment counts too, which does no harm. */
const mentioned = (names: ReadonlyArray<string>, text: string): ReadonlyArray<string> => {
  if (names.length === 0) return names
  const lower = text.toLowerCase()
  return names.filter((name) => lower.includes(name.toLowerCase()))
}

const propertiesOf = ({ arity, deterministic, directOnly, safeIntegers }: FunctionSettings, convertsHere: boolean) => ({
  deterministic,
  directOnly,
  useBigIntArguments: safeIntegers || convertsHere,
  varargs: arity < 0
})

/** Node reads the number of arguments from the length of the function. */
const withLength = <F extends object>(f: F, length: number): F =>
  Object.defineProperty(f, "length", { value: Math.max(length, 0) })

/** The rows of one group, for an aggregate. */
interface Group {
  state: unknown
  failure: unknown
}

/** The state that a part of an aggregate has returned. */
const stateOf = (part: string, returned: unknown): unknown => {
  if (returned !== undefined && !isLater(returned)) return returned
  throw new TypeError(`${part} returned ${returned === undefined ? "undefined" : later(returned)}: return the state`)
}

const notStorable = (value: unknown): TypeError =>
  new TypeError(
    isLater(value)
      ? `it returned ${later(value)}, and SQLite does not wait: return the value itself`
      : `it returned ${describe(value)}, but must return ${storable}`
  )

const later = (value: unknown): string => {
  disown(value)
  return value instanceof Promise ? "a promise" : "an Effect"
}

const cannotWait =
  "it ran an Effect that has to wait, and a SQL function cannot wait: the statement that calls it has " +
  "the connection, so do before the statement what needs one"

const connectionEnded = "the lease or the connection was ended while it ran"

const usedInside = (operation: string, name: string): Failure =>
  failed(
    operation,
    `${operation}: the SQL function ${name} must not use the connection that runs it: read before the statement what it ` +
      "needs, and pass it as an argument"
  )
