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

/** With the flags that this process got, so that a profile of the benchmark is one of its cases. */
export const inProcesses = async ({ name, processes }: Case, task: Omit<Task, "case">): Promise<Array<Measured>> => {
  const parts: Array<ReadonlyArray<Measured>> = []
  while (parts.length < processes) {
    parts.push(await runNode([...process.execArgv, "--expose-gc"], child, { ...task, case: name } satisfies Task))
  }
  return parts[0]!.map(({ load, name }, index) => ({
    name,
    load,
    counts: sum(parts.map((part) => part[index]!.counts)),
    costs: parts.flatMap((part) => part[index]!.costs)
  }))
}
