/** The options of one acquire: what they may be, and how they are checked. */
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
 * What the options of a call come to, or the error that the call fails with. They may be anything: a caller without types
 * may have written them, or a bug.
 */
export const resolve = (pool: string, options: AcquireOptions): CallSettings | PoolConfigError =>
  resolveFast(options) ?? resolveAll(pool, options)

export const isRefused = (options: CallSettings | PoolConfigError | undefined): options is PoolConfigError =>
  options !== undefined && options instanceof PoolConfigError

/** What valid options come to. Most are valid, and there may be one to each call, so this has no tables. */
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
  // An empty label says nothing.
  return Result.merge(unless(pool, problems, { label: label === "" ? undefined : label, timeoutMillis: timeout }))
}
