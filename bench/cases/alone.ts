/** One user, one use after the other: the cost of a connection without a wait. */
import type { Contenders } from "../contenders/index.ts"
import { type Case, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { alone } from "../workloads/alone.ts"
import { contestant } from "./contestant.ts"

export const aloneCases = (who: Contenders, effort: Effort): ReadonlyArray<Case> => {
  const uses = effort.scale(10_000)
  return [{
    name: "alone",
    title: "1 user, 4 connections",
    unit: "ns per use",
    reference: "Pool.use",
    ...effort.rounds(50, 30),
    contestants: [...who.pools, ...who.alone].map((contender) =>
      contestant({
        contender,
        options: { size: 4 },
        units: uses,
        expected: served(uses),
        round: async (pool, watch) => {
          watch.start()
          await alone(pool, uses)
          watch.stop()
        }
      })
    )
  }]
}
