/** How the cost of one use grows with the size of the pool, and with the connections in use. It should not grow. */
import type { Contender } from "../contenders/contender.ts"
import type { Contenders } from "../contenders/index.ts"
import { type Case, type Contestant, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { alone } from "../workloads/alone.ts"
import { hold } from "../workloads/line.ts"
import { contestant } from "./contestant.ts"

export const growthCases = (who: Contenders, effort: Effort): ReadonlyArray<Case> => {
  const uses = effort.scale(10_000)
  const loads = effort.loads([1, 10, 100, 1000])
  const each = (one: (contender: Contender, load: number) => Contestant) =>
    who.pools.flatMap((contender) => loads.map((load) => one(contender, load)))
  const using = (contender: Contender, load: number, size: number, held: number) =>
    contestant({
      contender,
      load: String(load),
      options: { size },
      units: uses,
      expected: served(uses),
      prepare: (pool) => hold(pool, held),
      round: async (pool, watch) => {
        watch.start()
        await alone(pool, uses)
        watch.stop()
      }
    })
  return [
    {
      name: "growth-size",
      title: "1 user, pools of 1 to 1000 connections",
      unit: "ns per use",
      reference: "Pool.use",
      ...effort.rounds(5, 4),
      contestants: each((contender, load) => using(contender, load, load, 0))
    },
    {
      name: "growth-held",
      title: "1 user, 1 to 1000 connections held by others, 1 free",
      unit: "ns per use",
      reference: "Pool.use",
      ...effort.rounds(5, 4),
      contestants: each((contender, load) => using(contender, load, load + 1, load))
    }
  ]
}
