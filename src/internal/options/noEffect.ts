import { disown } from "../marks.ts"
import { show } from "./show.ts"

/** The defect where an Effect was expected. `what` begins its sentence: "open returned". */
export const noEffect = (what: string, value: unknown): TypeError => {
  disown(value)
  const hint = value instanceof Promise ? ": Effect.tryPromise makes an Effect of a promise" : ""
  return new TypeError(`${what} no Effect, but ${show(value)}${hint}`)
}
