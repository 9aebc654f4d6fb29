/** All cases, in the order in which they are measured. Each group of cases is a file in this folder. */
import type { Everybody } from "../contenders/index.ts"
import type { Case } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import type { Folders } from "../library.ts"
import { aloneCases } from "./alone.ts"
import { besideWriterCases } from "./besideWriter.ts"
import { crowdCases } from "./crowd.ts"
import { growthCases } from "./growth.ts"
import { heapCases } from "./heap.ts"
import { idleCases } from "./idle.ts"
import { importCases } from "./imports.ts"
import { leaverCases } from "./leavers.ts"
import { lineCases } from "./line.ts"
import { pointReadCases } from "./pointReads.ts"
import { poolMapCases } from "./poolMap.ts"
import { postgresCases } from "./postgres.ts"
import { serviceCases } from "./service.ts"
import { startCases } from "./start.ts"
import { statementCases } from "./statements.ts"
import { tracedCases } from "./traced.ts"
import { twoWriterCases } from "./twoWriters.ts"
import { workerCases } from "./workers.ts"
import { workerStartCases } from "./workerStarts.ts"

export const cases = (who: Everybody, effort: Effort, folders: Folders): ReadonlyArray<Case> => {
  const { pools, sqlite } = who
  return [
    ...aloneCases(pools, effort),
    ...crowdCases(pools, effort),
    ...lineCases(pools, effort),
    ...leaverCases(pools, effort),
    ...growthCases(pools, effort),
    ...heapCases(pools, effort, folders),
    ...pointReadCases(sqlite, effort),
    ...statementCases(sqlite, effort),
    ...besideWriterCases(sqlite, effort),
    ...twoWriterCases(sqlite, effort),
    ...serviceCases(sqlite, effort),
    ...tracedCases(sqlite, effort),
    ...importCases(sqlite, effort),
    ...workerCases(sqlite.workers, effort),
    ...workerStartCases(sqlite.workers, effort, folders),
    ...postgresCases(who.postgres, effort, folders),
    ...startCases(sqlite, effort),
    ...idleCases(who, effort, folders),
    ...poolMapCases(who.maps, who.databasesByKey, effort)
  ]
}
