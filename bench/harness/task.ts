/**
 * Runs one case in processes of its own.
 *
 * All contestants of a round share a process, so that the state of the machine concerns all of them. Cases do not share
 * a process: the optimisations for one case made another up to twice as slow, and not equally for all contestants.
 * Optimisations also depend on chance for as long as a process runs, so each case has several processes, one after the
 * other.
 */
import { fileURLToPath } from "node:url"
import type { Folders } from "../library.ts"
import { type Case, sum } from "./case.ts"
import type { Measured } from "./run.ts"
import { runNode } from "./runNode.ts"

/** The task of one process. */
export interface Task {
  readonly case: string
  /** Only contenders whose name matches. */
  readonly contenders: string
  readonly isShort: boolean
  readonly folders: Folders
}

const child = fileURLToPath(new URL("../runCase.ts", import.meta.url))

/**
 * Before each turn the young generation is collected. V8 shrinks it after a collection that has found little, and grows
 * it when much has survived. Then the cost of one contestant would depend on the one before it. So it always has the
 * size to which it grows by default.
 */
const measuring = ["--expose-gc", "--min-semi-space-size=32", "--max-semi-space-size=32"]

/**
 * `flags` are for Node. By default they are the flags of this process, such as a larger heap. A profile has its own.
 * `node` is another Node than the one that runs this.
 */
export const inProcesses = async (
  { name, processes }: Case,
  task: Omit<Task, "case">,
  flags: ReadonlyArray<string> = [...measuring, ...process.execArgv],
  node?: string
): Promise<Array<Measured>> => {
  const parts: Array<ReadonlyArray<Measured>> = []
  while (parts.length < processes) {
    parts.push(await runNode(flags, child, { ...task, case: name } satisfies Task, node))
  }
  return parts[0]!.map(({ load, name }, index) => ({
    name,
    load,
    counts: sum(parts.map((part) => part[index]!.counts)),
    costs: parts.flatMap((part) => part[index]!.costs)
  }))
}
