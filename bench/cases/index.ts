/** Everything that is measured, in the order in which it is. A further group of cases is a further file here. */
import type { Contenders } from "../contenders/index.ts"
import type { Case } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import type { Folders } from "../library.ts"
import { aloneCases } from "./alone.ts"
import { crowdCases } from "./crowd.ts"
import { growthCases } from "./growth.ts"
import { heapCases } from "./heap.ts"
import { leaverCases } from "./leavers.ts"
import { lineCases } from "./line.ts"
import { sqliteCases } from "./sqlite.ts"

export const cases = (who: Contenders, effort: Effort, folders: Folders): ReadonlyArray<Case> => [
  ...aloneCases(who, effort),
  ...crowdCases(who, effort),
  ...lineCases(who, effort),
  ...leaverCases(who, effort),
  ...growthCases(who, effort),
  ...heapCases(who, effort, folders),
  ...sqliteCases(effort, folders)
]
