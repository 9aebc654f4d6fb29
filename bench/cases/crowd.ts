/** 100 users and 4 connections: the cost of a connection while others always wait. */
import type { Contenders } from "../contenders/index.ts"
import { type Case, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { crowd, microtask, type Pause, turn } from "../workloads/crowd.ts"
import { contestant } from "./contestant.ts"

export const crowdCases = (who: Contenders, effort: Effort): ReadonlyArray<Case> => {
  const users = 100
  const each = effort.scale(100)
  const uses = users * each
  const among = (name: string, title: string, pause: Pause): Case => ({
    name: `crowd-${name}`,
    title: `100 users, 4 connections, ${title} while holding one`,
    unit: "ns per use",
    reference: "Pool.use",
    ...effort.rounds(20, 10),
    contestants: who.pools.map((contender) =>
      contestant({
        contender,
        options: { size: 4 },
        units: uses,
        expected: served(uses),
        round: async (pool, watch) => {
          watch.start()
          await crowd(pool, users, each, pause)
          watch.stop()
        }
      })
    )
  })
  return [
    among("microtask", "a microtask", microtask),
    among("turn", "a turn of the event loop", turn)
  ]
}
