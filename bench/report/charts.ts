import { besideWriter } from "./besideWriterChart.ts"
import { growth } from "./growthChart.ts"
import { pointReads } from "./pointReadsChart.ts"
import { line, memory, time } from "./poolCharts.ts"
import type { Recorded } from "./recorded.ts"

/** What was measured, as pictures by the names of their files: lower is better in all of them. */
export const charts = (record: Recorded): ReadonlyMap<string, string> =>
  new Map([
    ["time.svg", time(record)],
    ["line.svg", line(record)],
    ["memory.svg", memory(record)],
    ["point-reads.svg", pointReads(record)],
    ["beside-writer.svg", besideWriter(record)],
    ["growth.svg", growth(record)]
  ])
