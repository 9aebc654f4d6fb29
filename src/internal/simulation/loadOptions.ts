/** The options that describe a load: arrivals, times and service. */
import { Duration, Predicate } from "effect"
import { toMillis } from "../options/duration.ts"
import { table } from "../options/rules.ts"
import type { ArrivalSettings } from "./arrivals.ts"
import type { Draw } from "./contract.ts"
import type { Reader } from "./reader.ts"
import type { TimeSettings } from "./times.ts"

export interface ServiceSettings {
  /** The time that leases spend side by side. */
  readonly waiting: TimeSettings
  /** The time that leases spend on a thread, if they share threads. */
  readonly work: TimeSettings | undefined
  readonly threads: number
}

// -----------------------------------------------------------------------------------------------------------------------
// Arrivals
// -----------------------------------------------------------------------------------------------------------------------

const tag = { kind: "value", accepts: () => true, mustBe: "a tag" } as const
const rate = {
  kind: "value",
  accepts: (value: unknown) => Predicate.isNumber(value) && value > 0 && value < Infinity,
  mustBe: "a number above zero",
  required: true
} as const
const rateOrZero = {
  kind: "value",
  accepts: (value: unknown) => Predicate.isNumber(value) && value >= 0 && value < Infinity,
  mustBe: "a number of zero or more"
} as const
const filled = {
  kind: "value",
  accepts: (value: unknown) => Array.isArray(value) && value.length > 0,
  mustBe: "a list that is not empty",
  required: true
} as const

const rateTable = table({ _tag: tag, perSecond: rate })
const burstsTable = table({
  _tag: tag,
  size: { kind: "count", floor: 1, finite: true, required: true },
  every: { kind: "duration", finite: true, required: true },
  perSecond: rateOrZero
})
const ratesTable = table({ _tag: tag, phases: filled })
const phaseTable = table({
  lasts: { kind: "duration", finite: true, required: true },
  perSecond: { ...rateOrZero, required: true }
})
const listTable = table({ _tag: tag, times: filled })

/** What stands for arrivals that have problems. */
const noArrivals: ArrivalSettings = { _tag: "Poisson", perSecond: 1 }

export const readArrivals = (reader: Reader, path: string, value: unknown): ArrivalSettings => {
  if (value === undefined) return noArrivals
  switch (Predicate.hasProperty(value, "_tag") ? value._tag : undefined) {
    case "Poisson":
      return { _tag: "Poisson", perSecond: reader.read(path, rateTable, value).perSecond as number }
    case "Regular":
      return { _tag: "Regular", perSecond: reader.read(path, rateTable, value).perSecond as number }
    case "Bursts": {
      const { every, perSecond, size } = reader.read(path, burstsTable, value)
      return { _tag: "Bursts", size, everyMillis: every, perSecond: (perSecond ?? 0) as number }
    }
    case "Rates": {
      const list = reader.read(path, ratesTable, value).phases as ReadonlyArray<unknown> | undefined
      const phases = (list ?? []).map((phase, index) => {
        const { lasts, perSecond } = reader.read(`${path}.phases[${index}]`, phaseTable, phase)
        return { millis: lasts, perSecond: perSecond as number }
      })
      if (phases.length > 0 && phases.every(({ perSecond }) => perSecond === 0)) {
        reader.refuse(`${path}.phases`, list, "a list in which at least one phase has requests")
      }
      return { _tag: "Rates", phases }
    }
    case "Recorded":
      return { _tag: "Recorded", times: readList(reader, path, value) }
  }
  reader.refuse(path, value, "arrivals, such as PoolSimulation.poisson(100)")
  return noArrivals
}

/** Reads a list of durations. Reports only the first that is none, because recordings are long. */
const readList = (reader: Reader, path: string, value: unknown): ReadonlyArray<number> => {
  const list = (reader.read(path, listTable, value).times ?? []) as ReadonlyArray<unknown>
  const times = list.map(toMillis)
  const wrong = times.findIndex((millis) => !isTime(millis))
  if (wrong === -1) return times as ReadonlyArray<number>
  reader.refuse(`${path}.times[${wrong}]`, list[wrong], "a finite duration of zero or more, such as \"20 millis\"")
  return [0]
}

const isTime = (millis: number | undefined): millis is number =>
  millis !== undefined && millis >= 0 && millis < Infinity

// -----------------------------------------------------------------------------------------------------------------------
// Times
// -----------------------------------------------------------------------------------------------------------------------

