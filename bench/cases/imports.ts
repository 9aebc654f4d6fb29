/** Imports of a million rows in one transaction. */
import type { Synchronous } from "../contenders/sqlite/database.ts"
import type { SqliteContenders } from "../contenders/sqlite/index.ts"
import type { Case } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { importRows } from "../workloads/importRows.ts"
import { sqliteContestant } from "./sqliteContestant.ts"

export const importCases = (who: SqliteContenders, effort: Effort): ReadonlyArray<Case> => {
  const rows = effort.scale(1_000_000)
  const importing = (synchronous: Synchronous): Case => ({
    name: `import-${synchronous}`,
    title: `an import of ${rows} rows in one transaction, ${synchronous}`,
    unit: "ns",
    reference: "node:sqlite",
    ...effort.rounds(1, 1, 2),
    contestants: who.importers(synchronous).map((contender) =>
      sqliteContestant(contender, { expected: rows, round: (importer) => importRows(importer, rows) })
    )
  })
  return [importing("normal"), importing("full")]
}
