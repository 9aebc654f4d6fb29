/** The options of a map of pools: their rules, and the settings made from them. */
import { Effect, Predicate, type Result } from "effect"
import type { PoolConfigError } from "../../PoolError.ts"
import { unless } from "./problems.ts"
import { check, table } from "./rules.ts"

/** The options that can be read from the environment. */
export const poolMapConfigTable = table({
  name: { kind: "text", default: "pools" },
  max: { kind: "count", default: 64, floor: 1, finite: true },
  acquireTimeout: { kind: "duration", default: "30 seconds" },
  openTimeout: { kind: "duration", default: "1 minute" },
  idleTimeout: { kind: "duration", default: "10 minutes" },
  closeTimeout: { kind: "duration", default: "30 seconds" },
  drainTimeout: { kind: "duration", default: "10 seconds", zero: true },
  metrics: { kind: "flag", default: true }
})

const isFunction = Predicate.isFunction

const poolMapTable = table({
  ...poolMapConfigTable.rules,
  open: {
    kind: "value",
    // An effect is no function, but might be given by mistake.
    accepts: (open) => isFunction(open) && !Effect.isEffect(open),
    mustBe: "a function from a key to an Effect that opens its pool",
    required: true
  },
  services: { kind: "value", accepts: isFunction, mustBe: "a function from a pool to a Context" },
  stateOf: { kind: "value", accepts: isFunction, mustBe: `a function from a pool to "idle", "in use" or "closed"` }
})

/** The options of a map of pools, checked and complete. `Infinity` turns a limit off. */
export interface PoolMapSettings {
  readonly name: string
  readonly max: number
  readonly acquireTimeoutMillis: number
  readonly openTimeoutMillis: number
  readonly idleTimeoutMillis: number
  readonly closeTimeoutMillis: number
  readonly drainTimeoutMillis: number
  readonly metrics: boolean
}

/** Checks the options of `make`, and turns them into settings. */
export const resolve = (options: unknown): Result.Result<PoolMapSettings, PoolConfigError> => {
  const { checked, problems } = check(poolMapTable, options)
  const { max, metrics, name } = checked
  return unless(name, problems, {
    name,
    max,
    metrics,
    acquireTimeoutMillis: checked.acquireTimeout,
    openTimeoutMillis: checked.openTimeout,
    idleTimeoutMillis: checked.idleTimeout,
    closeTimeoutMillis: checked.closeTimeout,
    drainTimeoutMillis: checked.drainTimeout
  })
}
