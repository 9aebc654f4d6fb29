/** Everything that is measured, in the order in which it is. A further group of cases is a further file here. */
import type { Everybody } from "../contenders/index.ts"
import type { Case } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import type { Folders } from "../library.ts"
import { aloneCases } from "./alone.ts"
import { besideWriterCases } from "./besideWriter.ts"
import { crowdCases } from "./crowd.ts"
import { growthCases } from "./growth.ts"
import { heapCases } from "./heap.ts"
import { leaverCases } from "./leavers.ts"
import { lineCases } from "./line.ts"
import { pointReadCases } from "./pointReads.ts"
import { statementCases } from "./statements.ts"
import { twoWriterCases } from "./twoWriters.ts"

export const cases = ({ pools, sqlite }: Everybody, effort: Effort, folders: Folders): ReadonlyArray<Case> => [
  ...aloneCases(pools, effort),
  ...crowdCases(pools, effort),
  ...lineCases(pools, effort),
  ...leaverCases(pools, effort),
  ...growthCases(pools, effort),
  ...heapCases(pools, effort, folders),
  ...pointReadCases(sqlite, effort),
  ...statementCases(sqlite, effort),
  ...besideWriterCases(sqlite, effort),
  ...twoWriterCases(sqlite, effort)
]
