/** What was measured, for people: tables that can be pasted into a page. */
import type { Goal, Side } from "../goals.ts"
import { type Case, starved } from "../harness/case.ts"
import type { Measured } from "../harness/run.ts"
import { ratio, summarize, type Summary } from "../harness/summary.ts"
import { table } from "./markdown.ts"

export interface Outcome {
  readonly case: Case
  readonly measured: ReadonlyArray<Measured>
}

/** How many took part, each in one or more rows. */
export const contenders = ({ measured }: Outcome): number => new Set(measured.map(({ name }) => name)).size

/** One case: costs, and how they compare with the reference's. */
export const caseTable = ({ case: one, measured }: Outcome): string => {
  const columns = [
    ...costColumns(one, measured),
    ...(hasLoads(one) ? [growthColumn(measured)] : []),
    ...(measured.some(({ counts }) => counts.busy > 0) ? [busyColumn] : [])
  ]
  const head = columns.map(({ title }) => title)
  const rows = measured.map((entry) => columns.map(({ cell }) => cell(entry)))
  return `${one.name}: ${one.title}\n\n${table([head, ...rows])}\n`
}

interface Column {
  readonly title: string
  readonly cell: (entry: Measured) => string
}

const costColumns = (one: Case, measured: ReadonlyArray<Measured>): ReadonlyArray<Column> => {
  const compared = (entry: Measured) => compare(measured, entry, { name: one.reference, load: entry.load })
  const loads = { title: hasLoads(one) ? "load" : "figure", cell: ({ load }: Measured) => load ?? "" }
  return [
    { title: "", cell: ({ name }) => name },
    ...(measured.some(({ load }) => load !== undefined) ? [loads] : []),
    { title: one.unit, cell: ({ costs }) => whole(summarize(costs).median) },
    { title: "quartiles", cell: ({ costs }) => range(summarize(costs), whole) },
    { title: `of ${one.reference}`, cell: (entry) => times(compared(entry)?.median) },
    { title: "quartiles", cell: (entry) => range(compared(entry), times) }
  ]
}

/** Whether contestants have loads of their own; if not, there are figures in their place. */
const hasLoads = ({ contestants }: Case): boolean => contestants.some(({ load }) => load !== undefined)

const growthColumn = (measured: ReadonlyArray<Measured>): Column => ({
  title: "of its first load",
  cell: (entry) => {
    const first = measured.find(({ name }) => name === entry.name)!
    return first === entry ? "" : times(ratio(entry, first).median)
  }
})

const busyColumn: Column = {
  title: "refused",
  cell: ({ counts: { busy, served } }) => `${busy} of ${busy + served}`
}

/** How a goal came out. */
export interface Verdict {
  readonly goal: Goal
  readonly ratio: Summary
  /** The highest ratio that reaches the goal: see `replaced`. */
  readonly atMost: number
  readonly reached: boolean
  /** What the floor comes to, if there is one. */
  readonly floor: Summary | undefined
}

/** The goals about what was measured. */
export const judge = (goals: ReadonlyArray<Goal>, outcomes: ReadonlyArray<Outcome>): ReadonlyArray<Verdict> =>
  goals.flatMap((goal) => {
    const measured = outcomes.find((outcome) => outcome.case.name === goal.case)?.measured ?? []
    const found = compare(measured, goal.subject, goal.against)
    if (found === undefined) return []
    const floor = goal.floor === undefined ? undefined : compare(measured, goal.floor.subject, goal.floor.against)
    const atMost = replaced(goal, floor?.median)
    return [{ goal, ratio: found, atMost, reached: found.median <= atMost, floor }]
  })

/** Where the floor stands above a goal in the same run, the ratio of the floor is the goal: see `goals.ts`. */
export const replaced = ({ atMost }: Pick<Goal, "atMost">, floor: number | undefined): number =>
  floor === undefined ? atMost : Math.max(atMost, floor)

const compare = (measured: ReadonlyArray<Measured>, one: Side, other: Side): Summary | undefined => {
  const [subject, against] = [find(measured, one), find(measured, other)]
  if (subject === undefined || against === undefined) return undefined
  // Nothing is a multiple of nothing, as of no timers.
  return against.costs.every((cost) => cost === 0) ? undefined : ratio(subject, against)
}

export const goalTable = (verdicts: ReadonlyArray<Verdict>): string => {
  const head = ["goal", "who", "against", "at most", "measured", "quartiles", "", "the floor itself"]
  const rows = verdicts.map(({ atMost, floor, goal, ratio, reached }) => [
    goal.name,
    label(goal.subject),
    label(goal.against),
    atMost === goal.atMost ? times(atMost) : `${times(atMost)}, the floor, instead of ${times(goal.atMost)}`,
    times(ratio.median),
    range(ratio, times),
    reached ? "reached" : "NOT REACHED",
    times(floor?.median)
  ])
  return table([head, ...rows])
}

const find = (measured: ReadonlyArray<Measured>, side: Side): Measured | undefined =>
  measured.find(({ load, name }) => name === side.name && load === side.load)

const label = ({ load, name }: Side): string => load === undefined ? name : `${name}, ${load}`

const whole = (value: number): string => value === starved ? "starved" : value.toFixed(0)

const times = (value: number | undefined): string => {
  if (value === undefined) return ""
  if (value === starved) return "starved"
  return value < 0.1 ? value.toPrecision(2) : value.toFixed(2)
}

const range = (summary: Summary | undefined, cell: (value: number) => string): string =>
  summary === undefined ? "" : `${cell(summary.low)}-${cell(summary.high)}`
