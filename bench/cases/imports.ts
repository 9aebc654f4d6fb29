/** Imports of a million rows in one transaction. */
import type { SqliteContenders } from "../contenders/sqlite/index.ts"
import type { Case } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { importing } from "../workloads/importing.ts"
import { sqliteContestant } from "./sqliteContestant.ts"

export const importCases = (who: SqliteContenders, effort: Effort): ReadonlyArray<Case> => {
  const rows = effort.scale(1_000_000)
  return (["normal", "full"] as const).map((synchronous) => ({
    name: `import-${synchronous}`,
    title: `an import of ${rows} rows in one transaction, ${synchronous}`,
    unit: "ns",
    reference: "node:sqlite",
    ...effort.rounds(1, 1, 2),
    contestants: who.importers(synchronous).map((contender) =>
      sqliteContestant(contender, { expected: rows, round: (importer) => importing(importer, rows) })
    )
  }))
}
