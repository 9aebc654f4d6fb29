/** The options `functions` and `aggregates`: their rules, and the settings made from them. */
import { Predicate } from "effect"
import { isAbsolute } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { pathToFileURL } from "node:url"
import { check, problem, type Resolved, type Rule, show, table } from "../../../internal/options/rules.ts"
import type { ConfigProblem } from "../../../PoolError.ts"

interface Common {
  readonly name: string
  /** The place in the list of its name, if it is in a list. */
  readonly index: number | undefined
  /** The number of arguments; -1 for any number. */
  readonly arity: number
  readonly deterministic: boolean
  readonly directOnly: boolean
  readonly safeIntegers: boolean
}

/** A SQL function. */
export interface ScalarSettings extends Common {
  readonly kind: "functions"
  readonly run: (...args: Array<unknown>) => unknown
}

/** A SQL aggregate. */
export interface AggregateSettings extends Common {
  readonly kind: "aggregates"
  readonly start: () => unknown
  readonly step: (state: unknown, ...args: Array<unknown>) => unknown
  readonly inverse: ((state: unknown, ...args: Array<unknown>) => unknown) | undefined
  readonly result: (state: unknown) => unknown
}

export type FunctionSettings = ScalarSettings | AggregateSettings

/** A function of a module without its code: it can be sent to a thread, which finds the code at that place. */
export type FoundFunction =
  | Omit<ScalarSettings, "run">
  | Omit<AggregateSettings, "start" | "step" | "inverse" | "result">

/** A module, and the functions that were found in it. */
export interface FunctionsModule {
  /** The address of the module. */
  readonly href: string
  readonly found: ReadonlyArray<FoundFunction>
}

/** SQLite's own limit. */
const maxArguments = 1000

/** Whether a value is a function that returns its result: an `async` or generator function never does. */
const isSynchronous = (value: unknown): value is (...args: Array<unknown>) => unknown =>
  Predicate.isFunction(value) && Object.prototype.toString.call(value) === "[object Function]"

const isCall = {
  accepts: isSynchronous,
  mustBe: "a function that returns its result at once (not async, no generator)"
} as const

const properties = {
  deterministic: { kind: "flag", default: false },
  directOnly: { kind: "flag", default: false },
  varargs: { kind: "flag", default: false },
  safeIntegers: { kind: "flag", default: false }
} as const

const scalarTable = table({ run: { kind: "value", required: true, ...isCall }, ...properties })

const aggregateTable = table({
  start: { kind: "value", required: true, ...isCall },
  step: { kind: "value", required: true, ...isCall },
  inverse: { kind: "value", ...isCall },
  result: { kind: "value", required: true, ...isCall },
  ...properties
})

type Kind = FunctionSettings["kind"]

const isRecord = (value: unknown): value is object => Object.prototype.toString.call(value) === "[object Object]"

/** The address of a module: a URL, or an absolute path. */
const isModule = (given: unknown): boolean =>
  given instanceof URL || typeof given === "string" && (URL.canParse(given) || isAbsolute(given))

/** The rule of the option `functionsModule`. */
export const functionsModuleRule = {
  kind: "value",
  accepts: isModule,
  mustBe: "the URL of a module, such as new URL(\"./functions.js\", import.meta.url), or its absolute path",
  resolve: (given) => ({ value: hrefOf(given as URL | string), problems: [] })
} as const satisfies Rule

const hrefOf = (given: URL | string): string =>
  typeof given === "string" && isAbsolute(given) ? pathToFileURL(given).href : String(given)

/** The rules of both options. */
export const functionRules = {
  functions: {
    kind: "value",
    accepts: isRecord,
    mustBe: "a record of functions by their names",
    resolve: (given, field) => resolve("functions", given, field)
  },
  aggregates: {
    kind: "value",
    accepts: isRecord,
    mustBe: "a record of aggregates by their names",
    resolve: (given, field) => resolve("aggregates", given, field)
  }
} as const satisfies Record<string, Rule>

/** What `aggregates` must be if it has the same as `functions`. */
export const sharedNames = (functions: unknown, aggregates: unknown): string | undefined => {
  const known = new Set(settingsIn(functions).map(keyOf))
  const shared = settingsIn(aggregates).find((settings) => known.has(keyOf(settings)))
  return shared && `without ${signatureOf(shared)}, which is one of functions`
}

const exportsTable = table(functionRules, [
  { fields: ["aggregates", "functions"], broken: ({ aggregates, functions }) => sharedNames(functions, aggregates) }
])

/** The functions and aggregates that a module exports, and what is wrong with them. */
export const functionsIn = (
  module: { readonly functions?: unknown; readonly aggregates?: unknown }
): { readonly functions: ReadonlyArray<FunctionSettings>; readonly problems: ReadonlyArray<ConfigProblem> } => {
  const { aggregates, functions } = module
  const { checked, problems } = check(exportsTable, { aggregates, functions })
  return { functions: functionsOf(checked.functions, checked.aggregates) ?? [], problems }
}

/** All functions and aggregates. Not set if there are none. */
export const functionsOf = (functions: unknown, aggregates: unknown): ReadonlyArray<FunctionSettings> | undefined => {
  const all = [...settingsIn(functions), ...settingsIn(aggregates)]
  return all.length === 0 ? undefined : all
}

