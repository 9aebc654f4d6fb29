/** Work on many things in small steps, so that the process is never busy with it for long. */
import { Effect } from "effect"

/** The work of one step: as much as to look at so many connections, which takes less than a millisecond. */
export const workInStep = 500

/** Does something with each value, which returns how much work that was. After each step, others may run. */
export const inSteps = <A>(
  values: ReadonlyArray<A>,
  f: (value: A, index: number) => number
): Effect.Effect<void> => {
  const from = (first: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      let work = 0
      for (let index = first; index < values.length; index++) {
        work += f(values[index]!, index)
        if (work >= workInStep && index + 1 < values.length) return Effect.andThen(Effect.yieldNow, from(index + 1))
      }
      return Effect.void
    })
  return from(0)
}
