/**
 * Four charts that show how costs grow: the cost of one use, one caller or one read, as a multiple of its first load.
 */
import { colors, day, draw } from "./draw.ts"
import { contestantsOf, ratioOf, type Recorded } from "./recorded.ts"

interface Panel {
  readonly case: string
  readonly title: string
  readonly loads: ReadonlyArray<string>
  readonly who: ReadonlyArray<string>
}

const pools = ["ours: use", "Pool.use", "tarn", "generic-pool", "pg-pool", "floor: primitive"]

const panels: ReadonlyArray<Panel> = [
  {
    case: "growth-waiters",
    title: "a caller, by the length of the line",
    loads: ["1", "10", "100", "1000", "10000", "100000"],
    who: ["ours: use", "Pool.use", "floor: primitive"]
  },
  { case: "growth-size", title: "a use, by connections", loads: ["1", "10", "100", "1000"], who: pools },
  { case: "growth-held", title: "a use, by connections held", loads: ["1", "10", "100", "1000"], who: pools },
  {
    case: "growth-statements",
    title: "a read, by statements in turn (a cache of 200)",
    loads: ["1", "10", "100", "200", "201", "1000"],
    who: ["ours: read", "ours: read, statementCacheSize 1000", "node:sqlite, not prepared"]
  }
]

export const growth = (record: Recorded): string => {
  return draw({
    title: [
      {
        text: "How cost grows",
        subtext: `as a multiple of the first load; flat is best · ${day(record)}`,
        left: "center"
      },
      ...panels.map(({ title }, index) => ({
        text: title,
        left: place(index).left,
        top: place(index).top - 24,
        textStyle: { fontSize: 13, fontWeight: "normal" }
      }))
    ],
    legend: { bottom: 0, itemGap: 20 },
    grid: panels.map((_, index) => ({ ...place(index), width: 350, height: 190 })),
    xAxis: panels.map(({ loads }, gridIndex) => ({ type: "category", gridIndex, data: loads })),
    yAxis: panels.map((_, gridIndex) => ({
      type: "log",
      logBase: 2,
      gridIndex,
      min: ({ min }: Extent) => 2 ** Math.floor(Math.log2(Math.min(min, 0.5))),
      max: ({ max }: Extent) => 2 ** Math.ceil(Math.log2(Math.max(max, 4))),
      axisLabel: { formatter: "{value}×" }
    })),
    series: panels.flatMap(({ case: one, loads, who }, axis) =>
      who.map((name) => ({
        type: "line",
        name,
        color: colors[name]!,
        xAxisIndex: axis,
        yAxisIndex: axis,
        data: loads.map((load) => ratioOf(contestantsOf(record, one), name, name, load, loads[0]!) ?? null)
      }))
    )
  }, 660)
}

/** The panels stand in two rows of two. */
const place = (index: number) => ({ left: index % 2 === 0 ? 55 : 485, top: index < 2 ? 90 : 350 })

interface Extent {
  readonly min: number
  readonly max: number
}
