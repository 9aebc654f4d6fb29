/**
 * One case in a process of its own.
 *
 * Within a case all contestants share a process, or the machine's moods would decide. Between cases they must not: what
 * the compiler has learned from one case made another up to twice as slow, and not for everybody alike.
 */
import { fileURLToPath } from "node:url"
import type { Folders } from "../library.ts"
import type { Measured } from "./run.ts"
import { runNode } from "./runNode.ts"

/** What the process is to do. */
export interface Task {
  readonly case: string
  /** Only contenders whose name matches. */
  readonly contenders: string
  readonly isShort: boolean
  readonly folders: Folders
}

const child = fileURLToPath(new URL("../runCase.ts", import.meta.url))

/** With the flags that this process got, so that a profile of the benchmark is one of its cases. */
export const inProcess = (task: Task): Promise<ReadonlyArray<Measured>> => runNode(process.execArgv, child, task)
