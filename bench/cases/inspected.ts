/** One user of a pool that an inspector watches, with ten open pages: what they cost the user. */
import type { Contenders } from "../contenders/index.ts"
import { type Case, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { alone } from "../workloads/alone.ts"
import { contestant } from "./contestant.ts"

export const inspectedCases = (who: Contenders, effort: Effort): ReadonlyArray<Case> => {
  // A round is longer than a second, so that all pages ask in it.
  const uses = effort.scale(2_000_000)
  return [{
    name: "inspected",
    title: "1 user, 4 connections, without an inspector and with ten viewers",
    unit: "ns per use",
    reference: "ours: use",
    ...effort.rounds(3, 1, 2),
    contestants: who.inspected.map((contender) =>
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
