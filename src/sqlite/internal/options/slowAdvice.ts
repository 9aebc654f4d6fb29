/** What the warning of a slow statement in process says besides: how such a statement runs on a worker. */
import type { PoolSettings } from "./pool.ts"

/** The advice for the statements of a side; `undefined` if they cannot run anywhere else. */
export const adviceFor = (settings: PoolSettings, side: "writer" | "readers"): string | undefined => {
  const { connection, isOneConnection, workers, writerExecution } = settings
  if (isOneConnection) return undefined
  // Functions cannot be sent to a thread.
  const moving = connection.functions !== undefined && connection.functionsFrom === undefined
    ? " and its functions in a `functionsModule`"
    : ""
  if (side === "readers") {
    const how = "`SqlitePool.onWorker`, or `{ execution: \"worker\" }`"
    return workers > 0
      ? `run it on a worker: ${how}`
      : `run it on a worker: ${how}, after you have opened the database with \`workers\`${moving}`
  }
  // What statements change about their connection lasts only in process.
  if (writerExecution === "worker" || connection.lasting !== undefined) return undefined
  return `run it on a worker: open the database with \`SqliteWorkerPool\`${moving}`
}
