/** What a transaction asks for: checked, and what is made of it. */
import { type Fiber, Predicate, Schedule } from "effect"
import { BeginTransaction } from "effect/sql/SqlClient"
import type { Dialect, Mode, Options } from "../Transaction.ts"
import { TransactionOptionsError } from "../TransactionError.ts"
import { toMillis } from "./options/duration.ts"

/** What a transaction is begun as, and with which statement if that is the application's own. */
export interface Plan<Isolation extends string> {
  readonly mode: Mode<Isolation>
  readonly statement: string | undefined
  /** The options that only the dialect knows. */
  readonly own: object
  readonly label: string | undefined
  readonly timeoutMillis: number | undefined
}

/** The transaction around another. */
interface Outer {
  readonly mode: Mode
  readonly own: object
}

export const planOf = <Isolation extends string>(
  dialect: Dialect<never, Isolation, never>,
  wanted: Options<Isolation>,
  fiber: Fiber.Fiber<unknown, unknown>,
  outer: Outer | undefined
): Plan<Isolation> => {
  const { isolation, label, readOnly, timeout } = wanted
  const rest = {
    own: outer?.own ?? ownOf(dialect, wanted),
    // An empty one says nothing.
    label: label === "" ? undefined : label,
    timeoutMillis: timeout === undefined ? undefined : toMillis(timeout)
  }
  if (outer !== undefined) return { mode: outer.mode as Mode<Isolation>, statement: undefined, ...rest }
  // What this transaction asks for comes before what is provided for all.
  const statement = isolation === undefined && readOnly === undefined ? fiber.getRef(BeginTransaction) : undefined
  if (statement !== undefined) return { mode: dialect.modeOf(statement), statement, ...rest }
  return { mode: modeOf(dialect, wanted), statement, ...rest }
}

const modeOf = <Isolation extends string>(
  dialect: Dialect<never, Isolation, never>,
  { isolation, readOnly }: Options<Isolation>
): Mode<Isolation> => {
  const [standard] = readOnly === true ? dialect.readOnlyIsolations : dialect.isolations
  return { isolation: isolation ?? standard, readOnly: readOnly === true }
}

const ownOf = <Isolation extends string>(dialect: Dialect<never, Isolation, never>, wanted: object): object => {
  const fields: ReadonlyArray<string> = dialect.own?.fields ?? []
  return fields.length === 0
    ? none
    : Object.fromEntries(
      Object.entries(wanted).filter(([field, value]) => fields.includes(field) && value !== undefined)
    )
}

const none = {}

/** What is wrong with the options, if anything is: the first thing found. */
export const problemOf = <Isolation extends string>(
  pool: string,
  dialect: Dialect<never, Isolation, never>,
  wanted: Options<Isolation>,
  outer: Outer | undefined
): TransactionOptionsError | undefined => {
  const refused = (field: string, value: unknown, allowed: string) =>
    new TransactionOptionsError({ pool, field, value: show(value), allowed })
  if (typeof wanted !== "object" || wanted === null) return refused("options", wanted, "an object")
  const fields = dialect.own === undefined ? ofAll : [...ofAll, ...dialect.own.fields]
  const { isolation, label, readOnly, retry, timeout } = wanted
  for (const [field, value] of Object.entries(wanted)) {
    if (fields.includes(field)) continue
    const allowed = suggestion(field, fields)
    return new TransactionOptionsError({ pool, field, value: show(value), allowed, isUnknown: true })
  }
  if (isolation !== undefined && !dialect.isolations.includes(isolation)) {
    return refused("isolation", isolation, dialect.isolations.map(show).join(", "))
  }
  if (readOnly !== undefined && !Predicate.isBoolean(readOnly)) return refused("readOnly", readOnly, "true or false")
  if (retry !== undefined && !Schedule.isSchedule(retry)) return refused("retry", retry, "a Schedule")
  if (label !== undefined && !Predicate.isString(label)) return refused("label", label, "text")
  if (timeout !== undefined && !(toMillis(timeout)! >= 0)) {
    return refused("timeout", timeout, "a duration of zero or more")
  }
  if (outer !== undefined) {
    const { mode } = outer
    if (isolation !== undefined && isolation !== mode.isolation) {
      return refused("isolation", isolation, `${show(mode.isolation)}, which the transaction around it has`)
    }
    if (readOnly !== undefined && readOnly !== mode.readOnly) {
      return refused("readOnly", readOnly, `${show(mode.readOnly)}, as for the transaction around it`)
    }
  } else if (readOnly === true && isolation !== undefined && !dialect.readOnlyIsolations.includes(isolation)) {
    return refused("isolation", isolation, `${dialect.readOnlyIsolations.map(show).join(", ")} where readOnly is true`)
  }
  const problem = dialect.own?.check(
    ownOf(dialect, wanted) as never,
    outer?.mode ?? modeOf(dialect, wanted),
    outer?.own as never
  )
  return problem && new TransactionOptionsError({ pool, ...problem })
}

const ofAll: ReadonlyArray<string> = ["isolation", "readOnly", "retry", "timeout", "label"]

const show = (value: unknown): string => Predicate.isString(value) ? JSON.stringify(value) : String(value)

/** The option that was meant, perhaps; else those that there are. */
const suggestion = (field: string, fields: ReadonlyArray<string>): string => {
  const [nearest] = fields
    .map((name) => ({ name, distance: distance(field.toLowerCase(), name.toLowerCase()) }))
    .filter(({ distance, name }) => distance <= Math.max(2, name.length / 3))
    .toSorted((a, b) => a.distance - b.distance)
  return nearest === undefined ? `the options are ${fields.join(", ")}` : `did you mean ${nearest.name}?`
}

/** How many letters have to be changed, added or taken away. */
const distance = (from: string, to: string): number => {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[to.length]!
}
