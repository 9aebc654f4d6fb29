/**
 * Bytes per use, and bytes that each caller in line holds.
 *
 * Each contestant is measured in a process of its own (`heapChild.ts`). There the garbage collector runs only on
 * demand, which would spoil measurements of time.
 */
import { fileURLToPath } from "node:url"
import type { Contender } from "../contenders/contender.ts"
import type { Contenders } from "../contenders/index.ts"
import { type Case, type Contestant, type Round, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { runNode } from "../harness/runNode.ts"
import type { Folders } from "../library.ts"

/** What the child measures. */
export interface HeapTask {
  readonly contender: string
  readonly what: "use" | "waiter" | "timed waiter"
  readonly units: number
  readonly folders: Folders
}

const child = fileURLToPath(new URL("heapChild.ts", import.meta.url))

export const heapCases = (who: Contenders, effort: Effort, folders: Folders): ReadonlyArray<Case> => {
  const units = effort.scale(10_000)
  const heap = (
    name: string,
    title: string,
    unit: string,
    what: HeapTask["what"],
    contenders: ReadonlyArray<Contender>
  ): Case => ({
    name,
    title,
    unit,
    reference: "Pool.use",
    // The number of bytes is the same in every round.
    ...effort.rounds(1, 0, 1),
    contestants: contenders.map((contender): Contestant => ({
      name: contender.name,
      expected: served(units),
      open: async () => ({
        round: () => inChild({ contender: contender.name, what, units, folders }),
        close: async () => {}
      })
    }))
  })
  const pools = [...who.pools, ...who.synchronous]
  return [
    heap("heap-use", "garbage of one use", "bytes per use", "use", pools),
    heap("heap-waiter", "what one of 10 000 callers in line holds", "bytes per waiter", "waiter", pools),
    heap("heap-deadline", "the same with a deadline each", "bytes per waiter", "timed waiter", who.withDeadline)
  ]
}

// The young generation is so large that it holds everything that is measured, so nothing is collected by itself.
const flags = ["--expose-gc", "--min-semi-space-size=256", "--max-semi-space-size=256"]

const inChild = (task: HeapTask): Promise<Round> => runNode(flags, child, task)
