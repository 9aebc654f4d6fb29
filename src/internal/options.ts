/** Options as data: what each may be and what it is if not given, to check them and to read them from the environment. */
import { Config, Duration, Effect, Option, Predicate, Schema, SchemaIssue } from "effect"
import type { ConfigProblem } from "../PoolError.ts"

export type Rule =
  | { readonly kind: "name"; readonly default: string }
  | { readonly kind: "choice"; readonly of: readonly [string, ...Array<string>] }
  | { readonly kind: "flag"; readonly default: boolean }
  | { readonly kind: "fraction"; readonly default: number }
  | { readonly kind: "count"; readonly default: number; readonly floor: number; readonly finite?: true }
  | { readonly kind: "duration"; readonly default: Duration.Input; readonly zero?: true; readonly finite?: true }

export type Rules = Readonly<Record<string, Rule>>

/** What the options are after they were checked: durations in milliseconds, `Infinity` for what is off. */
export type Checked<R extends Rules> = { -readonly [Field in keyof R]: Value<R[Field]> }

type Value<R extends Rule> = R extends { readonly kind: "choice"; readonly of: ReadonlyArray<infer A> } ? A
  : R extends { readonly kind: "name" } ? string
  : R extends { readonly kind: "flag" } ? boolean
  : number

export interface Outcome<R extends Rules> {
  /** Where there is a problem, the default. */
  readonly checked: Checked<R>
  readonly problems: Array<ConfigProblem>
}

/** Checks all options, and that there are no others. */
export const check = <const R extends Rules>(rules: R, options: object): Outcome<R> => {
  const given = options as Readonly<Record<string, unknown>>
  const checked: Record<string, unknown> = {}
  const problems: Array<ConfigProblem> = []
  for (const field of Object.keys(given)) {
    if (Object.hasOwn(rules, field)) continue
    problems.push({ field, value: show(given[field]), allowed: `one of ${Object.keys(rules).join(", ")}` })
  }
  for (const [field, rule] of Object.entries(rules)) {
    const value = given[field] === undefined ? undefined : valueOf(rule, given[field])
    if (value === undefined && given[field] !== undefined) {
      problems.push({ field, value: show(given[field]), allowed: allowed(rule) })
    }
    checked[field] = value ?? defaultOf(rule)
  }
  return { checked: checked as Checked<R>, problems }
}

/** The value, if it is one that the rule allows. */
const valueOf = (rule: Rule, given: unknown): unknown => {
  switch (rule.kind) {
    case "name":
      return Predicate.isString(given) && given.trim() !== "" ? given : undefined
    case "choice":
      return rule.of.find((choice) => choice === given)
    case "flag":
      return Predicate.isBoolean(given) ? given : undefined
    case "fraction":
      return Predicate.isNumber(given) && given >= 0 && given < 1 ? given : undefined
    case "count": {
      const isWhole = Number.isSafeInteger(given) || (given === Infinity && rule.finite !== true)
      return isWhole && (given as number) >= rule.floor ? given : undefined
    }
    case "duration": {
      const millis = toMillis(given)
      if (millis === undefined || (millis === Infinity && rule.finite === true)) return undefined
      return millis > 0 || (millis === 0 && rule.zero === true) ? millis : undefined
    }
  }
}

const defaultOf = (rule: Rule): unknown => {
  switch (rule.kind) {
    case "choice":
      return rule.of[0]
    case "duration":
      return toMillis(rule.default)
    default:
      return rule.default
  }
}

const allowed = (rule: Rule): string => {
  switch (rule.kind) {
    case "name":
      return "text that is not empty"
    case "choice":
      return rule.of.map((choice) => `"${choice}"`).join(" or ")
    case "flag":
      return "true or false"
    case "fraction":
      return "a number from 0 to below 1"
    case "count":
      return `a whole number of at least ${rule.floor}${rule.finite === true ? "" : ", or Infinity"}`
    case "duration":
      if (rule.zero === true) return "a duration of zero or more"
      return rule.finite === true ? "a duration above zero" : "a duration above zero, or Infinity"
  }
}

/** Milliseconds, or nothing if this is no duration. */
export const toMillis = (input: unknown): number | undefined => {
  if (Number.isNaN(input)) return undefined
  const duration = Duration.fromInput(input as Duration.Input)
  return Option.isSome(duration) ? Duration.toMillis(duration.value) : undefined
}

export const show = (value: unknown): string => Predicate.isString(value) ? `"${value}"` : String(value)

// ---------------------------------------------------------------------------------------------------------------------
// From the environment
// ---------------------------------------------------------------------------------------------------------------------

/**
 * The options from the configuration, `maxWaiting` as `MAX_WAITING` under the prefix. What is not set is left out. All
 * that cannot be is reported in one error.
 */
export const fromEnvironment = (rules: Rules, prefix: string | undefined): Config.Config<Record<string, unknown>> => {
  const texts: Record<string, Config.Config<Option.Option<string>>> = {}
  for (const field of Object.keys(rules)) texts[field] = Config.option(Config.String(variable(field)))
  const options = Config.mapEffect(Config.all(texts), (texts) => {
    const given: Record<string, unknown> = {}
    for (const [field, rule] of Object.entries(rules)) {
      const text = texts[field]!
      if (Option.isSome(text)) given[field] = parse(rule, text.value.trim())
    }
    const { problems } = check(rules, given)
    if (problems.length === 0) return Effect.succeed(given)
    const [first, ...rest] = problems.map(({ allowed, field, value }) => {
      const name = prefix === undefined ? variable(field) : `${prefix}_${variable(field)}`
      return new SchemaIssue.InvalidValue({ message: `${name} is ${value}, allowed is ${allowed}` })
    })
    const issue = rest.length === 0 ? first! : new SchemaIssue.Composite(Schema.Unknown.ast, [first!, ...rest])
    return Effect.fail(new Config.ConfigError(new Schema.SchemaError(issue)))
  })
  return prefix === undefined ? options : Config.nested(options, prefix)
}

const variable = (field: string): string => field.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()

/** What the text stands for; the text itself if it stands for nothing, so that it is refused as what it is. */
const parse = (rule: Rule, text: string): unknown => {
  switch (rule.kind) {
    case "name":
    case "choice":
      return text
    case "flag":
      return flags.get(text.toLowerCase()) ?? text
    case "count":
    case "fraction": {
      const number = text === "" ? Number.NaN : Number(text)
      return Number.isNaN(number) ? text : number
    }
    case "duration": {
      const [, amount, unit] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(text) ?? []
      return amount === undefined ? text : Duration.millis(Number(amount) * units[unit!]!)
    }
  }
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

/** The short names of units, beside those that Effect knows. */
const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
