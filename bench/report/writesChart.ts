/** Rows that are added in a second, by how many users add them at a time: what shared commits are worth. */
import { colors, day, draw } from "./draw.ts"
import { contestantsOf, type Recorded } from "./recorded.ts"

const panels = { "full": "synchronous = full", "normal": "synchronous = normal" }

const users = ["1", "10", "100"]

const who = [
  "ours: sql",
  "ours: sql, groupCommit off",
  "@effect/sql-sqlite-node: sql",
  "knex: builder",
  "floor: group commit"
]

export const writes = (record: Recorded): string => {
  const perSecond = (synchronous: string, name: string, load: string) => {
    const found = contestantsOf(record, `writes-${synchronous}`).find((one) => one.name === name && one.load === load)
    return found === undefined ? null : 1e9 / found.median
  }
  return draw({
    title: [
      {
        text: "Rows added in a second",
        subtext: `by how many fibers add them at a time; higher is better · ${day(record)}`,
        left: "center"
      },
      ...Object.values(panels).map((text, index) => ({
        text,
        left: lefts[index],
        top: 72,
        textStyle: { fontSize: 13, fontWeight: "normal" }
      }))
    ],
    legend: { bottom: 0, itemGap: 20 },
    grid: lefts.map((left) => ({ left, top: 105, width: 345, bottom: 80 })),
    xAxis: lefts.map((_, gridIndex) => ({ type: "category", gridIndex, data: users })),
    yAxis: lefts.map((_, gridIndex) => ({ type: "log", gridIndex })),
    series: Object.keys(panels).flatMap((synchronous, axis) =>
      who.map((name) => ({
        type: "line",
        name,
        color: colors[name]!,
        xAxisIndex: axis,
        yAxisIndex: axis,
        data: users.map((load) => perSecond(synchronous, name, load))
      }))
    )
  })
}

/** The panels stand side by side. */
const lefts = [70, 495]
