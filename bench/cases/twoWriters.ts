/**
 * Two writers. SQLite lets one write. The other waits in line; or it waits in SQLite, blocks the process, and fails.
 */
import type { SqliteContenders } from "../contenders/sqlite/index.ts"
import type { Case } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { twoWriters } from "../workloads/twoWriters.ts"
import { sqliteContestant } from "./sqliteContestant.ts"

const holdMillis = 5

export const twoWriterCases = (who: SqliteContenders, effort: Effort): ReadonlyArray<Case> => {
  const attemptsEach = effort.isShort ? 2 : 10
  return [{
    name: "two-writers",
    title: `2 writers, ${attemptsEach} attempts each at a transaction of ${holdMillis} ms`,
    unit: "ns",
    reference: "floor: 1 writer, 3 readers",
    ...effort.rounds(3, 1),
    contestants: who.writers.map((contender) =>
      sqliteContestant(contender, {
        // Pools whose connections all write refuse some callers. The table has their number.
        expected: 2 * attemptsEach,
        round: (client) => twoWriters(client, attemptsEach, holdMillis)
      })
    )
  }]
}
