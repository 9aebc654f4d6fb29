/**
 * How the cost of a read grows with the number of statements that take turns. It is flat while the cache holds all of
 * them.
 */
import type { SqliteContenders } from "../contenders/sqlite/index.ts"
import { type Case, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { readAll } from "./pointReads.ts"
import { sqliteContestant } from "./sqliteContestant.ts"

export const statementCases = (who: SqliteContenders, effort: Effort): ReadonlyArray<Case> => {
  const reads = effort.scale(2000)
  // The cache holds 200 statements by default. With 201, two of a round are prepared anew.
  const loads = effort.loads([1, 10, 100, 200, 201, 1000])
  return [{
    name: "growth-statements",
    title: "1 user, reads by key with 1 to 1000 statements in turn, of which a cache holds 200",
    unit: "ns per read",
    reference: "node:sqlite, not prepared",
    ...effort.rounds(10, 6),
    contestants: who.ofStatements.flatMap((contender) =>
      loads.map((load) =>
        sqliteContestant(contender(load), {
          load: String(load),
          expected: served(reads),
          round: (reader) => readAll(reader, 1, reads)
        })
      )
    )
  }]
}