const length = { kind: "duration", finite: true, required: true } as const

const exponentialTable = table({ _tag: tag, mean: length })
const lognormalTable = table({ _tag: tag, median: length, p99: length }, [{
  fields: ["p99", "median"],
  broken: ({ median, p99 }, other) => p99 < median ? `at least ${other}, which is ${median} ms` : undefined
}])

const isRising = (bounds: ReadonlyArray<unknown>): boolean =>
  bounds.every((bound, index) =>
    Predicate.isNumber(bound) && bound < Infinity && bound > (index === 0 ? 0 : bounds[index - 1] as number)
  )

const histogramTable = table({
  _tag: tag,
  bounds: {
    kind: "value",
    accepts: (value: unknown) => Array.isArray(value) && value.length > 0 && isRising(value),
    mustBe: "a list of numbers above zero, each above the one before it",
    required: true
  },
  counts: {
    kind: "value",
    accepts: (value: unknown) =>
      Array.isArray(value) && value.every((count) => Predicate.isNumber(count) && count >= 0 && count < Infinity) &&
      value.some((count) => count > 0),
    mustBe: "a list of numbers of zero or more, of which at least one is above zero",
    required: true
  },
  mean: { kind: "duration", finite: true }
}, [{
  fields: ["counts", "bounds"],
  broken: ({ bounds, counts }) => {
    const needed = (bounds as ReadonlyArray<number>).length + 1
    return (counts as ReadonlyArray<number>).length === needed
      ? undefined
      : `${needed} counts: one more than the bounds`
  }
}])

/** What stands for times that have problems. */
const noTime: TimeSettings = { _tag: "Fixed", millis: 0 }

const timesText = "a duration, such as \"20 millis\", PoolSimulation.exponential(\"20 millis\"), or a function"

export const readTimes = (reader: Reader, path: string, value: unknown): TimeSettings => {
  if (value === undefined) return noTime
  if (Predicate.isFunction(value)) {
    return { _tag: "Function", make: checkedDraw(path, value as (draw: Draw) => unknown) }
  }
  switch (Predicate.hasProperty(value, "_tag") && !Duration.isDuration(value) ? value._tag : undefined) {
    case "Exponential":
      return { _tag: "Exponential", meanMillis: reader.read(path, exponentialTable, value).mean }
    case "Lognormal": {
      const { median, p99 } = reader.read(path, lognormalTable, value)
      return { _tag: "Lognormal", medianMillis: median, p99Millis: p99 }
    }
    case "Histogram": {
      const { bounds, counts, mean } = reader.read(path, histogramTable, value)
      return {
        _tag: "Histogram",
        bounds: (bounds ?? []) as ReadonlyArray<number>,
        counts: (counts ?? []) as ReadonlyArray<number>,
        meanMillis: mean
      }
    }
    case "Sampled":
      return { _tag: "Sampled", times: readList(reader, path, value) }
  }
  const millis = toMillis(value)
  if (isTime(millis)) return { _tag: "Fixed", millis }
  reader.refuse(path, value, timesText)
  return noTime
}

/** A function of the user returned no time. */
export class NoTime {
  readonly path: string
  readonly value: unknown

  constructor(path: string, value: unknown) {
    this.path = path
    this.value = value
  }
}

const checkedDraw = (path: string, make: (draw: Draw) => unknown) => (draw: Draw): number => {
  const value = make(draw)
  const millis = toMillis(value)
  if (!isTime(millis)) throw new NoTime(path, value)
  return millis
}

// -----------------------------------------------------------------------------------------------------------------------
// Service
// -----------------------------------------------------------------------------------------------------------------------

const serviceTable = table({
  work: { ...tag, mustBe: timesText, required: true },
  waiting: tag,
  threads: { kind: "count", default: 1, floor: 1, finite: true }
})

export const readService = (reader: Reader, path: string, value: unknown): ServiceSettings => {
  const isSplit = Predicate.isObject(value) && ("work" in value || "waiting" in value || "threads" in value)
  if (!isSplit) return { waiting: readTimes(reader, path, value), work: undefined, threads: Infinity }
  const { threads, waiting, work } = reader.read(path, serviceTable, value)
  return {
    waiting: readTimes(reader, `${path}.waiting`, waiting ?? 0),
    work: readTimes(reader, `${path}.work`, work),
    threads
  }
}
