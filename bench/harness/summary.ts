/** The summary of a series of rounds: its median, and the quartiles as its spread. */
import { quantile } from "simple-statistics"
import { starved } from "./case.ts"
import type { Measured } from "./run.ts"

export interface Summary {
  readonly low: number
  readonly median: number
  readonly high: number
}

export const summarize = (values: ReadonlyArray<number>): Summary => {
  const [low, median, high] = quantile([...values], [0.25, 0.5, 0.75]).map(between) as [number, number, number]
  return { low, median, high }
}

/** Between two rounds without a result there is no result either: interpolation would give no number. */
const between = (value: number): number => Number.isNaN(value) ? starved : value

/** Compares two contestants round by round, because the state of the machine in a round concerns both. */
export const ratio = (subject: Pick<Measured, "costs">, against: Pick<Measured, "costs">): Summary =>
  summarize(subject.costs.map((cost, round) => quotient(cost, against.costs[round]!)))

/** Two contestants without a result are equal. */
const quotient = (cost: number, other: number): number => cost === other ? 1 : cost / other
