/** The record of a run, as it is read again. */
import { ratio, type Summary } from "../harness/summary.ts"

/** What of it is drawn and quoted. */
export interface Recorded extends Run {
  readonly machine: Machine
  readonly versions: { readonly node: string }
  readonly goals: ReadonlyArray<RecordedGoal>
  /** What was measured on other Nodes. */
  readonly otherNodes?: ReadonlyArray<Measurements>
  /** The runs after that of all cases, with the cases that are of them. */
  readonly later?: ReadonlyArray<Run & { readonly machine: Machine }>
}

interface Machine {
  readonly processor: string
  readonly processors: number
}

/** Some of the cases, and which run they are of. */
export interface Run extends Measurements {
  readonly date: string
  /** What was measured. */
  readonly commit: string
}

export interface Measurements {
  readonly cases: ReadonlyArray<RecordedCase>
}

export interface RecordedGoal {
  readonly name: string
  readonly case: string
  readonly subject: RecordedSide
  readonly against: RecordedSide
  /** The highest ratio that reached the goal in this run. */
  readonly atMost: number
  /** The ratio that `goals.ts` states. It is lower where the floor of the run took its place. */
  readonly stated?: number
  readonly median: number
  readonly reached: boolean
  readonly floorRatio?: number
}

interface RecordedSide {
  readonly name: string
  readonly load?: string
}

export interface RecordedCase {
  readonly name: string
  readonly contestants: ReadonlyArray<RecordedContestant>
}

export interface RecordedContestant {
  readonly name: string
  readonly load?: string
  /** What each round cost; the rounds of all contestants of a case are in the same order. */
  readonly costs: ReadonlyArray<number>
  readonly median: number
}

/** Of each case the newest measurement, and the goals of that run for it. The first record is that of all cases. */
export const newestOf = (records: ReadonlyArray<Recorded>): Recorded => {
  const byDate = records.toSorted((one, other) => one.date.localeCompare(other.date))
  const newest = new Map(byDate.flatMap((record) => record.cases.map(({ name }) => [name, record])))
  const casesOf = (record: Recorded) => record.cases.filter(({ name }) => newest.get(name) === record)
  const [all, ...others] = byDate
  return {
    ...all!,
    cases: byDate.flatMap(casesOf),
    goals: byDate.flatMap((record) => record.goals.filter((goal) => newest.get(goal.case) === record)),
    later: others.map((record) => ({
      commit: record.commit,
      date: record.date,
      machine: record.machine,
      cases: casesOf(record)
    }))
  }
}

export const contestantsOf = ({ cases }: Measurements, one: string): ReadonlyArray<RecordedContestant> =>
  cases.find(({ name }) => name === one)?.contestants ?? []

/** The median of the ratios of each round, as in the tables; none if one of the two did not take part. */
export const ratioOf = (
  contestants: ReadonlyArray<RecordedContestant>,
  subject: string,
  against: string,
  load?: string,
  againstLoad: string | undefined = load
): Summary["median"] | undefined => {
  const find = (name: string, load: string | undefined) =>
    contestants.find((contestant) => contestant.name === name && contestant.load === load)
  const [one, other] = [find(subject, load), find(against, againstLoad)]
  return one === undefined || other === undefined ? undefined : ratio(one, other).median
}
