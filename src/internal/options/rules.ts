/**
 * The rules of options. Every module declares its options as a table of rules. `check` reports all problems at once,
 * and all messages have one wording.
 */
import { type Duration, Effect, Predicate, Redacted } from "effect"
import type { ConfigProblem } from "../../PoolError.ts"
import { toMillis } from "./duration.ts"
import { nearest } from "./nearest.ts"
import { show } from "./show.ts"

export { show } from "./show.ts"

/**
 * The values that one option may have. An option that is not given has the value `default`. Without a default it is
 * `undefined`, or it has to be given if the rule says `required`.
 */
export type Rule =
  | {
    readonly kind: "text"
    readonly default?: string
    readonly required?: true
    /** Default: text that is not empty. */
    readonly accepts?: (text: string) => boolean
    readonly mustBe?: string
  }
  | { readonly kind: "choice"; readonly of: ReadonlyArray<string | number>; readonly default?: string | number }
  | {
    readonly kind: "flag"
    readonly default?: boolean
    /** Values besides true and false that it may have in code. */
    readonly or?: { readonly accepts: (value: unknown) => boolean; readonly mustBe: string }
  }
  /** A text that no message shows. The checked value is a `Redacted`. */
  | {
    readonly kind: "secret"
    /** Says what the text must be; `undefined` if it is valid. The answer must not have the text in it. */
    readonly problem?: (text: string) => string | undefined
    /** Whether it may be an effect in code, which is run each time the secret is needed. */
    readonly mayBeEffect?: true
  }
  /** A number from 0 to below 1. */
  | { readonly kind: "fraction"; readonly default: number }
  /** A whole number, or `Infinity` unless it has to be finite or has a ceiling. */
  | {
    readonly kind: "count"
    readonly default?: number
    readonly required?: true
    readonly floor: number
    readonly ceiling?: number
    readonly finite?: true
  }
  /** A count that can be written as `64 MiB` in the environment. */
  | { readonly kind: "bytes"; readonly default: number; readonly floor: number }
  /** A duration above zero, or of zero if `zero` is set; or `Infinity`, unless it has to be finite. */
  | {
    readonly kind: "duration"
    readonly default?: Duration.Input
    readonly required?: true
    readonly zero?: true
    readonly finite?: true
  }
  /** A value that can be given only in code: a function, a schedule. */
  | {
    readonly kind: "value"
    readonly required?: true
    readonly accepts: (value: unknown) => boolean
    readonly mustBe: string
    /** Looks into an accepted value, and makes the checked value of it. `field` is the name of the option in messages. */
    readonly resolve?: (value: unknown, field: string) => Resolved
  }

/** A value that was looked into. It counts only if there are no problems. */
export interface Resolved {
  readonly value: unknown
  readonly problems: ReadonlyArray<ConfigProblem>
}

export type Rules = Readonly<Record<string, Rule>>

/** A rule about two options. */
export interface Relation<R extends Rules> {
  /** The option that messages call wrong, and the other option. */
  readonly fields: readonly [keyof R & string, keyof R & string]
  /**
   * What the first option must be, if the rule is broken. `other` is the name of the other option, and `given` has the
   * names of the options that were given.
   */
  readonly broken: (checked: Checked<R>, other: string, given: ReadonlySet<string>) => string | undefined
}

/** All options of one function. */
export interface Table<R extends Rules> {
  readonly rules: R
  readonly relations: ReadonlyArray<Relation<R>>
}

/** Makes a table of rules, with the relations between options. */
export const table = <const R extends Rules>(rules: R, relations: ReadonlyArray<Relation<R>> = []): Table<R> => ({
  rules,
  relations
})

/** The options after the check: durations in milliseconds, and `Infinity` for what is off. */
export type Checked<R extends Rules> = { -readonly [Field in keyof R]: Value<R[Field]> | Missing<R[Field]> }

type Value<R extends Rule> = R extends { readonly kind: "choice"; readonly of: ReadonlyArray<infer A> } ? A
  : R extends { readonly kind: "text" } ? string
  : R extends { readonly kind: "flag" } ? boolean
  : R extends { readonly kind: "value" | "secret" } ? unknown
  : number

type Missing<R extends Rule> = R extends { readonly default: unknown } | { readonly required: true } ? never : undefined

export interface Outcome<R extends Rules> {
  /** The checked options. One with a problem has its default here. */
  readonly checked: Checked<R>
  /** The names of the options that were given and are valid. */
  readonly given: ReadonlySet<string>
  readonly problems: Array<ConfigProblem>
}

/** Checks all options and the relations between them, and reports unknown options. Reads each option once. */
export const check = <R extends Rules>(table: Table<R>, options: unknown): Outcome<R> => {
  return checkValues(table, read(table.rules, options), inCode)
}

