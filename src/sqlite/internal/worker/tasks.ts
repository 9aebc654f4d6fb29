/** The requests that wait in a thread for their turn. */
import type { Params } from "../connection/binding.ts"
import { type ControlRequest, mostShared, type StatementRequest } from "./protocol.ts"

/** A request that was resolved when it arrived: later requests may forget the number of its text. */
export interface Task {
  readonly request: StatementRequest | ControlRequest
  readonly sql: string
  readonly params: Params | undefined
}

/** A task whose statement may share a commit with those next to it. */
export type SharedTask = Task & { readonly request: StatementRequest }

const isShared = (task: Task): task is SharedTask => task.request.kind === "statement" && task.request.isShared

/** The statements from a position on that may share a commit. */
export const sharedFrom = (tasks: ReadonlyArray<Task>, from: number): ReadonlyArray<SharedTask> => {
  const shared: Array<SharedTask> = []
  for (let at = from; at < tasks.length && shared.length < mostShared; at++) {
    const task = tasks[at]!
    if (!isShared(task)) break
    shared.push(task)
  }
  return shared
}
