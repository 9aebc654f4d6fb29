/** The cost that each step adds to a lease. Each contestant does all that the one before it does, and more. */
import type { Measured } from "../harness/run.ts"
import { ratio } from "../harness/summary.ts"
import { table } from "./markdown.ts"

export interface Ladder {
  readonly title: string
  /** From the least to the most. */
  readonly steps: ReadonlyArray<Step>
  /** The contestant whose cost counts as the whole. */
  readonly whole: string
}

interface Step {
  readonly name: string
  /** What it does besides the work of the one before it. */
  readonly adds: string
  /** The contestant before it, if that is not the one above. */
  readonly before?: string
}

export const ladders: ReadonlyArray<Ladder> = [
  {
    title: "use, 1 user",
    whole: "ours: use",
    steps: [
      { name: "floor: empty loop", adds: "the loop that runs it" },
      { name: "floor: suspend, onExit", adds: "two steps, one of them with a finalizer" },
      { name: "floor: primitive", adds: "takes a connection and returns it, whatever happens" },
      { name: "ours: use, no metrics", adds: "the clock, twice; deadlines, ages, checks, numbers, holders" },
      { name: "ours: use", adds: "how long leases last, in a histogram" },
      { name: "ours: use, hooks", adds: "all that a driver may be asked" },
      { name: "ours: use, events read", adds: "two events, made and read", before: "ours: use" }
    ]
  },
  {
    title: "useSync, 1 user",
    whole: "ours: useSync",
    steps: [
      { name: "floor: empty loop", adds: "the loop that runs it" },
      { name: "floor: sync", adds: "takes a connection and returns it, in one step" },
      { name: "ours: useSync, no metrics", adds: "the clock; deadlines, ages, checks, numbers, holders" },
      { name: "ours: useSync", adds: "how long leases last, every eighth looked at" }
    ]
  }
]

export const ladderTable = ({ steps, whole }: Ladder, measured: ReadonlyArray<Measured>): string => {
  const share = (name: string): number => ratio(find(measured, name), find(measured, whole)).median
  const rows = steps.map(({ adds, before = "", name }, index) => {
    const below = before === "" ? steps[index - 1]?.name : before
    return [name, percent(share(name)), percent(share(name) - (below === undefined ? 0 : share(below))), adds]
  })
  return table([["", `of ${whole}`, "adds", "for"], ...rows])
}

const find = (measured: ReadonlyArray<Measured>, name: string): Measured => measured.find((one) => one.name === name)!

const percent = (part: number): string => `${(100 * part).toFixed(0)} %`
