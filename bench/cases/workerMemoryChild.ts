/** Opens connections and prints what each of them holds: run by `workerStarts.ts`, in a process of its own. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { everybody } from "../contenders/index.ts"
import { fill } from "../contenders/sqlite/database.ts"
import { type Round, served } from "../harness/case.ts"
import { toJson } from "../harness/json.ts"
import { turns } from "../harness/settle.ts"
import type { WorkerMemoryTask } from "./workerStarts.ts"

const { connections, contender: name, folders } = JSON.parse(process.argv[2]!) as WorkerMemoryTask
const { sqlite: { workers } } = await everybody(folders)
const { open } = workers.idle.find((contender) => contender.name === name)!
const folder = mkdtempSync(join(tmpdir(), "bench-workers-"))

// Whatever goes on after the last use comes to its end.
const quietMillis = 200

const openOn = async (file: string, count: number): Promise<ReadonlyArray<number>> => {
  const filename = join(folder, file)
  fill(filename, 100)
  const heaps = await open(filename, count)
  await setTimeout(quietMillis)
  for (let i = 0; i < 3; i++) globalThis.gc!()
  await turns()
  return heaps
}

const measure = async (): Promise<Round> => {
  // What the first one loads is not what each of them holds.
  await openOn("first.db", 1)
  const before = process.memoryUsage()
  const heaps = await openOn("all.db", connections)
  const after = process.memoryUsage()
  return {
    cost: {
      "resident bytes": (after.rss - before.rss) / connections,
      "heap bytes here": (after.heapUsed - before.heapUsed) / connections,
      "heap bytes in its thread": heaps.reduce((sum, bytes) => sum + bytes, 0) / connections
    },
    counts: served(heaps.length)
  }
}

console.log(toJson(await measure()))
rmSync(folder, { recursive: true })
// All of them are still open.
process.exit()
