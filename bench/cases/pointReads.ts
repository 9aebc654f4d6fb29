/** Reads by key: the cost of the way to SQLite, besides the work of SQLite itself. */
import assert from "node:assert/strict"
import type { Reader } from "../contenders/sqlite/client.ts"
import { sumOf } from "../contenders/sqlite/database.ts"
import type { SqliteContenders } from "../contenders/sqlite/index.ts"
import { type Case, type Round, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { wallClock } from "../harness/watch.ts"
import { pointReads } from "../workloads/pointReads.ts"
import { sqliteContestant } from "./sqliteContestant.ts"

export const pointReadCases = (who: SqliteContenders, effort: Effort): ReadonlyArray<Case> => {
  const by = (users: number): Pick<Case, "unit" | "reference" | "contestants"> => {
    const each = effort.scale(2000 / users)
    return {
      unit: "ns per read",
      reference: "node:sqlite",
      contestants: who.readers.map((contender) =>
        sqliteContestant(contender, {
          expected: served(users * each),
          round: (reader) => readAll(reader, users, each)
        })
      )
    }
  }
  return [
    { name: "point-reads", title: "1 user, reads by key in a WAL file", ...by(1), ...effort.rounds(20, 15) },
    { name: "point-reads-100", title: "100 users, reads by key in a WAL file", ...by(100), ...effort.rounds(10, 10) }
  ]
}

/** Fails if wrong rows were read. */
export const readAll = async (reader: Reader, users: number, each: number): Promise<Round> => {
  const reads = users * each
  const watch = wallClock()
  watch.start()
  const sum = await pointReads(reader, users, each)
  watch.stop()
  assert.equal(sum, sumOf(reads), "something else was read")
  return { cost: watch.nanos() / reads, counts: served(reads) }
}
