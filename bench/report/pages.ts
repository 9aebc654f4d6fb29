/** Writes the figures of a record into the tables of the pages that quote it. */
import { goals } from "../goals.ts"
import { summarize } from "../harness/summary.ts"
import { table } from "./markdown.ts"
import { type CostTable, costTables, missedGoals, ofWhichRun, type PageTable, pageTables } from "./pageTables.ts"
import { contestantsOf, type Measurements, ratioOf, type Recorded, type Run } from "./recorded.ts"

/** A page, with every table in it from this record. Fails if there is none of that name. */
export const withFigures = (page: string, record: Recorded): string =>
  page.replaceAll(
    /(<!-- measured: (.+?) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_, start: string, name: string, end: string) =>
      `${start}\n${partsOf(name, record).map((part) => `${part}\n\n`).join("")}${end}`
  )

/** What stands in a page under that name: nothing if there are no figures. */
const partsOf = (name: string, record: Recorded): ReadonlyArray<string> => {
  if (name === ofWhichRun) return [runText(record)]
  const rows = tables(record).get(name)
  if (rows === undefined) throw new Error(`there is no table ${name}: see report/pageTables.ts`)
  if (rows.length < 2) return []
  const { before, chart }: Partial<PageTable> = [...pageTables, ...costTables].find((one) => one.name === name) ?? {}
  return [before, table(rows), chart].filter((part) => part !== undefined)
}

const runText = (record: Recorded): string => {
  const { goals: judged, later = [], machine, versions } = record
  const missing = goals.length - judged.length
  const laterRuns = later.map((run) => {
    const where = run.machine.processor === machine.processor ? "" : `, on another machine (${run.machine.processor})`
    return `The cases ${kindsOf(run)} are of the ${runOf(run)}${where}.\n`
  })
  return `They are of the ${runOf(record)}, on Node ${versions.node} and ${machine.processors} processors ` +
    `(${machine.processor}).\n${laterRuns.join("")}` +
    "What was changed after that is not in them" +
    (missing === 0 ? "." : `, and neither are ${missing} goals that \`bench/goals.ts\` was given later.`)
}

/** `workers-mixed` and `workers-heavy` are of one kind. */
const kindsOf = ({ cases }: Run): string =>
  [...new Set(cases.map(({ name }) => `\`${name.replace(/-.*/, "-*")}\``))].join(" and ")

const runOf = ({ commit, date }: Run): string => {
  const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeZone: "UTC" }).format(new Date(date))
  return `run of ${day}, of commit \`${commit}\``
}

type Rows = ReadonlyArray<ReadonlyArray<string>>

const tables = (record: Recorded): ReadonlyMap<string, Rows> =>
  new Map([
    ...pageTables.map((one) => [one.name, ratios(one, record)] as const),
    ...costTables.map((one) => [one.name, costs(one, record)] as const),
    [missedGoals, missed(record)] as const
  ])

const ratios = ({ columns, corner, node26, rows }: PageTable, record: Recorded): Rows => {
  const from: Measurements = node26 === true ? record.otherNodes?.[0] ?? { cases: [] } : record
  const found = rows.map(({ case: one, label, load, subject }) => [
    label,
    ...Object.values(columns).map((peers) =>
      figure(
        [peers].flat().map((peer) => ratioOf(contestantsOf(from, one), subject, peer, load)).find((ratio) =>
          ratio !== undefined
        )
      )
    )
  ])
  return [
    [corner, ...Object.keys(columns)],
    ...found.filter((cells) => cells.some((cell, at) => at > 0 && cell !== ""))
  ]
}

const costs = ({ case: one, columns, contestants }: CostTable, record: Recorded): Rows => {
  const found = contestants.map((name) => [
    name,
    ...Object.values(columns).map((load) => {
      const measured = contestantsOf(record, one).find((entry) => entry.name === name && entry.load === load)
      return measured === undefined ? "" : whole(summarize(measured.costs).median)
    })
  ])
  return [["", ...Object.keys(columns)], ...found.filter((cells) => cells.some((cell, at) => at > 0 && cell !== ""))]
}

const missed = ({ goals }: Recorded): Rows => [
  ["goal", "who", "against", "at most", "measured", "the floor itself"],
  ...goals.filter(({ reached }) => !reached).map(({ against, atMost, floorRatio, median, name, subject }) => [
    name,
    side(subject),
    side(against),
    figure(atMost),
    figure(median),
    figure(floorRatio)
  ])
]

const side = ({ load, name }: { readonly name: string; readonly load?: string }): string =>
  load === undefined ? name : `${name}, ${load}`

/** Two digits that tell something, and no more than two decimals otherwise. */
const figure = (value: number | undefined): string => {
  if (value === undefined) return ""
  return value < 0.1 ? value.toPrecision(2) : value.toFixed(2)
}

const whole = (value: number): string => value < 10 ? String(Number(value.toPrecision(2))) : value.toFixed(0)
