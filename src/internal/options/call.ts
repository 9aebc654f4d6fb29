/** The options of one acquire: their rules and their check. */
import { Result } from "effect"
import type { AcquireOptions } from "../../PoolConfig.ts"
import { PoolConfigError } from "../../PoolError.ts"
import { toMillis } from "./duration.ts"
import { unless } from "./problems.ts"
import { check, table } from "./rules.ts"
import type { CallSettings } from "./settings.ts"

export const callTable = table({
  timeout: { kind: "duration", zero: true },
  label: { kind: "text", accepts: () => true, mustBe: "text" }
})

/**
 * The settings of a call, or the error with which it fails. The options may be any value, because JavaScript has no
 * types.
 */
export const resolve = (pool: string, options: AcquireOptions): CallSettings | PoolConfigError =>
  resolveFast(options) ?? resolveAll(pool, options)

export const isRefused = (options: CallSettings | PoolConfigError | undefined): options is PoolConfigError =>
  options !== undefined && options instanceof PoolConfigError

/** The settings of a call if its options are valid. Calls are frequent, so this is faster than the table. */
const resolveFast = (options: AcquireOptions): CallSettings | undefined => {
  try {
    if (typeof options !== "object" || Object.getPrototypeOf(options) !== Object.prototype) return undefined
    for (const field in options) if (field !== "timeout" && field !== "label") return undefined
    if (Object.getOwnPropertySymbols(options).length > 0) return undefined
    const { label, timeout } = options
    if (label !== undefined && typeof label !== "string") return undefined
    if (timeout === undefined) return { label: label === "" ? undefined : label, timeoutMillis: undefined }
    const timeoutMillis = toMillis(timeout)
    if (timeoutMillis === undefined || timeoutMillis < 0) return undefined
    return { label: label === "" ? undefined : label, timeoutMillis }
  } catch {
    return undefined
  }
}

const resolveAll = (pool: string, options: unknown): CallSettings | PoolConfigError => {
  const { checked: { label, timeout }, problems } = check(callTable, options)
  // An empty label counts as none.
  return Result.merge(unless(pool, problems, { label: label === "" ? undefined : label, timeoutMillis: timeout }))
}
