/**
 * One case in processes of its own.
 *
 * Within a round all contestants share a process, or the machine's moods would decide. Between cases they must not: what
 * the compiler has learned from one case made another up to twice as slow, and not for everybody alike. And as what it
 * learns also depends on luck, which lasts as long as the process, each case has several, one after the other.
 */
import { fileURLToPath } from "node:url"
import type { Folders } from "../library.ts"
import { type Case, sum } from "./case.ts"
import type { Measured } from "./run.ts"
import { runNode } from "./runNode.ts"

/** What one process is to do. */
export interface Task {
  readonly case: string
  /** Only contenders whose name matches. */
  readonly contenders: string
  readonly isShort: boolean
  readonly folders: Folders
}

const child = fileURLToPath(new URL("../runCase.ts", import.meta.url))

/**
 * Before each turn the young part of the heap is collected. V8 makes it smaller after a collection that has found
 * little, and larger when much has survived, so that what one contestant costs would depend on the one before it. So it
 * always has the size to which it grows by default.
 */
const measuring = ["--expose-gc", "--min-semi-space-size=32", "--max-semi-space-size=32"]

/**
 * `flags` are for Node: by default with those that this process got, as for a larger heap. A profile has its own. `node` is
 * another Node than the one that runs this.
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
