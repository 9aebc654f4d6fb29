/**
 * 1000 pools that nobody uses: the memory that each of them holds, and the timers.
 *
 * Each contestant is measured in a process of its own (`idleChild.ts`), whose heap is collected when it is told to.
 */
import { fileURLToPath } from "node:url"
import type { Everybody } from "../contenders/index.ts"
import { type Case, type Contestant, type Round, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { runNode } from "../harness/runNode.ts"
import type { Folders } from "../library.ts"

/** What is measured, as told to the child. */
export interface IdleTask {
  readonly contender: string
  readonly what: "pools" | "databases"
  readonly units: number
  readonly folders: Folders
}

const child = fileURLToPath(new URL("idleChild.ts", import.meta.url))

export const idleCases = ({ pools, sqlite }: Everybody, effort: Effort, folders: Folders): ReadonlyArray<Case> => {
  const units = effort.scale(1000)
  const idle = (
    what: IdleTask["what"],
    title: string,
    reference: string,
    contenders: ReadonlyArray<{ readonly name: string }>
  ): Case => ({
    name: `idle-${what}`,
    title,
    unit: "each",
    reference,
    // Bytes and timers are the same every time.
    ...effort.rounds(1, 0, 1),
    contestants: contenders.map(({ name }): Contestant => ({
      name,
      expected: served(units),
      open: async () => ({
        round: () => inChild({ contender: name, what, units, folders }),
        close: async () => {}
      })
    }))
  })
  return [
    idle("pools", `${units} idle pools of 4 open connections each`, "Pool.use", pools.idle),
    idle("databases", `${units} idle databases, each of which was read once`, "node:sqlite", sqlite.starters)
  ]
}

const inChild = (task: IdleTask): Promise<Round> => runNode(["--expose-gc"], child, task)