/** Checks the fields of a record that is an option by itself. */
export const checkRecord = <R extends Rules>(table: Table<R>, record: unknown, field: string): Resolved => {
  const { checked, problems } = check(table, record)
  return {
    value: checked,
    problems: problems.map(({ field: inner, message, value }) => ({
      field: `${field}.${inner}`,
      message: `${field}.${message}`,
      value
    }))
  }
}

/** The names of options in messages, and the message for one that is missing. */
export interface Naming {
  readonly nameOf: (field: string) => string
  readonly missing: (name: string) => string
}

const inCode: Naming = { nameOf: (field) => field, missing: (name) => `${name} is not given` }

/** The options as they were given, in code or in the environment. */
export interface Read {
  readonly values: Map<string, unknown>
  /** The options that could not be read. */
  readonly wrong: Set<string>
  readonly problems: Array<ConfigProblem>
}

export const nothingRead = (): Read => ({ values: new Map(), wrong: new Set(), problems: [] })

/** Checks options that were read already. */
export const checkValues = <R extends Rules>(
  { relations, rules }: Table<R>,
  { problems, values, wrong }: Read,
  { missing, nameOf }: Naming
): Outcome<R> => {
  const checked: Record<string, unknown> = {}
  const given = new Set<string>()
  for (const [field, rule] of Object.entries<Rule>(rules)) {
    const value = values.get(field)
    checked[field] = defaultOf(rule)
    if (value === undefined) {
      if (!("required" in rule) || wrong.has(field)) continue
      wrong.add(field)
      problems.push({
        field: nameOf(field),
        value: "undefined",
        message: `${missing(nameOf(field))}: it must be ${mustBe(rule)}`
      })
      continue
    }
    const accepted = valueOf(rule, value)
    if (accepted === undefined) {
      wrong.add(field)
      problems.push(
        rule.kind === "secret"
          ? problemOfSecret(rule, nameOf(field), value)
          : problem(nameOf(field), value, mustBe(rule))
      )
    } else {
      const resolved = resolve(rule, accepted, nameOf(field))
      if (resolved.problems.length > 0) {
        wrong.add(field)
        problems.push(...resolved.problems)
      } else {
        checked[field] = resolved.value
        given.add(field)
      }
    }
  }
  for (const { broken, fields: [field, other] } of relations) {
    if (wrong.has(field) || wrong.has(other)) continue
    const must = broken(checked as Checked<R>, nameOf(other), given)
    if (must === undefined) continue
    problems.push(problem(nameOf(field), values.get(field) ?? checked[field], must))
  }
  return { checked: checked as Checked<R>, given, problems }
}

/** Looks into an accepted value, if its rule says how. A value that throws when it is read is a problem. */
const resolve = (rule: Rule, value: unknown, field: string): Resolved => {
  if (rule.kind !== "value" || rule.resolve === undefined) return { value, problems: [] }
  try {
    return rule.resolve(value, field)
  } catch (thrown) {
    return { value, problems: [unreadable(field, thrown)] }
  }
}

/** Reads the options of an object, and reports unknown ones. */
const read = (rules: Rules, options: unknown): Read => {
  const result = nothingRead()
  const { problems, values, wrong } = result
  if (!Predicate.isObject(options)) {
    problems.push(problem("options", options, "an object"))
    for (const field of Object.keys(rules)) wrong.add(field)
    return result
  }
  let field: PropertyKey = "options"
  try {
    const known = Object.keys(rules)
    const unknown = Reflect.ownKeys(options).filter((key) => {
      field = key
      if (typeof key === "string" && Object.hasOwn(rules, key)) return false
      return Object.prototype.propertyIsEnumerable.call(options, key)
    })
    const meant = unknown.map((key) => nearest(typeof key === "symbol" ? key.description ?? "" : key, known))
    // One list of the options for all that resemble none of them.
    const last = meant.lastIndexOf(undefined)
    // A misspelt option may be a secret.
    const isShown = Object.values(rules).every(({ kind }) => kind !== "secret")
    for (const [index, key] of unknown.entries()) {
      field = key
      const near = meant[index]
      const list = index === last ? `; the options are ${known.join(", ")}` : ""
      problems.push(unknownOption(key, options, near === undefined ? list : `; did you mean ${near}?`, isShown))
    }
  } catch (thrown) {
    problems.push(unreadable(String(field), thrown))
  }
  for (const field of Object.keys(rules)) {
    try {
      const value = (options as Readonly<Record<string, unknown>>)[field]
      if (value !== undefined) values.set(field, value)
    } catch (thrown) {
      wrong.add(field)
      problems.push(unreadable(field, thrown))
    }
  }
  return result
}

const unknownOption = (key: PropertyKey, options: object, hint: string, isShown: boolean): ConfigProblem => {
  const name = String(key)
  const value = isShown ? show(Object.getOwnPropertyDescriptor(options, key)?.value) : redacted
  return { field: name, value, message: `${name} is no option${hint}` }
}

/** The problem of a value that cannot be read. */
export const unreadable = (field: string, thrown: unknown): ConfigProblem => ({
  field,
  value: "unreadable",
  message: `${field} cannot be read: ${thrown instanceof Error ? thrown.message : show(thrown)}`
})

