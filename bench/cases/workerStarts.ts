/** What it takes to start a worker, to replace one that has died, and to have one that does nothing. */
import { Effect } from "effect"
import assert from "node:assert/strict"
import { fileURLToPath } from "node:url"
import type { SqliteContender } from "../contenders/sqlite/client.ts"
import { keyOf, onFile } from "../contenders/sqlite/database.ts"
import type { Replaced, WorkerContenders } from "../contenders/sqlite/workers.ts"
import { type Case, type Contestant, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { runNode } from "../harness/runNode.ts"
import { wallClock } from "../harness/watch.ts"
import type { Folders } from "../library.ts"

/** What is measured, as told to the child. */
export interface WorkerMemoryTask {
  readonly contender: string
  readonly connections: number
  readonly folders: Folders
}

const child = fileURLToPath(new URL("workerMemoryChild.ts", import.meta.url))

export const workerStartCases = (who: WorkerContenders, effort: Effort, folders: Folders): ReadonlyArray<Case> => [
  {
    name: "workers-start",
    title: "starts a worker and reads a row, and again after its thread has ended",
    unit: "us",
    reference: "ours: worker",
    ...effort.rounds(10, 3, 2),
    contestants: who.replaced.map(starting)
  },
  {
    name: "workers-memory",
    title: "10 open connections that do nothing",
    unit: "bytes each",
    reference: "ours: reader in process",
    ...effort.rounds(3, 0, 1),
    contestants: who.idle.map(({ name }): Contestant => ({
      name,
      expected: served(10),
      open: async () => ({
        round: () =>
          runNode(["--expose-gc"], child, { contender: name, connections: 10, folders } satisfies WorkerMemoryTask),
        close: async () => {}
      })
    }))
  }
]

const starting = (contender: SqliteContender<Replaced>): Contestant => ({
  name: contender.name,
  expected: served(3),
  open: () =>
    onFile(async (filename) => ({
      round: async () => {
        const pool = await contender.open(filename)
        const timed = async (key: number): Promise<number> => {
          const watch = wallClock()
          watch.start()
          const { n } = await Effect.runPromise(pool.read(key))
          watch.stop()
          assert.equal(n, key * 2, "something else was read")
          return watch.nanos() / 1000
        }
        const first = await timed(keyOf(1))
        const again = await timed(keyOf(2))
        await Effect.runPromise(pool.crash)
        const replaced = await timed(keyOf(3))
        await pool.close()
        return { cost: { "first row": first, "next row": again, "after a crash": replaced }, counts: served(3) }
      },
      close: async () => {}
    }))
})
