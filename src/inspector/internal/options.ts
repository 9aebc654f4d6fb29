/** The options of an inspector: their rules, and the settings made from them. */
import { Predicate, type Result } from "effect"
import type { HealthChecker } from "../../HealthChecker.ts"
import { unless } from "../../internal/options/problems.ts"
import { check, problem, table } from "../../internal/options/rules.ts"
import type { ConfigProblem, PoolConfigError } from "../../PoolError.ts"
import { isWatched, type Watched } from "./sources.ts"

const isArrayOf = (accepts: (value: unknown) => boolean) => (value: unknown): boolean =>
  Array.isArray(value) && value.every(accepts)

const isChecker = (value: unknown): boolean =>
  Predicate.isObject(value) && ["pool", "report", "check", "changes"].every((name) => name in value)

const isFunction = Predicate.isFunction

const shown = {
  watch: {
    kind: "value",
    accepts: isArrayOf(isWatched),
    mustBe:
      "an array of pools: each a ConnectionPool, a SqlitePool, a PgPool or a PoolMap, and no effect or layer of one",
    required: true
  },
  health: { kind: "value", accepts: isArrayOf(isChecker), mustBe: "an array of health checkers" },
  interval: { kind: "duration", default: "1 second", finite: true },
  history: { kind: "duration", default: "5 minutes", finite: true }
} as const

const layerTable = table({
  ...shown,
  path: {
    kind: "text",
    default: "/inspector",
    accepts: (path) => /^(\/[\w.~-]+)+$/.test(path),
    mustBe: "a path such as \"/inspector\": it begins with /, does not end with it, and has no parameters"
  },
  authorization: {
    kind: "value",
    accepts: isFunction,
    mustBe: "a function that gets the route as an Effect, and returns it or another response",
    required: true
  },
  actions: { kind: "value", accepts: isFunction, mustBe: "a function like authorization" },
  hosts: {
    kind: "value",
    accepts: isArrayOf((host) => typeof host === "string" && /^[^\s/]+$/.test(host)),
    mustBe: "an array of hosts as in the address of the page, such as \"ops.example.com\" or \"localhost:3000\""
  }
})

const loopbackTable = table(shown)

/** The checked options of an inspector. */
export interface InspectorSettings {
  readonly watch: ReadonlyArray<Watched>
  readonly health: ReadonlyArray<HealthChecker>
  readonly intervalMillis: number
  /** How many frames are kept. */
  readonly frames: number
  /** Where the page is. Not set if it is alone on its server. */
  readonly path: `/${string}` | ""
  /** The hosts under which the page may be asked for, if that is limited. */
  readonly hosts: ReadonlySet<string> | undefined
}

/** At most this many frames are kept, and at least two. */
const mostFrames = 3600

const historyProblem = ({ history, interval }: { readonly history: number; readonly interval: number }) => {
  const frames = history / interval
  return frames >= 2 && frames <= mostFrames
    ? []
    : [problem("history", history, `must be 2 to ${mostFrames} times interval (${interval} ms)`)]
}

export const resolve = (options: unknown): Result.Result<InspectorSettings, PoolConfigError> => {
  const { checked, given, problems } = check(layerTable, options)
  const all: Array<ConfigProblem> = [...problems, ...historyProblem(checked)]
  // A page whose actions change a pool must not answer under any name that somebody lets point to it.
  if (given.has("actions") && !given.has("hosts")) {
    all.push(problem("hosts", undefined, "must be given with actions: the hosts in the address of the page"))
  }
  return unless("inspector", all, {
    ...settingsOf(checked),
    path: checked.path as `/${string}`,
    hosts: checked.hosts === undefined ? undefined : new Set((checked.hosts as ReadonlyArray<string>).map(lower))
  })
}

export const resolveLoopback = (options: unknown): Result.Result<InspectorSettings, PoolConfigError> => {
  const { checked, problems } = check(loopbackTable, options)
  return unless("inspector", [...problems, ...historyProblem(checked)], {
    ...settingsOf(checked),
    path: "",
    hosts: undefined
  })
}

const lower = (host: string): string => host.toLowerCase()

interface Shown {
  readonly watch: unknown
  readonly health: unknown
  readonly interval: number
  readonly history: number
}

const settingsOf = ({ health, history, interval, watch }: Shown) => ({
  watch: watch as ReadonlyArray<Watched>,
  health: (health ?? []) as ReadonlyArray<HealthChecker>,
  intervalMillis: interval,
  frames: Math.floor(history / interval)
})
