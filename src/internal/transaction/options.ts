/** The options of a transaction, and the settings that they become once they are checked. */
import { type Fiber, Schedule } from "effect"
import { BeginTransaction } from "effect/sql/SqlClient"
import type { ConfigProblem } from "../../PoolError.ts"
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
    timeoutMillis: toMillis(timeout)
  }
  if (outer !== undefined) return { mode: outer.mode as Mode<Isolation>, statement: undefined, ...rest }
  // The options of this transaction come before the statement that the application provides for all.
  const statement = isolation === undefined && readOnly === undefined ? fiber.getRef(BeginTransaction) : undefined
  if (statement !== undefined) return { mode: dialect.modeOf(statement), statement, ...rest }
  return { mode: modeOf(dialect, given), statement, ...rest }
}

/** The settings of an outermost transaction without options. */
export const standardOf = <Isolation extends string>(
  dialect: Dialect<never, Isolation, never>
): TransactionSettings<Isolation> => ({
  mode: modeOf(dialect, {}),
  statement: undefined,
  own: none,
  label: undefined,
  timeoutMillis: undefined
})

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

/** Checks the options, all of them. */
export const problemOf = <Isolation extends string>(
  pool: string,
  dialect: Dialect<never, Isolation, never>,
  options: OptionsTable,
  given: Options<Isolation>,
  outer: Outer | undefined
): TransactionOptionsError | undefined => {
  const { checked, problems } = check(options, given)
  // An option that is invalid by itself counts as not given.
  const valid = checked as Options<Isolation>
  problems.push(...contradictionsOf(dialect, valid, outer))
  const ofDialect = dialect.own?.check(
    ownOf(dialect, valid) as never,
    outer?.mode ?? modeOf(dialect, valid),
    outer?.own as never
  )
  for (const { field, mustBe, value } of ofDialect ?? []) problems.push(problem(field, value, mustBe))
  const [first, ...rest] = problems
  return first && new TransactionOptionsError({ pool, problems: [first, ...rest] })
}

/** What the options have to be to each other, and to the transaction around. */
const contradictionsOf = <Isolation extends string>(
  dialect: Dialect<never, Isolation, never>,
  { isolation, readOnly }: Options<Isolation>,
  outer: Outer | undefined
): ReadonlyArray<ConfigProblem> => {
  if (outer === undefined) {
    const isPossible = readOnly !== true || isolation === undefined || dialect.readOnlyIsolations.includes(isolation)
    const possible = dialect.readOnlyIsolations.map(show).join(" or ")
    return isPossible ? [] : [problem("isolation", isolation, `${possible} where readOnly is true`)]
  }
  const { mode } = outer
  const differing: Array<ConfigProblem> = []
  if (isolation !== undefined && isolation !== mode.isolation) {
    const mustBe = `${show(mode.isolation)}, which the transaction around it has`
    differing.push(problem("isolation", isolation, mustBe))
  }
  if (readOnly !== undefined && readOnly !== mode.readOnly) {
    differing.push(problem("readOnly", readOnly, `${show(mode.readOnly)}, as for the transaction around it`))
  }
  return differing
}
