import { besideWriter } from "./besideWriterChart.ts"
import { growth } from "./growthChart.ts"
import { pointReads } from "./pointReadsChart.ts"
import { line, memory, time } from "./poolCharts.ts"
import { contestantsOf, type Recorded } from "./recorded.ts"
import { writes } from "./writesChart.ts"

/** Draws the results: pictures by the names of their files. Lower is better, except for writes. */
export const charts = (record: Recorded): ReadonlyMap<string, string> =>
  new Map([
    ["time.svg", time(record)],
    ["line.svg", line(record)],
    ["memory.svg", memory(record)],
    ["point-reads.svg", pointReads(record)],
    ["beside-writer.svg", besideWriter(record)],
    ["growth.svg", growth(record)],
    // A record from before there was that case has no such chart.
    ...(contestantsOf(record, "writes-full").length > 0 ? [["writes.svg", writes(record)] as const] : [])
  ])
