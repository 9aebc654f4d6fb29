/** What was measured, as pictures: lower is better in all of them. */
import { BarChart, LineChart } from "echarts/charts"
import { GridComponent, LegendComponent, TitleComponent } from "echarts/components"
import { init, use } from "echarts/core"
import { SVGRenderer } from "echarts/renderers"

use([BarChart, LineChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer])

/** What of the record of a run is drawn. */
export interface Record {
  readonly date: string
  readonly cases: ReadonlyArray<RecordedCase>
}

interface RecordedCase {
  readonly name: string
  readonly contestants: ReadonlyArray<RecordedContestant>
}

interface RecordedContestant {
  readonly name: string
  readonly load?: string
  /** What each round cost; the rounds of all contestants of a case are in the same order. */
  readonly costs: ReadonlyArray<number>
  readonly median: number
}

const colors: Readonly<{ [name: string]: string }> = {
  "ours: use": "#1f6feb",
  "ours: useSync": "#79b8ff",
  "Pool.use": "#57606a",
  "tarn": "#d4a72c",
  "generic-pool": "#8250df",
  "pg-pool": "#2da44e"
}

const peers = Object.keys(colors)

const reference = "Pool.use"

/** The charts by the names of their files. */
export const charts = (record: Record): ReadonlyMap<string, string> =>
  new Map([
    [
      "time.svg",
      bars(record, `Time, as a multiple of Effect's ${reference}`, {
        "alone": "1 user",
        "crowd-microtask": "100 users,\n4 connections",
        "line-10k": "10 000\nin line",
        "line-deadline": "10 000 in line,\neach with a deadline",
        "leave-interrupted": "half of them\ninterrupted",
        "leave-timeout": "half of them\ntimed out (CPU)"
      })
    ],
    [
      "memory.svg",
      bars(record, `Memory, as a multiple of Effect's ${reference}`, {
        "heap-use": "garbage\nof a use",
        "heap-waiter": "held by each\nin line",
        "heap-deadline": "the same,\nwith a deadline"
      })
    ],
    ["line.svg", line(record)]
  ])

/** For each case a bar of every peer that took part, on a scale where half and twice look alike. */
const bars = (record: Record, title: string, labels: Readonly<{ [name: string]: string }>): string => {
  const shown = record.cases.filter(({ name }) => name in labels)
  return draw({
    title: { text: title, subtext: `below 1× is faster or smaller · ${day(record)}`, left: "center" },
    legend: { bottom: 0, itemGap: 28 },
    grid: { top: 70, bottom: 90, left: 60, right: 20 },
    xAxis: { type: "category", data: shown.map(({ name }) => labels[name]!), axisLabel: { interval: 0 } },
    yAxis: { type: "log", axisLabel: { formatter: "{value}×" } },
    series: peers.filter((peer) => peer !== reference).map((peer) => ({
      type: "bar",
      barGap: "0%",
      barCategoryGap: "35%",
      name: peer,
      color: colors[peer]!,
      data: shown.map((one) => ratio(one, peer) ?? null)
    }))
  })
}

/** The median of the ratios of each round, as in the tables. */
const ratio = ({ contestants }: RecordedCase, peer: string): number | undefined => {
  const subject = contestants.find(({ name }) => name === peer)
  const against = contestants.find(({ name }) => name === reference)
  if (subject === undefined || against === undefined) return undefined
  const ratios = subject.costs.map((cost, round) => cost / against.costs[round]!).toSorted((a, b) => a - b)
  return ratios[Math.floor(ratios.length / 2)]
}

/** What one caller in line costs, by how many there are. */
const line = (record: Record): string => {
  const lengths = ["1k", "10k", "100k"]
  const cost = (length: string, peer: string) => {
    const { contestants } = record.cases.find(({ name }) => name === `line-${length}`) ?? { contestants: [] }
    return contestants.find(({ load, name }) => name === peer && (load ?? length) === length)?.median
  }
  return draw({
    title: { text: "Time of one caller in line, ns", subtext: `lower is better · ${day(record)}`, left: "center" },
    legend: { bottom: 0, itemGap: 28 },
    grid: { top: 70, bottom: 70, left: 70, right: 30 },
    xAxis: { type: "category", data: lengths.map((length) => `${length} callers`) },
    yAxis: { type: "log" },
    series: peers.map((peer) => ({
      type: "line",
      name: peer,
      color: colors[peer]!,
      data: lengths.map((length) => cost(length, peer) ?? null)
    }))
  })
}

const day = (record: Record): string => record.date.slice(0, 10)

const draw = (option: object): string => {
  const chart = init(null, null, { renderer: "svg", ssr: true, width: 860, height: 420 })
  chart.setOption({ animation: false, backgroundColor: "#ffffff", ...option })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}
