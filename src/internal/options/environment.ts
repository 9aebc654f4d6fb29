/** Options from the environment, or from another source of a `ConfigProvider`. */
import { Config, Effect, Option, Predicate, Result, Schema, SchemaIssue } from "effect"
import {
  type Checked,
  checkValues,
  type Naming,
  nothingRead,
  type Rule,
  type Rules,
  show,
  type Table,
  unreadable
} from "./rules.ts"

/**
 * Reads the options of a table: `maxWaiting` is the variable `MAX_WAITING` after the prefix. An empty prefix counts as
 * none. Variables that are not set are left out. All invalid variables are in one error. Two variables that contradict
 * each other are an error if both are set; if one is not, that option may be given in code. Throws a `TypeError` if the
 * prefix is no text.
 */
export const fromEnvironment = <R extends Rules>(
  table: Table<R>,
  given: string | undefined
): Config.Config<Partial<Checked<R>>> => {
  if (given !== undefined && typeof given !== "string") {
    throw new TypeError(`the prefix of the variables is ${show(given)}, but must be text`)
  }
  const prefix = given === "" ? undefined : given
  const variables: Record<string, Config.Config<Result.Result<Option.Option<string>, Error>>> = {}
  for (const [field, rule] of Object.entries<Rule>(table.rules)) {
    if (rule.kind !== "value") variables[field] = textOf(variable(field))
  }
  const naming: Naming = {
    nameOf: (field) => prefix === undefined ? variable(field) : `${prefix}_${variable(field)}`,
    missing: (name) => `${name} is not set`
  }
  const options = Config.flatMap(Config.all(variables), (texts): Config.Config<Partial<Checked<R>>> => {
    const read = nothingRead()
    const { values } = read
    for (const [field, text] of Object.entries(texts)) {
      if (Result.isFailure(text)) {
        read.wrong.add(field)
        read.problems.push(unreadable(naming.nameOf(field), text.failure))
      } else if (Option.isSome(text.success)) values.set(field, parse(table.rules[field]!, text.success.value.trim()))
    }
    const relations = table.relations.filter(({ fields }) => fields.every((field) => values.has(field)))
    const { checked, given, problems } = checkValues({ ...table, relations }, read, naming)
    const [first, ...rest] = problems.map(({ message }) => new SchemaIssue.InvalidValue({ message }))
    if (first === undefined) {
      return Config.succeed(
        Object.fromEntries(Object.entries(checked).filter(([field]) => given.has(field))) as Partial<Checked<R>>
      )
    }
    // No variable is set: this error lets `Config.option` and `Config.withDefault` give another value.
    const required = Object.keys(texts).find((field) => "required" in table.rules[field]!)
    if (values.size === 0 && rest.length === 0 && required !== undefined && Result.isSuccess(texts[required]!)) {
      const message = problems[0]!.message
      return Config.schema(Schema.String.annotate({ message }), variable(required)) as Config.Config<never>
    }
    return Config.fail(failureOf([first, ...rest]))
  })
  return prefix === undefined ? options : Config.nested(options, prefix)
}

/** Reads several configurations. Where `Config.all` stops at the first that is invalid, all invalid variables are in one error. */
export const together = <const C extends Record<string, Config.Config<unknown>>>(
  configs: C
): Config.Config<{ readonly [K in keyof C]: Config.Success<C[K]> }> =>
  Config.flatMap(
    Config.all(Object.fromEntries(Object.entries(configs).map(([key, config]) => [key, judged(config)]))),
    (read) => {
      const values: Array<readonly [string, unknown]> = []
      const issues: Array<SchemaIssue.Issue> = []
      for (const [key, result] of Object.entries(read)) {
        if (Result.isSuccess(result)) values.push([key, result.success])
        else issues.push(...issuesOf(result.failure))
      }
      const [first, ...rest] = issues
      return first === undefined
        ? Config.succeed(Object.fromEntries(values) as { readonly [K in keyof C]: Config.Success<C[K]> })
        : Config.fail(failureOf([first, ...rest]))
    }
  )

/** What a configuration gives, or what is wrong in it. Fails if the source cannot be read at all. */
const judged = <A>(config: Config.Config<A>): Config.Config<Result.Result<A, SchemaIssue.Issue>> =>
  Config.orElse(
    Config.map(config, (value): Result.Result<A, SchemaIssue.Issue> => Result.succeed(value)),
    ({ cause }) => cause._tag === "SourceError" ? Config.fail(cause) : Config.succeed(Result.fail(cause.issue))
  )

