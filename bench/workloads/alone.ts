/** One user who takes a connection and returns it, again and again, and never meets anybody. */
import { Effect } from "effect"
import type { Pool } from "../contenders/contender.ts"

export const alone = async (pool: Pool, uses: number): Promise<void> => {
  if (pool.style === "effect") return Effect.runPromise(repeat(pool.touch, uses))
  for (let use = 0; use < uses; use++) {
    const lent = await pool.acquire()
    lent.enter()
    lent.leave()
    pool.release(lent)
  }
}

/** Runs an effect, made anew each time as users do, so many times; `take` gets what it yields. */
export const repeat = <A, E>(
  effect: () => Effect.Effect<A, E>,
  times: number,
  take: (value: A) => void = () => {}
): Effect.Effect<void, E> =>
  Effect.suspend(() => {
    let left = times
    return Effect.whileLoop({
      while: () => left > 0,
      body: effect,
      step: (value) => {
        left--
        take(value)
      }
    })
  })
