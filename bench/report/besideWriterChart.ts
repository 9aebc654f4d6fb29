/** Readers beside a writer, in two charts: how much they read, and how long the slowest of a hundred reads takes. */
import { colors, day, draw } from "./draw.ts"
import { contestantsOf, ratioOf, type Recorded } from "./recorded.ts"

const gaps = {
  "beside-writer-gap0": "none",
  "beside-writer-turn": "a turn of\nthe event loop",
  "beside-writer-5ms": "5 ms"
}

const ceiling = "ceiling: fibers"

export const besideWriter = (record: Recorded): string => {
  const cases = Object.keys(gaps)
  const clients = [
    "ours: read",
    "ours: sql",
    "@effect/sql-sqlite-node: sql",
    "knex: builder",
    "knex: builder, pool 1..4",
    "floor: 1 writer, 3 readers"
  ]
  const perRead = (one: string, client: string) => ratioOf(contestantsOf(record, one), client, ceiling, "per read")
  const p99 = (one: string, client: string) => ratioOf(contestantsOf(record, one), client, client, "p99", "transaction")
  const series = (axis: number, value: typeof perRead) => {
    const most = Math.max(...cases.flatMap((one) => clients.map((client) => value(one, client) ?? 0)).filter(isFinite))
    return clients.map((client) => ({
      type: "bar",
      name: client,
      color: colors[client]!,
      xAxisIndex: axis,
      yAxisIndex: axis,
      barGap: "0%",
      barCategoryGap: "25%",
      data: cases.map((one) => bar(value(one, client), most, colors[client]!))
    }))
  }
  const shares = cases.flatMap((one) => clients.map((client) => p99(one, client) ?? 1))
  const least = 10 ** Math.floor(Math.log10(Math.min(...shares) / 2))
  const category = { type: "category", data: Object.values(gaps), axisLabel: { interval: 0 } }
  return draw({
    title: [
      {
        text: "50 readers beside transactions of 50 ms",
        subtext: `by what is between two transactions · ${day(record)}`,
        left: "center"
      },
      { text: "time per read, as a multiple of the load alone", top: 72, left: 55, textStyle: small },
      { text: "p99 of a read, as a share of a transaction", top: 72, left: 485, textStyle: small }
    ],
    legend: { bottom: 0, itemGap: 28, width: 640 },
    grid: [
      { top: 105, bottom: 115, left: 60, width: 350 },
      { top: 105, bottom: 115, left: 490, width: 350 }
    ],
    xAxis: [{ ...category, gridIndex: 0 }, { ...category, gridIndex: 1 }],
    yAxis: [
      { type: "log", gridIndex: 0, axisLabel: { formatter: "{value}×" } },
      // Without a start value, bars would begin at 1 and point down.
      { type: "log", gridIndex: 1, min: least, startValue: least }
    ],
    series: [...series(0, perRead), ...series(1, p99)]
  }, 480)
}

const small = { fontSize: 13, fontWeight: "normal" }

/** A contestant without a result gets a pale bar that is as high as the highest, with a label. */
const bar = (value: number | undefined, most: number, color: string) => {
  if (value === undefined) return null
  if (isFinite(value)) return { value }
  return {
    value: most,
    itemStyle: { color: `${color}40` },
    label: {
      show: true,
      rotate: 90,
      position: "insideBottom",
      align: "left",
      verticalAlign: "middle",
      color: "#24292f",
      formatter: "starved"
    }
  }
}
