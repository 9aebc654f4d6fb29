/** One user, one use after the other: the cost of a connection without a wait. */
import type { Contender } from "../contenders/contender.ts"
import type { Contenders } from "../contenders/index.ts"
import { type Case, type Contestant, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { alone } from "../workloads/alone.ts"
import { contestant } from "./contestant.ts"

export const aloneCases = (who: Contenders, effort: Effort): ReadonlyArray<Case> => [
  {
    name: "alone",
    title: "1 user, 4 connections",
    unit: "ns per use",
    reference: "Pool.use",
    ...effort.rounds(50, 30),
    contestants: using([...who.pools, ...who.alone], effort.scale(10_000))
  },
  {
    name: "inspected",
    title: "1 user, 4 connections, without an inspector and with ten viewers",
    unit: "ns per use",
    reference: "ours: use",
    ...effort.rounds(3, 1, 2),
    // A round is longer than a second, so that all pages ask in it.
    contestants: using(who.inspected, effort.scale(2_000_000))
  }
]

const using = (contenders: ReadonlyArray<Contender>, uses: number): ReadonlyArray<Contestant> =>
  contenders.map((contender) =>
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
