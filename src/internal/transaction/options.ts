/** What a transaction asks for: checked, and what is made of it. */
import { type Fiber, Schedule } from "effect"
import { BeginTransaction } from "effect/sql/SqlClient"
import type { Mode, Options } from "../../Transaction.ts"
import { TransactionOptionsError } from "../../TransactionError.ts"
import { callTable } from "../options/call.ts"
import { toMillis } from "../options/duration.ts"
import { check, problem, type Rules, show, type Table, table } from "../options/rules.ts"
import type { Dialect } from "./dialect.ts"

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

/** The options that transactions of a database have, as data. */
export const tableOf = <Isolation extends string>(dialect: Dialect<never, Isolation, never>): OptionsTable =>
  table<Rules>({
    isolation: { kind: "choice", of: dialect.isolations },
    readOnly: { kind: "flag" },
    retry: { kind: "value", accepts: Schedule.isSchedule, mustBe: "a Schedule" },
    ...callTable.rules,
    ...Object.fromEntries((dialect.own?.fields ?? []).map((field) => [field, anything]))
  })

export type OptionsTable = Table<Rules>

/** What it may be, its dialect says. */
const anything = { kind: "value", accepts: () => true, mustBe: "anything" } as const

/** What is wrong with the options, if anything is: the first thing found. */
export const problemOf = <Isolation extends string>(
  pool: string,
  dialect: Dialect<never, Isolation, never>,
  options: OptionsTable,
  wanted: Options<Isolation>,
  outer: Outer | undefined
): TransactionOptionsError | undefined => {
  const [found] = check(options, wanted).problems
  if (found !== undefined) {
    const { field, message, value } = found
    return new TransactionOptionsError({ pool, field, value, problem: message })
  }
  const refused = (field: string, given: unknown, mustBe: string) => {
    const { message, value } = problem(field, given, mustBe)
    return new TransactionOptionsError({ pool, field, value, problem: message })
  }
  const { isolation, readOnly } = wanted
  if (outer !== undefined) {
    const { mode } = outer
    if (isolation !== undefined && isolation !== mode.isolation) {
      return refused("isolation", isolation, `${show(mode.isolation)}, which the transaction around it has`)
    }
    if (readOnly !== undefined && readOnly !== mode.readOnly) {
      return refused("readOnly", readOnly, `${show(mode.readOnly)}, as for the transaction around it`)
    }
  } else if (readOnly === true && isolation !== undefined && !dialect.readOnlyIsolations.includes(isolation)) {
    return refused(
      "isolation",
      isolation,
      `${dialect.readOnlyIsolations.map(show).join(" or ")} where readOnly is true`
    )
  }
  const own = dialect.own?.check(
    ownOf(dialect, wanted) as never,
    outer?.mode ?? modeOf(dialect, wanted),
    outer?.own as never
  )
  return own && refused(own.field, own.value, own.mustBe)
}