/** The problem of an invalid value. */
export const problem = (field: string, value: unknown, mustBe: string): ConfigProblem => ({
  field,
  value: show(value),
  message: `${field} is ${show(value)}, but must be ${mustBe}`
})

type SecretRule = Extract<Rule, { readonly kind: "secret" }>

const problemOfSecret = (rule: SecretRule, field: string, given: unknown): ConfigProblem => {
  const text = textOfSecret(given)
  const must = (text === undefined ? undefined : rule.problem?.(text)) ?? mustBe(rule)
  // A number may be the secret too.
  if (text === undefined) {
    const shown = typeof given === "object" || typeof given === "function" ? show(given) : `a ${typeof given}`
    return { field, value: shown, message: `${field} is ${shown}, but must be ${must}` }
  }
  return { field, value: redacted, message: `${field} is not shown here, but must be ${must}` }
}

const redacted = "<redacted>"

const textOfSecret = (given: unknown): string | undefined => {
  const text = Redacted.isRedacted(given) ? Redacted.value(given) : given
  return Predicate.isString(text) ? text : undefined
}

const secretOf = (rule: SecretRule, given: unknown): unknown => {
  if (rule.mayBeEffect === true && Effect.isEffect(given)) return given
  const text = textOfSecret(given)
  if (text === undefined || text === "" || rule.problem?.(text) !== undefined) return undefined
  return Redacted.isRedacted(given) ? given : Redacted.make(text)
}

/** The value that a rule makes of what was given; `undefined` if the rule does not allow it. */
export const valueOf = (rule: Rule, given: unknown): unknown => {
  switch (rule.kind) {
    case "text":
      return Predicate.isString(given) && (rule.accepts ?? isFilled)(given) ? given : undefined
    case "choice":
      return rule.of.find((choice) => choice === given)
    case "flag":
      return Predicate.isBoolean(given) || (rule.or !== undefined && isAccepted(rule.or.accepts, given))
        ? given
        : undefined
    case "secret":
      return secretOf(rule, given)
    case "fraction":
      return Predicate.isNumber(given) && given >= 0 && given < 1 ? given : undefined
    case "count":
    case "bytes": {
      const ceiling = rule.kind === "count" ? rule.ceiling ?? Infinity : Infinity
      const isWhole = Number.isSafeInteger(given) || (given === Infinity && isEndless(rule))
      return isWhole && (given as number) >= rule.floor && (given as number) <= ceiling ? given : undefined
    }
    case "duration": {
      const millis = toMillis(given)
      if (millis === undefined || (millis === Infinity && rule.finite === true)) return undefined
      return millis > 0 || (millis === 0 && rule.zero === true) ? millis : undefined
    }
    case "value":
      return isAccepted(rule.accepts, given) ? given : undefined
  }
}

/** A value that throws when it is read is not accepted. */
const isAccepted = (accepts: (value: unknown) => boolean, given: unknown): boolean => {
  try {
    return accepts(given)
  } catch {
    return false
  }
}

const isFilled = (text: string): boolean => text.trim() !== ""

const isEndless = (rule: Extract<Rule, { readonly kind: "count" | "bytes" }>): boolean =>
  rule.kind === "bytes" || (rule.finite !== true && rule.ceiling === undefined)

const defaultOf = (rule: Rule): unknown => {
  switch (rule.kind) {
    case "secret":
    case "value":
      return undefined
    case "duration":
      return rule.default === undefined ? undefined : toMillis(rule.default)
    case "text":
      return rule.default ?? (rule.required === true ? "" : undefined)
    default:
      return rule.default
  }
}

/** The text of a message that says what an option must be. */
export const mustBe = (rule: Rule): string => {
  switch (rule.kind) {
    case "text":
      return rule.mustBe ?? "text that is not empty"
    case "choice":
      return listed(rule.of.map(show))
    case "flag":
      return rule.or === undefined ? "true or false" : `true, false or ${rule.or.mustBe}`
    case "secret":
      return `text that is not empty, or a Redacted${rule.mayBeEffect === true ? ", or an Effect of one" : ""}`
    case "fraction":
      return "a number from 0 to below 1"
    case "count":
    case "bytes": {
      const ceiling = rule.kind === "count" ? rule.ceiling : undefined
      if (ceiling !== undefined) return `a whole number from ${rule.floor} to ${ceiling}`
      return `a whole number of at least ${rule.floor}${isEndless(rule) ? ", or Infinity" : ""}`
    }
    case "duration": {
      const least = rule.zero === true ? "of zero or more" : "above zero"
      return `a duration ${least}, such as "5 seconds"${rule.finite === true ? "" : ", or Infinity"}`
    }
    case "value":
      return rule.mustBe
  }
}

const listed = (texts: ReadonlyArray<string>): string =>
  texts.length === 1 ? texts[0]! : `${texts.slice(0, -1).join(", ")} or ${texts.at(-1)}`
