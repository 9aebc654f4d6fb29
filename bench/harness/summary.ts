/** What a series of rounds says: its median, and the quartiles as its spread. */
import { quantile } from "simple-statistics"
import type { Measured } from "./run.ts"

export interface Summary {
  readonly low: number
  readonly median: number
  readonly high: number
}

export const summarize = (values: ReadonlyArray<number>): Summary => {
  const [low, median, high] = quantile([...values], [0.25, 0.5, 0.75]) as [number, number, number]
  return { low, median, high }
}

/** How two contestants compare round by round, which cancels what the machine did in that round. */
export const ratio = (subject: Measured, against: Measured): Summary =>
  summarize(subject.costs.map((cost, round) => cost / against.costs[round]!))
