/** What a single call may ask for, and what is made of it. */
import type { Duration } from "effect"
import * as Options from "./options.ts"
import type { LeaseOptions } from "./state.ts"

export interface CallOptions {
  readonly timeout?: Duration.Input | undefined
  readonly label?: string | undefined
}

/** Throws if they make no sense, as a timeout of `NaN`: a mistake in the program, and so a defect. */
export const resolve = ({ label, timeout }: CallOptions): LeaseOptions => ({
  label: toLabel(label),
  timeoutMillis: toMillis(timeout)
})

/** An empty one says nothing. */
const toLabel = (label: string | undefined): string | undefined => {
  if (label === undefined || label === "") return undefined
  if (typeof label !== "string") throw new TypeError(`not a label: ${String(label)}`)
  return label
}

export const toMillis = (input: Duration.Input | undefined): number | undefined => {
  if (input === undefined) return undefined
  const millis = Options.toMillis(input)
  if (millis === undefined) throw new TypeError(`not a duration: ${String(input)}`)
  return Math.max(millis, 0)
}
