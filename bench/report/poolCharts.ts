/** The pools beside Effect's own: time, memory, and the line. */
import { colors, day, draw } from "./draw.ts"
import { contestantsOf, ratioOf, type Recorded } from "./recorded.ts"

const reference = "Pool.use"

const peers = ["ours: use", "ours: useSync", reference, "tarn", "generic-pool", "pg-pool"]

export const time = (record: Recorded): string =>
  bars(record, `Time, as a multiple of Effect's ${reference}`, {
    "alone": "1 user",
    "crowd-microtask": "100 users,\n4 connections",
    "line-10k": "10 000\nin line",
    "line-deadline": "10 000 in line,\neach with a deadline",
    "leave-interrupted": "half of them\ninterrupted",
    "leave-timeout": "half of them\ntimed out (CPU)"
  })

export const memory = (record: Recorded): string =>
  bars(record, `Memory, as a multiple of Effect's ${reference}`, {
    "heap-use": "garbage\nof a use",
    "heap-waiter": "held by each\nin line",
    "heap-deadline": "the same,\nwith a deadline"
  })

/** For each case a bar of every peer that took part, on a scale where half and twice look alike. */
const bars = (record: Recorded, title: string, labels: Readonly<{ [name: string]: string }>): string => {
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
      data: shown.map(({ contestants }) => ratioOf(contestants, peer, reference) ?? null)
    }))
  })
}

/** What one caller in line costs, by how many there are. */
export const line = (record: Recorded): string => {
  const lengths = ["1k", "10k", "100k"]
  const cost = (length: string, peer: string) =>
    contestantsOf(record, `line-${length}`)
      .find(({ load, name }) => name === peer && (load ?? length) === length)?.median
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
