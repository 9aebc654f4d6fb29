/** The options of a transaction, and the settings that they become once they are checked. */
import { type Fiber, Schedule } from "effect"
import { BeginTransaction } from "effect/sql/SqlClient"
import type { Mode, Options } from "../../Transaction.ts"
import { TransactionOptionsError } from "../../TransactionError.ts"
import { callTable } from "../options/call.ts"
import { toMillis } from "../options/duration.ts"
import { check, problem, type Rules, show, type Table, table } from "../options/rules.ts"
import type { Dialect } from "./dialect.ts"

/** The checked options of one transaction. */
export interface TransactionSettings<Isolation extends string> {
  readonly mode: Mode<Isolation>
  /** The statement that begins the transaction, if the application gives its own. */
  readonly statement: string | undefined
  /** The options that only the dialect knows. */
  readonly own: object
  readonly label: string | undefined
  readonly timeoutMillis: number | undefined
}

/** The transaction around this one. */
interface Outer {
  readonly mode: Mode
  readonly own: object
}

/** Makes the settings of a transaction from options that `problemOf` has accepted. */
export const settingsOf = <Isolation extends string>(
  dialect: Dialect<never, Isolation, never>,
  given: Options<Isolation>,
  fiber: Fiber.Fiber<unknown, unknown>,
  outer: Outer | undefined
): TransactionSettings<Isolation> => {
  const { isolation, label, readOnly, timeout } = given
  const rest = {
    own: outer?.own ?? ownOf(dialect, given),
    // An empty label counts as none.
    label: label === "" ? undefined : label,
    timeoutMillis: timeout === undefined ? undefined : toMillis(timeout)
  }
  if (outer !== undefined) return { mode: outer.mode as Mode<Isolation>, statement: undefined, ...rest }
  // The options of this transaction come before the statement that the application provides for all.
  const statement = isolation === undefined && readOnly === undefined ? fiber.getRef(BeginTransaction) : undefined
  if (statement !== undefined) return { mode: dialect.modeOf(statement), statement, ...rest }
  return { mode: modeOf(dialect, given), statement, ...rest }
}

const modeOf = <Isolation extends string>(
  dialect: Dialect<never, Isolation, never>,
  { isolation, readOnly }: Options<Isolation>
): Mode<Isolation> => {
  const [standard] = readOnly === true ? dialect.readOnlyIsolations : dialect.isolations
  return { isolation: isolation ?? standard, readOnly: readOnly === true }
}

const ownOf = <Isolation extends string>(dialect: Dialect<never, Isolation, never>, given: object): object => {
  const fields: ReadonlyArray<string> = dialect.own?.fields ?? []
  return fields.length === 0
    ? none
    : Object.fromEntries(
      Object.entries(given).filter(([field, value]) => fields.includes(field) && value !== undefined)
    )
}

const none = {}

/** The rules for the options of a database's transactions. */
export const tableOf = <Isolation extends string>(dialect: Dialect<never, Isolation, never>): OptionsTable =>
  table<Rules>({
    isolation: { kind: "choice", of: dialect.isolations },
    readOnly: { kind: "flag" },
    retry: { kind: "value", accepts: Schedule.isSchedule, mustBe: "a Schedule" },
    ...callTable.rules,
    ...Object.fromEntries((dialect.own?.fields ?? []).map((field) => [field, anything]))
  })

export type OptionsTable = Table<Rules>

/** The rule for an option of the dialect: `OwnOptions.check` decides about its value. */
const anything = { kind: "value", accepts: () => true, mustBe: "anything" } as const

/** Checks the options: gives the first problem found, if there is one. */
export const problemOf = <Isolation extends string>(
  pool: string,
  dialect: Dialect<never, Isolation, never>,
  options: OptionsTable,
  given: Options<Isolation>,
  outer: Outer | undefined
): TransactionOptionsError | undefined => {
  const [found] = check(options, given).problems
  if (found !== undefined) {
    const { field, message, value } = found
    return new TransactionOptionsError({ pool, field, value, problem: message })
  }
  const invalid = (field: string, found: unknown, mustBe: string) => {
    const { message, value } = problem(field, found, mustBe)
    return new TransactionOptionsError({ pool, field, value, problem: message })
  }
  const { isolation, readOnly } = given
  if (outer !== undefined) {
    const { mode } = outer
    if (isolation !== undefined && isolation !== mode.isolation) {
      return invalid("isolation", isolation, `${show(mode.isolation)}, which the transaction around it has`)
    }
    if (readOnly !== undefined && readOnly !== mode.readOnly) {
      return invalid("readOnly", readOnly, `${show(mode.readOnly)}, as for the transaction around it`)
    }
  } else if (readOnly === true && isolation !== undefined && !dialect.readOnlyIsolations.includes(isolation)) {
    return invalid(
      "isolation",
      isolation,
      `${dialect.readOnlyIsolations.map(show).join(" or ")} where readOnly is true`
    )
  }
  const own = dialect.own?.check(
    ownOf(dialect, given) as never,
    outer?.mode ?? modeOf(dialect, given),
    outer?.own as never
  )
  return own && invalid(own.field, own.value, own.mustBe)
}
