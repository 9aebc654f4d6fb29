/** The options of reads that share connections. */
import { Config, Predicate } from "effect"
import { fromEnvironment, together } from "../../../internal/options/environment.ts"
import { checkRecord, problem, type Resolved, type Rule, table } from "../../../internal/options/rules.ts"
import type { Settings } from "../lanes/settings.ts"

export type { Settings }

/** The checked options. */
export interface Given {
  readonly max: number
  readonly statementTimeout: number
  readonly maxInFlight: number
  readonly functions: ReadonlyArray<string> | undefined
}

/** A name, or one with its schema. */
const isFunction = (name: unknown): name is string =>
  Predicate.isString(name) && /^[\w\u0080-\uffff]+(?:\.[\w\u0080-\uffff]+)?$/.test(name)

const resolveFunctions = (value: unknown, field: string): Resolved => ({
  value,
  problems: (value as ReadonlyArray<unknown>).flatMap((name, index) =>
    isFunction(name) ? [] : [problem(`${field}[${index}]`, name, "the name of a function, such as \"similarity\"")]
  )
})

export const sharedReadsTable = table({
  max: { kind: "count", default: 2, floor: 1, ceiling: 8 },
  statementTimeout: { kind: "duration", default: "100 millis", finite: true },
  maxInFlight: { kind: "count", default: 128, floor: 1, finite: true },
  functions: { kind: "value", accepts: Array.isArray, mustBe: "a list of names", resolve: resolveFunctions }
})

const resolve = (value: unknown, field: string): Resolved =>
  value === false
    ? { value: undefined, problems: [] }
    : checkRecord(sharedReadsTable, value === true ? {} : value, field)

export const rule = {
  kind: "value",
  accepts: (value) => Predicate.isBoolean(value) || Object.prototype.toString.call(value) === "[object Object]",
  mustBe: "true, false or a record with max, statementTimeout, maxInFlight and functions",
  resolve
} as const satisfies Rule

/** `ownMillis`: how long a statement may run on any connection. */
export const settingsOf = (given: Given | undefined, ownMillis: number): Settings | undefined =>
  given && {
    max: given.max,
    timeoutMillis: Math.min(given.statementTimeout, ownMillis),
    isOwnTimeout: ownMillis <= given.statementTimeout,
    maxInFlight: given.maxInFlight,
    functions: new Set((given.functions ?? []).map((name) => name.toLowerCase()))
  }

const flagTable = table({ sharedReads: { kind: "flag" } })

/** Adds these options from the configuration: `SHARED_READS=true`, or `SHARED_READS_MAX=1` and so on. */
export const withSharedReads = (options: Config.Config<object>, given: string | undefined): Config.Config<object> => {
  const prefix = given === undefined || given === "" ? "" : `${given}_`
  return Config.map(
    together({
      options,
      flag: fromEnvironment(flagTable, given),
      each: fromEnvironment(sharedReadsTable, `${prefix}SHARED_READS`)
    }),
    ({ each, flag, options }) => ({
      ...options,
      ...(Object.keys(each).length > 0 && flag.sharedReads !== false ? { sharedReads: each } : flag)
    })
  )
}