const settingsIn = (resolved: unknown): ReadonlyArray<FunctionSettings> =>
  resolved === undefined ? [] : resolved as ReadonlyArray<FunctionSettings>

/** In SQLite, case does not count, and a name may have a function for each number of arguments. */
const keyOf = ({ arity, name }: FunctionSettings): string => `${name.toLowerCase()}/${arity}`

const signatureOf = ({ arity, name }: FunctionSettings): string =>
  `${name} with ${arity < 0 ? "any number of arguments" : arity === 1 ? "1 argument" : `${arity} arguments`}`

const resolve = (kind: Kind, given: unknown, field: string): Resolved => {
  const problems: Array<ConfigProblem> = []
  const byKey = new Map<string, FunctionSettings>()
  for (const key of Reflect.ownKeys(given as object)) {
    const where = `${field}.${String(key)}`
    const value = (given as Readonly<Record<PropertyKey, unknown>>)[key]
    const wrong = wrongName(key)
    if (wrong !== undefined) {
      problems.push({ field: where, value: show(value), message: `${where}: ${wrong}` })
      continue
    }
    const isList = Array.isArray(value)
    const definitions: ReadonlyArray<unknown> = isList ? value : [value]
    for (const [index, definition] of definitions.entries()) {
      const own = isList ? `${where}[${index}]` : where
      const settings = definitionOf(kind, String(key), isList ? index : undefined, definition, own, problems)
      if (settings === undefined) continue
      if (settings.arity > maxArguments) {
        const message = `${own} has ${settings.arity} parameters, but SQLite has at most ${maxArguments} arguments`
        problems.push({ field: own, value: show(definition), message })
        continue
      }
      const other = byKey.get(keyOf(settings))
      if (other !== undefined) {
        const message =
          `${own}: ${signatureOf(other)} is there already, and SQLite has one for each number of arguments` +
          (other.name === settings.name ? "" : "; case does not count in their names")
        problems.push({ field: own, value: show(definition), message })
      }
      byKey.set(keyOf(settings), settings)
    }
  }
  return { value: [...byKey.values()], problems }
}

const definitionOf = (
  kind: Kind,
  name: string,
  index: number | undefined,
  given: unknown,
  where: string,
  problems: Array<ConfigProblem>
): FunctionSettings | undefined => {
  if (kind === "functions" ? !Predicate.isFunction(given) && !isRecord(given) : !isRecord(given)) {
    const wanted = kind === "functions" ? "a function, or a record with its run" : "an aggregate"
    problems.push(problem(where, given, `${wanted}, or a list of them`))
    return undefined
  }
  const add = (found: ReadonlyArray<ConfigProblem>) => {
    for (const { field, message, value } of found) {
      problems.push({ field: `${where}.${field}`, value, message: `${where}.${message}` })
    }
    return found.length > 0
  }
  if (kind === "functions") {
    const { checked, problems: found } = check(scalarTable, Predicate.isFunction(given) ? { run: given } : given)
    if (add(found)) return undefined
    const { varargs, ...common } = checked
    const run = common.run as ScalarSettings["run"]
    return { ...common, kind, name, index, run, arity: varargs ? -1 : run.length }
  }
  const { checked, problems: found } = check(aggregateTable, given)
  if (add(found)) return undefined
  const { varargs, ...common } = checked
  const callbacks = common as unknown as Pick<AggregateSettings, "start" | "step" | "inverse" | "result">
  // The first parameter is the state.
  const arity = Math.max(callbacks.step.length, callbacks.inverse?.length ?? 0) - 1
  return { ...common, ...callbacks, kind, name, index, arity: varargs ? -1 : Math.max(arity, 0) }
}

/** Why a name cannot be the name of a function; `undefined` if it can. */
const wrongName = (key: PropertyKey): string | undefined => {
  if (typeof key !== "string" || !plainName.test(key)) {
    return "a name has letters, digits, _ and $, and begins with a letter or _"
  }
  if (Buffer.byteLength(key) > maxNameBytes) return `a name has at most ${maxNameBytes} bytes`
  if (/^sqlite_/i.test(key)) return "names that begin with sqlite_ are SQLite's own"
  if (kept.has(key.toLowerCase())) return "this library needs SQLite's own function of that name"
  return isWord(key) ? "it is a word of SQL, which SQL cannot call" : undefined
}

const plainName = /^[\p{L}_][\p{L}\p{N}\p{M}_$]*$/u
const maxNameBytes = 255

/** Functions that this library calls, or whose meaning it knows. Any other of SQLite's own may be replaced. */
const kept: ReadonlySet<string> = new Set(["changes", "last_insert_rowid", "quote", "total_changes"])

/**
 * Whether SQL has no call with this name. SQLite itself is asked, because the words change with its versions: some are a
 * syntax error before a bracket, and others mean something else there, as in `not(1)` and `distinct(1)`.
 */
const isWord = (name: string): boolean => {
  const database = new DatabaseSync(":memory:")
  let isCalled = false
  try {
    database.function(name, () => {
      isCalled = true
      return null
    })
    database.prepare(`select ${name}()`).get()
  } catch {
    // SQLite found no call.
  } finally {
    database.close()
  }
  return !isCalled
}
