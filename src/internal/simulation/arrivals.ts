/** The times at which requests arrive. */
import { exponential, Stream, streams } from "./random.ts"

/** `Arrivals`, checked and in milliseconds. */
export type ArrivalSettings =
  | { readonly _tag: "Poisson"; readonly perSecond: number }
  | { readonly _tag: "Regular"; readonly perSecond: number }
  | { readonly _tag: "Bursts"; readonly size: number; readonly everyMillis: number; readonly perSecond: number }
  | { readonly _tag: "Rates"; readonly phases: ReadonlyArray<{ readonly millis: number; readonly perSecond: number }> }
  | { readonly _tag: "Recorded"; readonly times: ReadonlyArray<number> }

/** The times in milliseconds, in order. Only those of a recording end. */
export const times = (arrivals: ArrivalSettings, seed: number): Iterator<number> => {
  const random = new Stream(seed, streams.arrivals).next
  switch (arrivals._tag) {
    case "Poisson":
      return rates([{ millis: Infinity, perSecond: arrivals.perSecond }], random)
    case "Regular":
      return regular(arrivals.perSecond)
    case "Bursts":
      return bursts(arrivals.size, arrivals.everyMillis, arrivals.perSecond, random)
    case "Rates":
      return rates(arrivals.phases, random)
    case "Recorded":
      return arrivals.times.toSorted((one, other) => one - other).values()
  }
}

function* regular(perSecond: number): Generator<number> {
  for (let index = 1;; index++) yield index * 1000 / perSecond
}

/**
 * A Poisson process whose rate changes. The work until the next request is exponential, and a phase does as much of it
 * as its rate says. That is exact also where a gap reaches over several phases.
 */
function* rates(
  phases: ReadonlyArray<{ readonly millis: number; readonly perSecond: number }>,
  random: () => number
): Generator<number> {
  let now = 0
  let index = 0
  let left = phases[0]!.millis
  for (;;) {
    let work = exponential(random)
    for (;;) {
      const perMilli = phases[index]!.perSecond / 1000
      const needed = work / perMilli
      if (needed <= left) {
        now += needed
        left -= needed
        break
      }
      work -= left * perMilli
      now += left
      index = (index + 1) % phases.length
      left = phases[index]!.millis
    }
    yield now
  }
}

function* bursts(size: number, every: number, perSecond: number, random: () => number): Generator<number> {
  const base = perSecond === 0 ? undefined : rates([{ millis: Infinity, perSecond }], random)
  let next = base?.next().value ?? Infinity
  for (let index = 1;; index++) {
    for (; next <= index * every; next = base!.next().value) yield next
    for (let one = 0; one < size; one++) yield index * every
  }
}
