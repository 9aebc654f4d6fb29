/** The cost of a read by key, for every way to SQLite. */
import { day, draw, times } from "./draw.ts"
import { contestantsOf, ratioOf, type Recorded } from "./recorded.ts"

const driver = "node:sqlite"

/** For each client a bar for one user and one for a hundred, the fastest client first. */
export const pointReads = (record: Recorded): string => {
  const users = { "1 user": "point-reads", "100 users": "point-reads-100" }
  const ratio = (one: string, name: string) => ratioOf(contestantsOf(record, one), name, driver) ?? null
  const clients = contestantsOf(record, users["1 user"])
    .map(({ name }) => name)
    .toSorted((a, b) => ratio(users["1 user"], a)! - ratio(users["1 user"], b)!)
  return draw({
    title: {
      text: `A read by key, as a multiple of ${driver} with a prepared statement`,
      subtext: `lower is better · ${day(record)}`,
      left: "center"
    },
    legend: { bottom: 0, itemGap: 28 },
    grid: { top: 70, bottom: 60, left: 210, right: 40 },
    xAxis: { type: "value", axisLabel: { formatter: "{value}×" } },
    yAxis: {
      type: "category",
      inverse: true,
      data: clients,
      axisLabel: {
        formatter: (name: string) => name.startsWith("ours:") ? `{ours|${name}}` : name,
        rich: { ours: { fontWeight: "bold", color: "#1f6feb" } }
      }
    },
    series: Object.entries(users).map(([name, one], index) => ({
      type: "bar",
      name,
      color: ["#1f6feb", "#a9cbf7"][index],
      barGap: "10%",
      label: { show: true, position: "right", fontSize: 10, formatter: ({ value }: Bar) => times(value) },
      data: clients.map((client) => ratio(one, client))
    }))
  }, 560)
}

interface Bar {
  readonly value: number
}
