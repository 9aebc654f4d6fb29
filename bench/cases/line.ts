/**
 * The cost of waiting in line. All 4 connections are held, callers queue up, and the 4 are returned. It is measured
 * from the first caller that queues up until the last caller was served.
 */
import type { Contender, Pool } from "../contenders/contender.ts"
import type { Contenders } from "../contenders/index.ts"
import { type Case, type Contestant, type Counts, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { turns } from "../harness/settle.ts"
import type { Watch } from "../harness/watch.ts"
import { hold, queueUp } from "../workloads/line.ts"
import { Tally } from "../workloads/tally.ts"
import { contestant } from "./contestant.ts"

const connections = 4

export const lineCases = (who: Contenders, effort: Effort): ReadonlyArray<Case> => {
  const everybody = [...who.pools, ...who.synchronous, who.fibers]
  return [
    {
      name: "line-1k",
      title: "1000 callers in line for 4 connections",
      unit: "ns per caller",
      reference: "Pool.use",
      ...effort.rounds(20, 10),
      contestants: everybody.map((contender) => inLine(contender, effort.scale(1000), 10))
    },
    {
      name: "line-10k",
      title: "10 000 callers in line for 4 connections",
      unit: "ns per caller",
      reference: "Pool.use",
      ...effort.rounds(20, 10),
      contestants: everybody.map((contender) => inLine(contender, effort.scale(10_000), 1))
    },
    {
      name: "line-100k",
      title: "a line of 100 000 callers beside lines of 1000",
      unit: "ns per caller",
      reference: "Pool.use",
      ...effort.rounds(3, 1),
      contestants: everybody.flatMap((contender) => [
        inLine(contender, effort.scale(1000), 50, { load: "1k" }),
        inLine(contender, effort.scale(100_000), 1, { load: "100k" })
      ])
    },
    {
      name: "line-deadline",
      title: "10 000 callers in line for 4 connections, each with a deadline that it meets",
      unit: "ns per caller",
      reference: "Pool.use",
      ...effort.rounds(10, 5),
      contestants: who.withDeadline.map((contender) =>
        inLine(contender, effort.scale(10_000), 1, { acquireTimeoutMillis: 60_000 })
      )
    },
    {
      name: "growth-waiters",
      title: "lines of 1 to 100 000 callers for 4 connections",
      unit: "ns per caller",
      reference: "Pool.use",
      ...effort.rounds(3, 1),
      contestants: who.growing.flatMap((contender) =>
        effort.loads([1, 10, 100, 1000, 10_000, 100_000]).map((callers) =>
          // Short lines run many times, so that there is enough to measure.
          inLine(contender, callers, effort.scale(Math.max(1000 / callers, 1)), { load: String(callers) })
        )
      )
    }
  ]
}

/** Runs a number of lines, one after the other, each with a number of callers. */
const inLine = (
  contender: Contender,
  callers: number,
  lines: number,
  options: { readonly load?: string; readonly acquireTimeoutMillis?: number } = {}
): Contestant =>
  contestant({
    contender,
    load: options.load,
    options: { size: connections, acquireTimeoutMillis: options.acquireTimeoutMillis },
    units: callers * lines,
    expected: served(callers * lines),
    round: async (pool, watch) => {
      let total = 0
      for (let line = 0; line < lines; line++) total += (await oneLine(pool, callers, watch)).served
      return served(total)
    }
  })

const oneLine = async (pool: Pool, callers: number, watch: Watch): Promise<Counts> => {
  const release = await hold(pool, connections)
  const tally = new Tally(callers, watch.stop)
  watch.start()
  queueUp(pool, callers, tally)
  release()
  await tally.done
  await turns()
  return tally.counts
}
