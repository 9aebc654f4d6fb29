/** Half of the waiters leave the line: they are interrupted, or they time out. */
import { setTimeout } from "node:timers/promises"
import type { Contenders } from "../contenders/index.ts"
import { type Case, counts, sum } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { cpuClock } from "../harness/watch.ts"
import { hold, queueUp, queueUpFor } from "../workloads/line.ts"
import { Tally } from "../workloads/tally.ts"
import { contestant } from "./contestant.ts"

const connections = 4

export const leaverCases = (who: Contenders, effort: Effort): ReadonlyArray<Case> => {
  const callers = effort.scale(10_000)
  return [interrupted(who, effort, callers), timedOut(who, effort, callers)]
}

const interrupted = (who: Contenders, effort: Effort, callers: number): Case => ({
  name: "leave-interrupted",
  title: `${callers} callers in line for 4 connections, every other one interrupted there`,
  unit: "ns per caller",
  reference: "Pool.use",
  ...effort.rounds(14, 8),
  contestants: who.withCancel.map((contender) =>
    contestant({
      contender,
      options: { size: connections },
      units: callers,
      expected: counts({ served: callers / 2, interrupted: callers / 2 }),
      round: async (pool, watch) => {
        const release = await hold(pool, connections)
        const tally = new Tally(callers, watch.stop)
        watch.start()
        const leaves = queueUpFor(pool, callers, tally)
        for (let i = 0; i < callers; i += 2) leaves[i]!()
        release()
        await tally.done
        return tally.counts
      }
    })
  )
})

// The first half waits for longer than the timeout, the second half for less. The margin on both sides is several times
// the time that the slowest contender needs to queue up.
const timeoutMillis = 800
const laterMillis = 500

const timedOut = (who: Contenders, effort: Effort, callers: number): Case => ({
  name: "leave-timeout",
  title: `${callers} callers in line for 4 connections, half of whom time out`,
  unit: "ns of CPU per caller",
  reference: "Pool.use",
  ...effort.rounds(3, 1),
  contestants: who.withDeadline.map((contender) =>
    contestant({
      contender,
      options: { size: connections, acquireTimeoutMillis: timeoutMillis },
      units: callers,
      clock: cpuClock,
      expected: counts({ served: callers / 2, timedOut: callers / 2 }),
      round: async (pool, watch) => {
        const release = await hold(pool, connections)
        const late = new Tally(callers / 2, () => {})
        const inTime = new Tally(callers / 2, watch.stop)
        watch.start()
        queueUp(pool, callers / 2, late)
        await setTimeout(laterMillis)
        queueUp(pool, callers / 2, inTime)
        await late.done
        release()
        await inTime.done
        return sum([late.counts, inTime.counts])
      }
    })
  )
})
