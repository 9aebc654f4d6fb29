/** Reads durations. Code, environment and command line have one grammar. */
import { Duration } from "effect"

/**
 * Turns a duration into milliseconds; `undefined` if the value is no duration. Negative durations are read too: the
 * rule of an option decides whether they are allowed.
 *
 * A duration is a `Duration`, a number of milliseconds, a bigint of nanoseconds, `[seconds, nanoseconds]`, an object as
 * `{ seconds: 5 }`, or a text as `durationOf` reads it.
 */
export const toMillis = (input: unknown): number | undefined => {
  switch (typeof input) {
    case "number":
      return Number.isNaN(input) ? undefined : input
    case "bigint":
      return Number(input) / 1e6
    case "string":
      return durationOf(input)
    case "object":
      return input === null ? undefined : ofObject(input)
    default:
      return undefined
  }
}

const ofObject = (input: object): number | undefined => {
  try {
    if (Duration.isDuration(input)) return Duration.toMillis(input)
    if (Array.isArray(input)) return input.length === 2 ? sum(input, [1000, 1e-6]) : undefined
    const names = Object.keys(parts)
    if (!names.some((name) => name in input) || Object.keys(input).some((key) => !names.includes(key))) return undefined
    return sum(names.map((name) => (input as Readonly<Record<string, unknown>>)[name] ?? 0), Object.values(parts))
  } catch {
    // A getter of the object has thrown.
    return undefined
  }
}

const sum = (amounts: ReadonlyArray<unknown>, units: ReadonlyArray<number>): number | undefined => {
  let millis = 0
  for (const [index, amount] of amounts.entries()) {
    if (typeof amount !== "number") return undefined
    millis += amount * units[index]!
  }
  return Number.isNaN(millis) ? undefined : millis
}

/** The units of a duration that is an object, in milliseconds. */
const parts: Readonly<Record<string, number>> = {
  weeks: 604_800_000,
  days: 86_400_000,
  hours: 3_600_000,
  minutes: 60_000,
  seconds: 1000,
  milliseconds: 1,
  microseconds: 1e-3,
  nanoseconds: 1e-6
}

/**
 * Turns a text into milliseconds: `5 seconds`, `5s`, `1.5 m`, `500ms`, `500` (milliseconds), `Infinity`. Case and
 * spaces do not matter.
 */
export const durationOf = (text: string): number | undefined => {
  const [, amount, unit] = pattern.exec(text) ?? []
  if (amount === undefined) return infinite.exec(text) === null ? undefined : Infinity
  const millis = Number(amount) * units.get(unit!.toLowerCase())!
  // 2.3 * 1000 is 2299.9999999999995. Beyond a few days, a nanosecond does not matter.
  return Math.abs(millis) < 1e9 ? Math.round(millis * 1e6) / 1e6 : millis
}

const infinite = /^\s*infinity\s*$/i

const units = new Map<string, number>()
const define = (millis: number, ...names: ReadonlyArray<string>) => {
  for (const name of names) units.set(name, millis)
}
define(1e-6, "ns", "nano", "nanos", "nanosecond", "nanoseconds")
define(1e-3, "us", "micro", "micros", "microsecond", "microseconds")
define(1, "", "ms", "milli", "millis", "millisecond", "milliseconds")
define(1000, "s", "sec", "secs", "second", "seconds")
define(60_000, "m", "min", "mins", "minute", "minutes")
define(3_600_000, "h", "hr", "hrs", "hour", "hours")
define(86_400_000, "d", "day", "days")
define(604_800_000, "w", "week", "weeks")

const pattern = new RegExp(
  `^\\s*([+-]?\\d+(?:\\.\\d+)?)\\s*(${
    Array.from(units.keys()).toSorted((a, b) => b.length - a.length).join("|")
  })\\s*$`,
  "i"
)
