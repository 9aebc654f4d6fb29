/** What was measured, for people: tables that can be pasted into a page. */
import { markdownTable } from "markdown-table"
import type { Goal, Side } from "../goals.ts"
import type { Case } from "../harness/case.ts"
import type { Measured } from "../harness/run.ts"
import { ratio, summarize, type Summary } from "../harness/summary.ts"

export interface Outcome {
  readonly case: Case
  readonly measured: ReadonlyArray<Measured>
}

/** One case: costs, and how they compare with the reference's. */
export const caseTable = ({ case: one, measured }: Outcome): string => {
  const hasLoads = measured.some(({ load }) => load !== undefined)
  const head = ["", ...(hasLoads ? ["load"] : []), one.unit, "quartiles", `of ${one.reference}`, "quartiles"]
  const rows = measured.map((entry) => {
    const cost = summarize(entry.costs)
    const reference = find(measured, { name: one.reference, load: entry.load })
    return [
      entry.name,
      ...(hasLoads ? [entry.load ?? ""] : []),
      cost.median.toFixed(0),
      `${cost.low.toFixed(0)}-${cost.high.toFixed(0)}`,
      ...(reference === undefined ? ["", ""] : ratioCells(ratio(entry, reference))),
      ...(hasLoads ? growthCell(measured, entry) : [])
    ]
  })
  return `${one.name}: ${one.title}\n\n${table([[...head, ...(hasLoads ? ["of its first load"] : [])], ...rows])}\n`
}

const growthCell = (measured: ReadonlyArray<Measured>, entry: Measured): ReadonlyArray<string> => {
  const first = measured.find(({ name }) => name === entry.name)!
  return [first === entry ? "" : ratio(entry, first).median.toFixed(2)]
}

/** How a goal came out. */
export interface Verdict {
  readonly goal: Goal
  readonly ratio: Summary
  readonly reached: boolean
}

/** The goals about what was measured. */
export const judge = (goals: ReadonlyArray<Goal>, outcomes: ReadonlyArray<Outcome>): ReadonlyArray<Verdict> =>
  goals.flatMap((goal) => {
    const measured = outcomes.find((outcome) => outcome.case.name === goal.case)?.measured ?? []
    const subject = find(measured, goal.subject)
    const against = find(measured, goal.against)
    if (subject === undefined || against === undefined) return []
    const found = ratio(subject, against)
    return [{ goal, ratio: found, reached: found.median <= goal.atMost }]
  })

export const goalTable = (verdicts: ReadonlyArray<Verdict>): string => {
  const head = ["goal", "who", "against", "at most", "measured", "quartiles", ""]
  const rows = verdicts.map(({ goal, ratio, reached }) => [
    goal.name,
    label(goal.subject),
    label(goal.against),
    String(goal.atMost),
    ...ratioCells(ratio),
    reached ? "reached" : "NOT REACHED"
  ])
  return table([head, ...rows])
}

const find = (measured: ReadonlyArray<Measured>, side: Side): Measured | undefined =>
  measured.find(({ load, name }) => name === side.name && load === side.load)

const label = ({ load, name }: Side): string => load === undefined ? name : `${name}, ${load}`

const ratioCells = ({ high, low, median }: Summary): ReadonlyArray<string> => [
  median.toFixed(2),
  `${low.toFixed(2)}-${high.toFixed(2)}`
]

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  markdownTable(rows.map((row) => [...row]), { align: rows[0]!.map((_, column) => column === 0 ? "l" : "r") })