const issuesOf = (issue: SchemaIssue.Issue): ReadonlyArray<SchemaIssue.Issue> =>
  issue._tag === "Composite" ? issue.issues : [issue]

const failureOf = ([first, ...rest]: readonly [SchemaIssue.Issue, ...Array<SchemaIssue.Issue>]): Schema.SchemaError =>
  new Schema.SchemaError(
    rest.length === 0 ? first : new SchemaIssue.Composite(Schema.Unknown.ast, [first, ...rest])
  )

/** The text of a variable, or why it cannot be read. Fails if the source cannot be read at all. */
const textOf = (name: string): Config.Config<Result.Result<Option.Option<string>, Error>> =>
  Config.orElse(
    Config.map(Config.option(Config.String(name)), Result.succeed),
    ({ cause }) => cause._tag === "SourceError" ? Config.fail(cause) : Config.succeed(Result.fail(cause))
  )

/** The name of the variable of an option, without the prefix. */
export const variable = (field: string): string => field.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()

/** The value of a text. An invalid text is returned as it is, so that the check reports it. */
export const parse = (rule: Rule, text: string): unknown => {
  switch (rule.kind) {
    case "choice":
      return rule.of.find((choice) => String(choice).toLowerCase() === text.toLowerCase()) ??
        (typeof rule.of[0] === "number" ? numberOf(text) : undefined) ?? text
    case "flag":
      return flags.get(text.toLowerCase()) ?? text
    case "bytes":
      return bytesOf(text) ?? numberOf(text) ?? text
    case "count":
    case "fraction":
      return numberOf(text) ?? text
    default:
      return text
  }
}

const numberOf = (text: string): number | undefined => {
  if (/^infinity$/i.test(text)) return Infinity
  return /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text.replaceAll("_", ""))
    ? Number(text.replaceAll("_", ""))
    : undefined
}

const bytesOf = (text: string): number | undefined => {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)\s*([kmgt]i?b|b)$/i.exec(text) ?? []
  if (amount === undefined) return undefined
  const [letter, second] = unit!.toLowerCase()
  return Math.round(Number(amount) * (second === "i" ? 1024 : 1000) ** Math.max(0, "bkmgt".indexOf(letter!)))
}

const flags: ReadonlyMap<string, boolean> = new Map([
  ["true", true],
  ["yes", true],
  ["on", true],
  ["1", true],
  ["false", false],
  ["no", false],
  ["off", false],
  ["0", false]
])

/**
 * Does what `Config.unwrap` does, with two differences: all errors are reported at once, and an option may be a plain
 * value instead of a `Config`. An `undefined` option is left out.
 */
export const unwrap = <A>(wrapped: Config.Wrap<A>): Config.Config<A> => {
  if (Config.isConfig(wrapped)) return wrapped as Config.Config<A>
  return Config.mapEffect(collect(wrapped), (result) => {
    if (Result.isSuccess(result)) return Effect.succeed(result.success as A)
    const [first, ...rest] = result.failure
    if (rest.length === 0) return Effect.fail(first)
    const issues = result.failure.map(({ cause }) =>
      cause._tag === "SchemaError" ? cause.issue : new SchemaIssue.InvalidValue({ message: cause.message })
    ) as [SchemaIssue.Issue, ...Array<SchemaIssue.Issue>]
    return Effect.fail(
      new Config.ConfigError(new Schema.SchemaError(new SchemaIssue.Composite(Schema.Unknown.ast, issues)))
    )
  })
}

type Collected = Result.Result<unknown, readonly [Config.ConfigError, ...Array<Config.ConfigError>]>

const collect = (wrapped: unknown): Config.Config<Collected> => {
  if (Config.isConfig(wrapped)) {
    return Config.orElse(
      Config.map(wrapped, (value): Collected => Result.succeed(value)),
      (error) => Config.succeed<Collected>(Result.fail([error]))
    )
  }
  if (!isPlain(wrapped)) return Config.succeed<Collected>(Result.succeed(wrapped))
  const entries = Object.entries(wrapped).filter(([, value]) => value !== undefined)
  return Config.map(Config.all(entries.map(([, value]) => collect(value))), (results): Collected => {
    const errors = results.flatMap((result) => Result.isFailure(result) ? result.failure : [])
    const [first, ...rest] = errors
    if (first !== undefined) return Result.fail([first, ...rest])
    return Result.succeed(
      Object.fromEntries(entries.map(([field], index) => [field, Result.getOrThrow(results[index]!)]))
    )
  })
}

const isPlain = (value: unknown): value is object =>
  Predicate.isObject(value) && Object.getPrototypeOf(value) === Object.prototype
